#include <zlib.h>

#include <algorithm>
#include <string>
#include <utility>

#include "io/base/error.h"
#include "io/documents/byte_stream.h"
#include "io/documents/compressed_input.h"

namespace lockstep {

namespace {

constexpr std::size_t input_bytes = std::size_t{256} << 10U;
constexpr int gzip_window_bits = 15 + 16;  ///< The gzip wrapper, and no other.

class GzipStream : public ByteStream {
  public:
    GzipStream(PosixFile file, std::uint64_t expansion_max, DigestStream* digest)
        : input_(std::move(file), expansion_max, digest, input_bytes) {
        if (::inflateInit2(&zlib_, gzip_window_bits) != Z_OK)
            throw Error(ErrorCode::environment, "zlib finds no memory to begin");
    }
    ~GzipStream() override { ::inflateEnd(&zlib_); }
    GzipStream(const GzipStream&) = delete;
    GzipStream& operator=(const GzipStream&) = delete;

    std::size_t read(std::span<char> into) override {
        std::size_t given = 0;
        while (given < into.size() && !ended_) {
            if (zlib_.avail_in == 0) refill();
            if (zlib_.avail_in == 0) {
                end_of_file();
                break;
            }
            given += inflate_some(into.subspan(given));
        }
        return given;
    }
    std::uint64_t file_position() const override { return input_.bytes_in() - zlib_.avail_in; }

  private:
    void refill() {
        const std::span<char> piece = input_.next();
        zlib_.next_in = reinterpret_cast<Bytef*>(piece.data());
        zlib_.avail_in = static_cast<uInt>(piece.size());
    }

    /// A file may end between members, never inside one.
    void end_of_file() {
        if (inside_member_) fail("is cut short: its last gzip member does not end");
        if (input_.bytes_in() == 0) fail("is empty, expected a gzip file");
        ended_ = true;
    }

    std::size_t inflate_some(std::span<char> into) {
        constexpr std::size_t step_max = std::size_t{1} << 30U;
        const auto step = static_cast<uInt>(std::min(into.size(), step_max));
        zlib_.next_out = reinterpret_cast<Bytef*>(into.data());
        zlib_.avail_out = step;
        inside_member_ = true;
        const int result = ::inflate(&zlib_, Z_NO_FLUSH);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
            fail(std::string("is damaged or no gzip file (") +
                 (zlib_.msg != nullptr ? zlib_.msg : "unknown fault") + ")");
        }
        if (result == Z_STREAM_END) {
            inside_member_ = false;
            ::inflateReset(&zlib_);
        }
        const std::size_t given = step - zlib_.avail_out;
        input_.came_out(given);
        return given;
    }

    [[noreturn]] void fail(const std::string& problem) const { input_.fail(problem, file_position()); }

    CompressedInput input_;
    z_stream zlib_{};
    bool inside_member_ = false;
    bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> open_gzip_stream(PosixFile file, std::uint64_t expansion_max,
                                             DigestStream* digest) {
    return std::make_unique<GzipStream>(std::move(file), expansion_max, digest);
}

}  // namespace lockstep
