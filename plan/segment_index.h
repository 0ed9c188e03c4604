// plan/segment_index.h
//
// Numbers of segments and packs within one epoch. They are most of a build's memory, so
// what counts them is written for both widths, and the narrow one is used where it holds:
// a matter of memory, never of the plan.

#pragma once

#include <cstdint>
#include <limits>

namespace lockstep {

using NarrowIndex = std::uint32_t;
using WideIndex = std::uint64_t;

/// Whether narrow numbers, one of which may be past the end, can count so many.
constexpr bool is_narrow(std::uint64_t count) {
    return count <= std::numeric_limits<NarrowIndex>::max();
}

}  // namespace lockstep
