#include "io/documents/byte_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"

namespace lockstep {

namespace {

/// Below this, small files that compress well are no bombs.
constexpr std::uint64_t harmless_bytes = std::uint64_t{64} << 20U;

class PlainStream : public ByteStream {
  public:
    PlainStream(PosixFile file, std::uint64_t begin, DigestStream* digest)
        : file_(std::move(file)), position_(begin), digest_(digest) {
        if (begin != 0 && ::lseek(file_.descriptor(), static_cast<off_t>(begin), SEEK_SET) < 0)
            throw_errno("seek in", file_.path().string(), errno);
        static_cast<void>(::posix_fadvise(file_.descriptor(), 0, 0, POSIX_FADV_SEQUENTIAL));
    }

    std::size_t read(std::span<char> into) override {
        const auto bytes = std::as_writable_bytes(into);
        const std::size_t got = file_.read(bytes);
        if (digest_ != nullptr) digest_->update(bytes.first(got));
        position_ += got;
        return got;
    }
    std::uint64_t file_position() const override { return position_; }

  private:
    PosixFile file_;
    std::uint64_t position_;
    DigestStream* digest_;
};

void pass_over(ByteStream& stream, std::uint64_t bytes, const std::filesystem::path& path) {
    std::vector<char> buffer(std::size_t{1} << 20U);
    for (std::uint64_t rest = bytes; rest != 0;) {
        const auto part =
            std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(rest, buffer.size())));
        if (stream.read(part) < part.size()) {
            throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' ends before byte " +
                                                     std::to_string(bytes) + "; it was changed");
        }
        rest -= part.size();
    }
}

}  // namespace

PosixFile open_source(const std::filesystem::path& path) {
    std::error_code absent;
    if (std::filesystem::is_directory(path, absent)) {
        throw Error(ErrorCode::not_found, "'" + path.string() + "' is a folder; expected a file");
    }
    try {
        return PosixFile(path, O_RDONLY);
    } catch (const Error& error) {
        // An input that may not be read is as good as absent; one that cannot be read just now is not.
        if (::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) == 0 || errno != EACCES) throw;
        throw Error(ErrorCode::not_found, error.what());
    }
}

std::unique_ptr<ByteStream> open_plain_stream(PosixFile file, std::uint64_t begin, DigestStream* digest) {
    return std::make_unique<PlainStream>(std::move(file), begin, digest);
}

std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path, Compression compression,
                                        std::uint64_t begin, std::uint64_t expansion_max,
                                        DigestStream* digest) {
    PosixFile file = open_source(path);
    if (compression == Compression::none) return open_plain_stream(std::move(file), begin, digest);
    auto stream = compression == Compression::gzip ? open_gzip_stream(std::move(file), expansion_max, digest)
                                                   : open_zstd_stream(std::move(file), expansion_max, digest);
    pass_over(*stream, begin, path);
    return stream;
}

void require_sane_expansion(const std::filesystem::path& path, std::uint64_t bytes_in,
                            std::uint64_t bytes_out, std::uint64_t expansion_max) {
    if (bytes_out <= harmless_bytes || bytes_out / expansion_max <= bytes_in) return;
    throw Error(ErrorCode::corrupt_data,
                "'" + path.string() + "' grew from " + std::to_string(bytes_in) + " bytes to " +
                    std::to_string(bytes_out) + ", more than " + std::to_string(expansion_max) +
                    " times; a decompression bomb? If it is meant, raise --expansion-max");
}

}  // namespace lockstep
