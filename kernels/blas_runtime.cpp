#include "kernels/blas_runtime.h"

#include <cblas.h>
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xmmintrin.h>

#include <atomic>
#include <cerrno>
#include <cfenv>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <system_error>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/log.h"

namespace lockstep {

namespace {

// Set by us before executing again, so that it happens once.
constexpr const char* guard_variable = "LOCKSTEP_BLAS_CORE_TYPE_SET";
constexpr const char* core_type_variable = "OPENBLAS_CORETYPE";

// Flush to zero, rounding control, denormals are zero.
constexpr unsigned mxcsr_mode_bits = 0x8000u | 0x6000u | 0x0040u;

KernelIsa widest_isa() {
    if (kernel_isa_supported(KernelIsa::avx512)) return KernelIsa::avx512;
    if (kernel_isa_supported(KernelIsa::avx2)) return KernelIsa::avx2;
    if (kernel_isa_supported(KernelIsa::scalar)) return KernelIsa::scalar;
    throw Error(ErrorCode::environment,
                "this CPU has no FMA instruction (the numerical contract fma256 is made of it); use a CPU of "
                "2013 or later");
}

KernelIsa chosen_isa() {
    const KernelIsa widest = widest_isa();
    const char* wanted = std::getenv("LOCKSTEP_ISA");
    if (wanted == nullptr || *wanted == '\0') return widest;
    for (const KernelIsa isa : {KernelIsa::scalar, KernelIsa::avx2, KernelIsa::avx512}) {
        if (name_of(isa) != wanted) continue;
        if (kernel_isa_supported(isa)) return isa;
        throw Error(ErrorCode::environment, "LOCKSTEP_ISA=" + std::string(wanted) +
                                                " is not supported here (this CPU has " + name_of(widest) +
                                                "); unset it or choose a narrower one");
    }
    throw Error(ErrorCode::environment, "LOCKSTEP_ISA='" + std::string(wanted) +
                                            "' is not an instruction set; use scalar, avx2 or avx512");
}

// The first use reads CPU and environment; a failure is thrown again at the next use.
std::atomic<KernelIsa>& current_isa() {
    static std::atomic<KernelIsa> isa{chosen_isa()};
    return isa;
}

}  // namespace

bool kernel_isa_supported(KernelIsa isa) {
    // The compiler's run-time support also asks whether the operating system saves the registers.
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("fma")) return false;
    switch (isa) {
        case KernelIsa::scalar:
            return true;
        case KernelIsa::avx2:
            return __builtin_cpu_supports("avx2");
        case KernelIsa::avx512:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
    }
    return false;
}

bool cpu_has_bf16_dot() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned avx512_bf16 = 1U << 5U;
    return kernel_isa_supported(KernelIsa::avx512) && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
           (eax & avx512_bf16) != 0;
}

bool cpu_has_bf16_tiles() {
    static const bool has = [] {
        unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
        constexpr unsigned amx_bf16 = 1U << 22U, amx_tile = 1U << 24U;
        if (!cpu_has_bf16_dot() || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
        if ((edx & amx_bf16) == 0 || (edx & amx_tile) == 0) return false;
        // Linux enables the tiles for a process that asks, for all its threads at once. These numbers are
        // asm/prctl.h's ARCH_REQ_XCOMP_PERM and the tile data's place in XCR0.
        constexpr long request_permission = 0x1023, tile_data = 18;
        return ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    }();
    return has;
}

KernelIsa kernel_isa() {
    return current_isa().load(std::memory_order_relaxed);
}

std::string name_of(KernelIsa isa) {
    switch (isa) {
        case KernelIsa::scalar:
            return "scalar";
        case KernelIsa::avx2:
            return "avx2";
        case KernelIsa::avx512:
            return "avx512";
    }
    return "unknown";
}

void set_kernel_isa(KernelIsa isa) {
    LOCKSTEP_EXPECTS(kernel_isa_supported(isa));
    current_isa().store(isa, std::memory_order_relaxed);
}

void ensure_blas_core_type(char** argv) {
    LOCKSTEP_EXPECTS(argv != nullptr);
    if (std::getenv(core_type_variable) != nullptr || std::getenv(guard_variable) != nullptr) return;
    if (!kernel_isa_supported(KernelIsa::avx512)) return;
    ::setenv(core_type_variable, "SkylakeX", 1);
    ::setenv("OPENBLAS_NUM_THREADS", "1", 1);
    ::setenv(guard_variable, "1", 1);
    // OpenBLAS read the environment when it was loaded, before main: only a new image sees the change. By its
    // path, so that the process keeps its name.
    std::error_code unknown;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", unknown);
    ::execv(unknown ? "/proc/self/exe" : program.c_str(), argv);
    log_root(LogLevel::warning,
             std::string("cannot set OpenBLAS' core type (matrix products may run at half speed): ") +
                 std::generic_category().message(errno) +
                 "; start with OPENBLAS_CORETYPE=SkylakeX in the environment");
}

std::string blas_version() {
    // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH …"
    std::istringstream config(openblas_get_config());
    std::string name, version;
    config >> name >> version;
    return version;
}

std::string blas_core_type() {
    return openblas_get_corename();
}

bool blas_core_type_was_asked_for() {
    return std::getenv(core_type_variable) != nullptr && std::getenv(guard_variable) == nullptr;
}

void set_floating_point_mode() {
    // The x87 unit and the vector unit each have a rounding mode; fesetround sets both.
    bool ok = std::fesetround(FE_TONEAREST) == 0;
    _mm_setcsr(_mm_getcsr() & ~mxcsr_mode_bits);
    ok = ok && (_mm_getcsr() & mxcsr_mode_bits) == 0 && std::fegetround() == FE_TONEAREST;
    if (!ok) {
        throw Error(ErrorCode::environment,
                    "cannot set round-to-nearest without flush to zero (results would depend on this "
                    "machine); check for "
                    "an emulator or a preloaded library that fixes the floating-point mode");
    }
}

}  // namespace lockstep
