// kernels/gemm_numerics.h
//
// The numerical contracts a matrix product can follow (docs/numerics.md). All else
// of a step is the same in each.

#pragma once

#include <string_view>

namespace lockstep {

enum class GemmNumerics {
    fma256,  ///< Single precision throughout.
    bf16,    ///< Operands rounded to bf16, sums in single precision, as tdpbf16ps makes them.
};

std::string_view name_of(GemmNumerics numerics);
/// The numerics id of a run, part of every state digest: the name, and the revision of all the arithmetic of
/// a step under it (docs/numerics.md). A run of another revision can't be gone on with.
std::string_view numerics_id(GemmNumerics numerics);
/// @throws Error{invalid_argument} listing the names.
GemmNumerics parse_gemm_numerics(std::string_view text);

}  // namespace lockstep
