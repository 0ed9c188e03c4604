#include <zstd.h>

#include <string>
#include <utility>

#include "io/base/error.h"
#include "io/documents/byte_stream.h"
#include "io/documents/compressed_input.h"

namespace lockstep {

namespace {

class ZstdStream : public ByteStream {
  public:
    ZstdStream(PosixFile file, std::uint64_t expansion_max, DigestStream* digest)
        : input_(std::move(file), expansion_max, digest, ::ZSTD_DStreamInSize()),
          context_(::ZSTD_createDCtx()) {
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
    std::uint64_t file_position() const override {
        return input_.bytes_in() - (pending_.size - pending_.pos);
    }

  private:
    void refill() {
        const std::span<char> piece = input_.next();
        pending_ = {piece.data(), piece.size(), 0};
    }

    void end_of_file() {
        if (inside_frame_) fail("is cut short: its last zstd frame does not end");
        if (input_.bytes_in() == 0) fail("is empty, expected a zstd file");
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
        input_.came_out(out.pos - before);
    }

    [[noreturn]] void fail(const std::string& problem) const { input_.fail(problem, file_position()); }

    CompressedInput input_;
    ZSTD_DCtx* context_;
    ZSTD_inBuffer pending_{nullptr, 0, 0};
    bool inside_frame_ = false;
    bool more_inside_ = false;
    bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> open_zstd_stream(PosixFile file, std::uint64_t expansion_max,
                                             DigestStream* digest) {
    return std::make_unique<ZstdStream>(std::move(file), expansion_max, digest);
}

}  // namespace lockstep
