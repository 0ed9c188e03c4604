// io/columns/column_file_format.h
//
// Constants and the user block of column files, for writer and reader alike
// (docs/formats/column_file.md).

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/digest.h"

namespace lockstep {

/// The first bytes of every column file, of this format version and all others.
inline constexpr std::string_view column_file_mark = "LSTEPCOL";
inline constexpr std::size_t user_block_bytes = 512;
inline constexpr std::uint64_t user_block_version = 1;
inline constexpr std::size_t digest_block_bytes = std::size_t{1} << 20U;
inline constexpr std::string_view block_digest_suffix = "_block_digest";

/// A run of bytes that has block digests of its own and is left out of the covered digest.
struct FileRegion {
    std::uint64_t offset = 0;  ///< From the start of the file [bytes].
    std::uint64_t bytes = 0;
    friend bool operator==(const FileRegion&, const FileRegion&) = default;
};

/// The first 512 bytes. Magic, version and the digest at the end keep their place in all versions.
struct UserBlock {
    static constexpr std::size_t regions_max = 28;

    std::uint64_t file_bytes = 0;
    Digest covered;                   ///< Of every byte after the user block and outside `regions`.
    std::vector<FileRegion> regions;  ///< Ascending, disjoint, at most regions_max.

    std::array<std::byte, user_block_bytes> encode() const;
    /// @throws Error{corrupt_data, incompatible_version} naming `file` unless this is the user block of a
    /// file of
    ///         `file_bytes` bytes.
    static UserBlock decode(std::span<const std::byte, user_block_bytes> bytes, std::uint64_t file_bytes,
                            const std::string& file);
};

/// Digest of the bytes of a file outside the user block and `regions`.
/// @param feed  called for every run of them in order; passes its bytes on.
Digest covered_digest(std::uint64_t file_bytes, std::span<const FileRegion> regions,
                      const std::function<void(FileRegion piece, DigestStream& into)>& feed);

/// Number of block digests of a column.
constexpr std::uint64_t num_digest_blocks(std::uint64_t column_bytes) {
    return (column_bytes + digest_block_bytes - 1) / digest_block_bytes;
}

/// Whether a column of this size carries block digests, if a region is left for it.
constexpr bool wants_block_digests(std::uint64_t column_bytes) {
    return column_bytes >= digest_block_bytes;
}

}  // namespace lockstep
