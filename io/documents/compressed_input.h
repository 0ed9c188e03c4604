// io/documents/compressed_input.h
//
// What decompressing streams have in common: the file piece by piece, how much of
// it went in and how much came out, and errors that name the place.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/documents/byte_stream.h"

namespace lockstep {

class CompressedInput {
  public:
    /// @param digest  fed with the bytes of the file; may be nullptr.
    CompressedInput(PosixFile file, std::uint64_t expansion_max, DigestStream* digest,
                    std::size_t piece_bytes)
        : file_(std::move(file)), expansion_max_(expansion_max), digest_(digest), piece_(piece_bytes) {}

    /// The next bytes of the file; empty at its end.
    std::span<char> next() {
        const auto bytes = std::as_writable_bytes(std::span(piece_));
        const std::size_t got = file_.read(bytes);
        if (digest_ != nullptr) digest_->update(bytes.first(got));
        bytes_in_ += got;
        return std::span(piece_).first(got);
    }
    std::uint64_t bytes_in() const { return bytes_in_; }

    /// @throws Error{corrupt_data} as require_sane_expansion.
    void came_out(std::uint64_t bytes) {
        bytes_out_ += bytes;
        require_sane_expansion(file_.path(), bytes_in_, bytes_out_, expansion_max_);
    }

    [[noreturn]] void fail(const std::string& problem, std::uint64_t position) const {
        throw Error(ErrorCode::corrupt_data, "'" + file_.path().string() + "' " + problem + " at byte " +
                                                 std::to_string(position) + "; fetch or compress it again");
    }

  private:
    PosixFile file_;
    std::uint64_t expansion_max_;
    DigestStream* digest_;
    std::vector<char> piece_;
    std::uint64_t bytes_in_ = 0;
    std::uint64_t bytes_out_ = 0;
};

}  // namespace lockstep
