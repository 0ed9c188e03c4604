// kernels/reference/attention.h
//
// Causal attention by the full softmax, in double, written to be read.

#pragma once

#include <cstdint>
#include <span>

#include "kernels/attention.h"
#include "kernels/matrix_view.h"

namespace lockstep::reference {

/// As attention_forward; log_sum_exp (num_heads · T) is written.
void attention(const AttentionShape& shape, std::span<const std::int32_t> cu_seqlens,
               BasicMatrixView<const double> qkv, BasicMatrixView<double> out, std::span<double> log_sum_exp);

}  // namespace lockstep::reference
