// io/columns/block_digester.h
//
// The block digests of a column as its bytes come along.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "io/base/digest.h"
#include "io/columns/column_file_format.h"

namespace lockstep {

/// Digests of the whole and the last, shorter, MiB of a stream of bytes; two words a block.
class BlockDigester {
  public:
    void update(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            if (filled_ == 0 && bytes.size() >= digest_block_bytes) {
                keep(digest_of(bytes.first(digest_block_bytes)));
                bytes = bytes.subspan(digest_block_bytes);
                continue;
            }
            const std::size_t piece = std::min(bytes.size(), digest_block_bytes - filled_);
            partial_.update(bytes.first(piece));
            filled_ += piece;
            if (filled_ == digest_block_bytes) finish();
            bytes = bytes.subspan(piece);
        }
    }

    std::vector<std::uint64_t> take() {
        if (filled_ != 0) finish();
        return std::move(words_);
    }

  private:
    void finish() {
        keep(partial_.value());
        partial_ = DigestStream();
        filled_ = 0;
    }
    void keep(const Digest& digest) {
        words_.push_back(digest.low);
        words_.push_back(digest.high);
    }

    DigestStream partial_;
    std::size_t filled_ = 0;
    std::vector<std::uint64_t> words_;
};

}  // namespace lockstep
