// io/corpus/corpus_tokens.h
//
// The tokens of a corpus to come, written once: straight into the file that will
// be the corpus, before anything else of it is known.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "io/columns/early_column.h"
#include "io/corpus/token_column.h"

namespace lockstep {

class CorpusTokens {
  public:
    /// @param file        that will be renamed to the corpus.
    /// @param kept_bytes  tokens in it that stay, from an earlier process; they are read once more. All else
    ///                    is dropped.
    /// @param threads     at least 1; the corpus does not depend on it.
    CorpusTokens(const std::filesystem::path& file, std::uint64_t vocabulary_size, std::uint64_t kept_bytes,
                 int threads);
    ~CorpusTokens();
    CorpusTokens(CorpusTokens&&) noexcept;
    CorpusTokens& operator=(CorpusTokens&&) = delete;

    /// Where the first token begins, from the start of the file.
    static std::uint64_t file_offset(const std::filesystem::path& file, std::uint64_t vocabulary_size);

    /// Where the next token will stand, from the start of the file.
    std::uint64_t file_position() const;
    /// @param tokens  as corpus_format::token_type stores them.
    void append(std::span<const std::byte> tokens);
    /// Whatever was appended can be read from the file.
    void flush();

    // For CorpusWriter, in this order.
    TokenColumn::Content finish();
    EarlyColumn take_column() &&;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
