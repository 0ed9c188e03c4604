// kernels/reference/embedding.h
//
// Rotary positions in double, by the definition.

#pragma once

#include <cstdint>
#include <span>

#include "kernels/attention.h"
#include "kernels/matrix_view.h"

namespace lockstep::reference {

/// As RotaryTable::rotate.
void rotate(const AttentionShape& shape, std::span<const std::uint32_t> position_ids,
            std::span<const double> frequencies, double magnitude, BasicMatrixView<double> qkv);
/// By the plain frequencies.
void rotate(const AttentionShape& shape, std::span<const std::uint32_t> position_ids, double base,
            BasicMatrixView<double> qkv);

}  // namespace lockstep::reference
