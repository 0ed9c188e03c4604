// io/base/ids.h
//
// Numbers that must not be mixed up. An Id compares and prints; arithmetic is
// done on `.value`, in sight of the reader.

#pragma once

#include <compare>
#include <cstdint>

namespace lockstep {

template <class Tag, class Rep>
struct Id {
    Rep value{};

    constexpr Id() = default;
    constexpr explicit Id(Rep v) : value(v) {}
    friend constexpr auto operator<=>(const Id&, const Id&) = default;
};

using Rank = Id<struct RankTag, int>;                  ///< Who, in [0, world size).
using WorldSize = Id<struct WorldSizeTag, int>;        ///< Of how many, ≥ 1.
using Step = Id<struct StepTag, std::uint64_t>;        ///< Global optimizer step, from 0.
using PackId = Id<struct PackTag, std::uint64_t>;      ///< Pack of the whole plan, from 0.
using SampleId = Id<struct SampleTag, std::uint64_t>;  ///< Sample, global over a plan's sources.

}  // namespace lockstep
