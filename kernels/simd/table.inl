// The table of this file's instruction set.

#pragma once

#include "kernels/simd/attention.inl"
#include "kernels/simd/rows.inl"

namespace lockstep::LOCKSTEP_SIMD {

const KernelTable table = {
    .add = add,
    .gelu_forward = gelu_forward,
    .gelu_backward = gelu_backward,
    .swiglu_forward = swiglu_forward,
    .swiglu_backward = swiglu_backward,
    .exponential = exponential,
    .rotate = rotate,
    .layer_norm_forward = layer_norm_forward,
    .layer_norm_backward = layer_norm_backward,
    .rms_norm_forward = rms_norm_forward,
    .rms_norm_backward = rms_norm_backward,
    .column_gradients = column_gradients,
    .row_max = row_max,
    .exponentials_and_sum = exponentials_and_sum,
    .exponential_sum = exponential_sum,
    .scale = scale,
    .accumulate_exact = accumulate_exact,
    .exact_to_float = exact_to_float,
    .square_sum = square_sum,
    .adamw = adamw,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
};

}  // namespace lockstep::LOCKSTEP_SIMD
