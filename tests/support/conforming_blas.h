// tests/support/conforming_blas.h
//
// OpenBLAS with the kernels that obey the contract, whatever the caller's environment asks for.

#pragma once

#include <cstdlib>

#include "kernels/blas_runtime.h"

namespace lockstep {

/// As the program does when nobody chose a core type; call first thing in main. An OPENBLAS_CORETYPE of the
/// shell's or the site's, which a run must respect, would otherwise decide what is tested.
inline void ensure_conforming_blas(char** argv) {
    if (std::getenv("LOCKSTEP_BLAS_CORE_TYPE_SET") == nullptr) ::unsetenv("OPENBLAS_CORETYPE");
    ensure_blas_core_type(argv);
}

}  // namespace lockstep
