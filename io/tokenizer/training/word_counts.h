// io/tokenizer/training/word_counts.h
//
// The words of a training text and how often each occurs: all that byte pair
// training needs to know of it. Counting is spread over threads; sums do not
// depend on who counted.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/function_ref.h"
#include "io/tokenizer/splitter.h"

namespace lockstep {

class WordCounts {
  public:
    void add(std::string_view word, std::uint64_t count = 1);
    void add(const WordCounts& other);

    std::size_t size() const { return entries_.size(); }
    /// Valid until the next `add`.
    std::string_view word(std::size_t i) const {
        return std::string_view(text_).substr(entries_[i].begin, entries_[i].bytes);
    }
    std::uint64_t count(std::size_t i) const { return entries_[i].count; }
    /// Indices of all words in ascending order of their bytes: an order that no history shows in.
    std::vector<std::size_t> sorted() const;

  private:
    struct Entry {
        std::size_t begin = 0, bytes = 0;
        std::uint64_t hash = 0, count = 0;
    };
    void grow();

    std::string text_;
    std::vector<Entry> entries_;
    std::vector<std::uint32_t> slots_;  ///< Index of the entry + 1; 0 is free.
};

/// Calls its argument with every text.
using TextSource = FunctionRef<void(FunctionRef<void(std::string_view)>)>;

/// @param texts    valid UTF-8; read by the calling thread.
/// @param threads  at least 1. The result is the same for any number.
WordCounts count_words(const Splitter& splitter, TextSource texts, int threads);

/// Where a text may be cut after `from` so that its pieces, by any of the named patterns, are those of the
/// parts: between the line end behind a printable ASCII character and an ASCII letter. The text's size if
/// there is no such place.
std::size_t find_piece_border(std::string_view text, std::size_t from);

}  // namespace lockstep
