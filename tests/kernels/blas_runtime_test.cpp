// This program is also its own child: OpenBLAS reads its core type once, when it is loaded, so each core type
// needs a process. `blas_runtime_test --child WHAT` prints one answer and exits.

#include "kernels/blas_runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xmmintrin.h>

#include <cfenv>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include "io/base/error.h"
#include "kernels/gemm.h"
#include "kernels/speed_probe.h"
#include "kernels/thread_pool.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

struct ChildResult {
    std::string output;
    int exit_code;
};

// `environment` is VAR=value words or `-u VAR`, as env takes them. The surrounding test environment may have
// set the variables that matter here.
ChildResult run_child(const std::string& environment, const std::string& what) {
    const std::string clean =
        "env -u OPENBLAS_CORETYPE -u OPENBLAS_NUM_THREADS -u LOCKSTEP_BLAS_CORE_TYPE_SET -u LOCKSTEP_ISA ";
    const std::string command =
        clean + environment + " /proc/" + std::to_string(::getpid()) + "/exe --child " + what;
    ChildResult result{};
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return {"cannot start " + command, -1};
    char buffer[512];
    while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) result.output += buffer;
    const int status = ::pclose(pipe);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return result;
}

TEST(BlasRuntimeTest, HaswellKernelsAreNotChosen) {
    const ChildResult automatic = run_child("OPENBLAS_CORETYPE=Haswell", "automatic");
    EXPECT_EQ(automatic.exit_code, 0) << automatic.output;
    EXPECT_THAT(automatic.output, ::testing::StartsWith("own: "));
    EXPECT_THAT(automatic.output, HasSubstr("Haswell does not follow fma256"));
}

TEST(BlasRuntimeTest, HaswellKernelsAskedForByNameAreRefusedWithAdvice) {
    const ChildResult openblas = run_child("OPENBLAS_CORETYPE=Haswell", "openblas");
    EXPECT_EQ(openblas.exit_code, 78) << openblas.output;
    EXPECT_THAT(openblas.output, HasSubstr("OPENBLAS_CORETYPE=SkylakeX"));
}

TEST(BlasRuntimeTest, TheCoreTypeIsSetOnceWhereTheCpuHasAvx512) {
    const ChildResult child = run_child("", "ensure");
    EXPECT_EQ(child.exit_code, 0) << child.output;
    if (kernel_isa_supported(KernelIsa::avx512)) {
        EXPECT_EQ(child.output, "SkylakeX arguments kept, pid kept 1\n");
    } else {
        EXPECT_THAT(child.output, HasSubstr("arguments kept"));
    }
}

TEST(BlasRuntimeTest, ACoreTypeOfTheUserIsKept) {
    const ChildResult child = run_child("OPENBLAS_CORETYPE=Haswell", "ensure");
    EXPECT_THAT(child.output, HasSubstr("Haswell arguments kept"));
}

TEST(BlasRuntimeTest, TheGuardEndsALoop) {
    // As if a wrapper removed OPENBLAS_CORETYPE on the way: a second execution would remove it again.
    const ChildResult child = run_child("LOCKSTEP_BLAS_CORE_TYPE_SET=1", "ensure");
    EXPECT_EQ(child.exit_code, 0);
    EXPECT_THAT(child.output, HasSubstr("arguments kept"));
}

TEST(BlasRuntimeTest, LockstepIsaLowersTheInstructionSet) {
    EXPECT_EQ(run_child("LOCKSTEP_ISA=scalar", "isa").output, "scalar\n");
    const ChildResult unknown = run_child("LOCKSTEP_ISA=sse9", "isa");
    EXPECT_EQ(unknown.exit_code, 78);
    EXPECT_THAT(unknown.output, HasSubstr("scalar, avx2 or avx512"));
}

TEST(BlasRuntimeTest, TheInstructionSetIsTheWidestSupported) {
    const KernelIsa isa = kernel_isa();
    EXPECT_TRUE(kernel_isa_supported(isa));
    EXPECT_TRUE(kernel_isa_supported(KernelIsa::scalar));
    set_kernel_isa(KernelIsa::scalar);
    EXPECT_EQ(kernel_isa(), KernelIsa::scalar);
    set_kernel_isa(isa);
}

TEST(BlasRuntimeTest, KnowsWhoChoseTheCoreType) {
    EXPECT_EQ(run_child("OPENBLAS_CORETYPE=Haswell", "asked").output, "asked for\n");
    EXPECT_EQ(run_child("", "asked").output, "ours\n");
}

TEST(BlasRuntimeTest, OpenBlasSaysWhatItIs) {
    EXPECT_THAT(blas_version(), ::testing::MatchesRegex("[0-9]+\\.[0-9]+.*"));
    EXPECT_FALSE(blas_core_type().empty());
}

TEST(BlasRuntimeTest, TheProbeMeasuresSomething) {
    EXPECT_GT(measure_sgemm_rate(64, 96, 64, 2, 0.001), 0.0);
}

TEST(BlasRuntimeTest, TheFloatingPointModeIsRestored) {
    std::fesetround(FE_UPWARD);
    _mm_setcsr(_mm_getcsr() | 0x8040u);
    set_floating_point_mode();
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
    EXPECT_EQ(_mm_getcsr() & 0xe040u, 0u);
}

int child_main(std::string_view what, char** argv) {
    if (what == "ensure") {
        const std::string pid = std::to_string(::getpid());
        const char* first = std::getenv("BLAS_RUNTIME_TEST_PID");
        if (first == nullptr) ::setenv("BLAS_RUNTIME_TEST_PID", pid.c_str(), 1);
        ensure_blas_core_type(argv);
        std::cout << blas_core_type() << " arguments kept, pid kept "
                  << (std::string_view(std::getenv("BLAS_RUNTIME_TEST_PID")) == pid) << "\n";
        return 0;
    }
    if (what == "asked") {
        ensure_blas_core_type(argv);
        std::cout << (blas_core_type_was_asked_for() ? "asked for" : "ours") << "\n";
        return 0;
    }
    if (what == "isa") {
        std::cout << name_of(kernel_isa()) << "\n";
        return 0;
    }
    ThreadPool pool(1);
    const Gemm gemm(pool, parse_gemm_backend(what == "automatic" ? "auto" : what), {});
    std::cout << name_of(gemm.backend()) << ": " << gemm.describe() << "\n";
    return 0;
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
    if (argc == 3 && std::string_view(argv[1]) == "--child") {
        try {
            return lockstep::child_main(argv[2], argv);
        } catch (const lockstep::Error& error) {
            std::cout << error.what() << "\n";
            return lockstep::exit_code_of(error.code());
        }
    }
    ::testing::InitGoogleMock(&argc, argv);
    return RUN_ALL_TESTS();
}
