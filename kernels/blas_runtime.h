// kernels/blas_runtime.h
//
// What must be arranged around OpenBLAS: its core type before it loads, and one
// thread a call.

#pragma once

#include <string>

namespace lockstep {

/// Instruction sets our own kernels are built for. All give the same bits.
enum class KernelIsa { scalar, avx2, avx512 };
/// The widest this CPU and operating system support, lowered by LOCKSTEP_ISA=scalar|avx2|avx512.
/// @throws Error{environment} if the CPU has no FMA, or the variable names a set it lacks.
KernelIsa kernel_isa();
std::string name_of(KernelIsa isa);
/// For tests: use this one from now on. @pre supported here.
void set_kernel_isa(KernelIsa isa);
bool kernel_isa_supported(KernelIsa isa);
/// AVX512-BF16, beside all of KernelIsa::avx512.
bool cpu_has_bf16_dot();
/// AMX with BF16, beside that, and the operating system lets this process use it.
bool cpu_has_bf16_tiles();

/// On a CPU with AVX-512 and OPENBLAS_CORETYPE unset, sets it to SkylakeX (and OPENBLAS_NUM_THREADS=1) and
/// executes this program again, once, so that OpenBLAS loads with it. Call first thing in main, before MPI
/// starts. Returns when there is nothing to do.
void ensure_blas_core_type(char** argv);

/// OpenBLAS as loaded: version, core type.
std::string blas_version();
std::string blas_core_type();
/// Whether OPENBLAS_CORETYPE came from whoever started the program, not from ensure_blas_core_type.
bool blas_core_type_was_asked_for();

/// Round to nearest, no flush to zero, no denormals-are-zero on the calling thread. Called at the start of
/// every thread of ours. @throws Error{environment} if the mode cannot be set.
void set_floating_point_mode();

}  // namespace lockstep
