// launch/chaos/artifact_mutator.h
//
// Damages a file of ours the way disks, copies and people do. Everything follows
// from one seed, so that a case is repeated by its number.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lockstep {

enum class MutationKind : std::uint8_t {
    bit_flips,       ///< One to eight bits.
    truncation,      ///< Any shorter length, 0 included.
    zero_tail,       ///< The length stays, the end was never written.
    swapped_blocks,  ///< Two blocks of a size disks and caches have.
    appended,        ///< Bytes behind the end.
    wrong_file,      ///< Another whole file of ours in its place.
    wrong_version,   ///< Sound and sealed, but of a format version to come.
};
inline constexpr int num_mutation_kinds = 7;

struct Mutation {
    MutationKind kind = MutationKind::bit_flips;
    std::string text;      ///< "2 bits flipped, the first in byte 512"
    bool changed = false;  ///< Whether the file's bytes are others now.
};

/// @param donors  whole files of ours, `file` itself may be among them.
Mutation mutate(const std::filesystem::path& file, const std::vector<std::filesystem::path>& donors,
                std::uint64_t seed);

}  // namespace lockstep
