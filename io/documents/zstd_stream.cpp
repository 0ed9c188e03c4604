#include <zstd.h>

#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/documents/byte_stream.h"

namespace lockstep {

namespace {

class ZstdStream : public ByteStream {
  public:
    ZstdStream(PosixFile file, std::uint64_t expansion_max)
        : file_(std::move(file)),
          expansion_max_(expansion_max),
          context_(::ZSTD_createDCtx()),
          input_(::ZSTD_DStreamInSize()) {
        if (context_ == nullptr) throw Error(ErrorCode::environment, "zstd finds no memory to begin");
    }
    ~ZstdStream() override { ::ZSTD_freeDCtx(context_); }
    ZstdStream(const ZstdStream&) = delete;
    ZstdStream& operator=(const ZstdStream&) = delete;

    std::size_t read(std::span<char> into) override {
        ZSTD_outBuffer out{into.data(), into.size(), 0};
        while (out.pos < out.size && !ended_) {
            // A full output buffer can leave bytes inside the decoder, so it is asked before the file is.
            if (pending_.pos == pending_.size && !more_inside_) {
                refill();
                if (pending_.size == 0) {
                    end_of_file();
                    break;
                }
            }
            decompress_some(out);
        }
        return out.pos;
    }
    std::uint64_t file_position() const override { return bytes_in_ - (pending_.size - pending_.pos); }

  private:
    void refill() {
        const std::size_t got = file_.read(std::as_writable_bytes(std::span(input_)));
        bytes_in_ += got;
        pending_ = {input_.data(), got, 0};
    }

    void end_of_file() {
        if (inside_frame_) fail("is cut short: its last zstd frame does not end");
        if (bytes_in_ == 0) fail("is empty, expected a zstd file");
        ended_ = true;
    }

    void decompress_some(ZSTD_outBuffer& out) {
        const std::size_t before = out.pos;
        const std::size_t result = ::ZSTD_decompressStream(context_, &out, &pending_);
        if (::ZSTD_isError(result) != 0) {
            fail(std::string("is damaged or no zstd file (") + ::ZSTD_getErrorName(result) + ")");
        }
        inside_frame_ = result != 0;
        more_inside_ = inside_frame_ && out.pos == out.size;
        bytes_out_ += out.pos - before;
        require_sane_expansion(file_.path(), bytes_in_, bytes_out_, expansion_max_);
    }

    [[noreturn]] void fail(const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data, "'" + file_.path().string() + "' " + problem + " at byte " +
                                                 std::to_string(file_position()) +
                                                 "; fetch or compress it again");
    }

    PosixFile file_;
    std::uint64_t expansion_max_;
    ZSTD_DCtx* context_;
    std::vector<char> input_;
    ZSTD_inBuffer pending_{nullptr, 0, 0};
    bool inside_frame_ = false;
    bool more_inside_ = false;
    bool ended_ = false;
    std::uint64_t bytes_in_ = 0;
    std::uint64_t bytes_out_ = 0;
};

}  // namespace

std::unique_ptr<ByteStream> open_zstd_stream(PosixFile file, std::uint64_t expansion_max) {
    return std::make_unique<ZstdStream>(std::move(file), expansion_max);
}

}  // namespace lockstep
