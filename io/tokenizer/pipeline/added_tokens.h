// io/tokenizer/pipeline/added_tokens.h
//
// Tokens that stand above the model: found in the text as they are written,
// before anything is cut. Leftmost first, then longest.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/tokenizer.h"

namespace lockstep {

struct AddedToken {
    std::string content;
    std::uint32_t id = 0;
    bool special = false;
    bool normalized = false;                       ///< Found in the normalized text, else in the raw one.
    bool single_word = false;                      ///< Only where no word character touches it.
    bool strip_left = false, strip_right = false;  ///< Swallows white space on that side.
};

/// A stretch of text, or a token found in it.
struct TextSegment {
    std::size_t begin = 0, end = 0;
    bool is_token = false;
    std::uint32_t id = 0;
};

/// Finds some of the added tokens.
class AddedTokenFinder {
  public:
    AddedTokenFinder() = default;
    /// @param patterns  what to look for, one a token: its content, perhaps normalized. Empty: never found.
    AddedTokenFinder(const std::vector<AddedToken>& tokens, const std::vector<std::string>& patterns);

    bool empty() const { return tokens_.empty(); }
    /// Segments of the text in order. With LiteralSpecials::text special tokens stay text.
    std::vector<TextSegment> find(std::string_view text, LiteralSpecials specials) const;

  private:
    struct Node {
        std::uint32_t token = none;
        std::vector<std::pair<unsigned char, std::uint32_t>> children;  ///< Ascending by byte.
    };
    struct Match {
        std::size_t begin, end;
        std::uint32_t token;
    };
    static constexpr std::uint32_t none = 0xFFFFFFFFU;

    bool next_match(std::string_view text, std::size_t from, Match& match) const;
    void add(std::string_view pattern, std::uint32_t token);

    std::vector<AddedToken> tokens_;
    std::vector<Node> nodes_{1};
    std::string first_bytes_;  ///< Bytes a pattern begins with, each once.
    bool first_[256] = {};
};

}  // namespace lockstep
