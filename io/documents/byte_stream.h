// io/documents/byte_stream.h
//
// The bytes of a source in order: of a plain file, or decompressed on the way.
// Memory does not depend on the file. A stream that is cut short, damaged or
// grows beyond reason is refused with its position.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "io/base/digest.h"
#include "io/files/posix_file.h"

namespace lockstep {

class ByteStream {
  public:
    virtual ~ByteStream() = default;

    /// @return bytes given; fewer than asked for only at the end.
    /// @throws Error{corrupt_data} naming the file and the position in it; Error{io_failure}.
    virtual std::size_t read(std::span<char> into) = 0;
    /// Position in the file itself, before decompression: for progress [bytes].
    virtual std::uint64_t file_position() const = 0;
};

enum class Compression : std::uint8_t { none, gzip, zstd };

/// Open a file to be read. @throws Error{not_found} also when it is a folder or may not be read;
/// Error{io_failure} when it cannot be opened for another reason.
PosixFile open_source(const std::filesystem::path& path);

/// @param begin   first byte; 0 unless the file is regular.
/// @param digest  fed with everything read of the file, compressed or not; may be nullptr. So for all.
std::unique_ptr<ByteStream> open_plain_stream(PosixFile file, std::uint64_t begin, DigestStream* digest);
/// Any number of gzip members end to end (RFC 1952).
std::unique_ptr<ByteStream> open_gzip_stream(PosixFile file, std::uint64_t expansion_max,
                                             DigestStream* digest);
/// Any number of zstd frames end to end (RFC 8878), windows up to 128 MiB.
std::unique_ptr<ByteStream> open_zstd_stream(PosixFile file, std::uint64_t expansion_max,
                                             DigestStream* digest);

/// The same by kind; `begin` bytes (after decompression) are passed over.
std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path, Compression compression,
                                        std::uint64_t begin, std::uint64_t expansion_max,
                                        DigestStream* digest = nullptr);

/// What every decompressor asks after each piece. @throws Error{corrupt_data} once more than 64 MiB came out
/// and that is over `expansion_max` times what went in.
void require_sane_expansion(const std::filesystem::path& path, std::uint64_t bytes_in,
                            std::uint64_t bytes_out, std::uint64_t expansion_max);

}  // namespace lockstep
