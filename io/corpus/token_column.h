// io/corpus/token_column.h
//
// The tokens of a corpus as they come along: handed on, fingerprinted and looked
// at for the greatest.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/base/ordered_work.h"
#include "io/corpus/corpus_format.h"

namespace lockstep {

/// Fingerprints are what can be shared among threads, by runs of whole leaves; the file is one thread's.
class TokenColumn {
  public:
    using Store = std::function<void(std::span<const std::byte>)>;

    /// @param bytes_max  that will come; fewer need less memory and one thread.
    /// @param threads    at least 1.
    /// @param store      is given all bytes, in order, by the caller's thread.
    TokenColumn(ColumnType type, std::uint64_t bytes_max, int threads, Store store);

    /// @param bytes  whole tokens, as stored.
    void append(std::span<const std::byte> bytes);

    struct Content {
        Fingerprint root;  ///< As TokenTree.
        std::uint64_t num_tokens = 0;
        std::uint32_t max_token_id = 0;  ///< 0 without tokens.
    };
    /// Once.
    Content finish();

  private:
    struct Run {
        std::vector<std::byte> bytes;
        std::vector<Fingerprint> leaves;
        std::uint32_t greatest = 0;
    };

    static Run look_at(std::vector<std::byte> bytes, ColumnType type);
    void give();
    void take();

    ColumnType type_;
    Store store_;
    std::size_t run_bytes_;  ///< Of the first run, at most.
    int threads_;
    std::vector<std::byte> run_, spare_;
    corpus_format::TokenTree tree_;
    Content content_;
    OrderedWork<std::vector<std::byte>, Run> work_;
};

}  // namespace lockstep
