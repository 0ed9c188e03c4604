// io/tokenizer/splitter.h
//
// A text cut into the pieces that a pattern matches, one after the other, with
// the gaps between matches as pieces of their own: no byte is lost. The common
// patterns are hand-written; all others run in PCRE2. Both give the same pieces,
// by the project's Unicode tables.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/function_ref.h"

namespace lockstep {

/// One run of bytes; whether the pattern matched it.
struct SplitPiece {
    std::size_t begin = 0, end = 0;
    bool is_match = false;
};

class Splitter {
  public:
    virtual ~Splitter() = default;

    /// Gives the pieces' end offsets, ascending and up to the end of the text, in blocks of a few hundred.
    /// @pre text is valid UTF-8. Thread-safe.
    virtual void split(std::string_view text, FunctionRef<void(std::span<const std::size_t>)> take) const = 0;
};

// The patterns that have a name, exactly as the tokenizers' files spell them.
namespace split_pattern {
extern const std::string_view gpt2, cl100k, qwen2, o200k;
}

/// The pattern of a name ("gpt2", "cl100k", "qwen2", "o200k"); empty if there is none of that name.
std::string_view named_split_pattern(std::string_view name);

/// Hand-written if the pattern is known, else PCRE2.
/// @throws Error{corrupt_data} naming the pattern: malformed, or a construct on which engines disagree.
std::unique_ptr<Splitter> make_splitter(std::string_view pattern);
/// Only the hand-written ones; null for a pattern that has none.
std::unique_ptr<Splitter> make_known_splitter(std::string_view pattern);

/// A regular expression of a tokenizer file: used by splits that need to know match from gap, and by
/// replacements.
class RegexPattern {
  public:
    /// @throws Error{corrupt_data}.
    explicit RegexPattern(std::string_view pattern);
    ~RegexPattern();
    RegexPattern(RegexPattern&&) noexcept;
    RegexPattern& operator=(RegexPattern&&) noexcept;

    /// Matches and gaps in order, without holes. An empty match cuts; it is a piece of no bytes.
    std::vector<SplitPiece> find(std::string_view text) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
