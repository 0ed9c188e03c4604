// io/tokenizer/pipeline/pre_tokenizer.h
//
// Text into the pieces a model sees: the pre-tokenizers of a tokenizer.json.

#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/pipeline/aligned_text.h"
#include "io/tokenizer/pipeline/component.h"
#include "io/tokenizer/splitter.h"

namespace lockstep {

/// A piece on its way through the steps.
struct TextPiece {
    std::string_view text;
    bool at_start = false;                  ///< It begins where the document begins.
    const TokenOffsets* origins = nullptr;  ///< (text.size()) as in AlignedText, if offsets are asked for.

    TextPiece part(std::size_t begin, std::size_t end) const {
        return {text.substr(begin, end - begin), at_start && begin == 0,
                origins == nullptr ? nullptr : origins + begin};
    }
};

/// Keeps texts that steps had to rewrite, and where they came from; addresses stay.
struct TextArena {
    std::deque<std::string> texts;
    std::deque<std::vector<TokenOffsets>> origins;

    void clear() {
        texts.clear();
        origins.clear();
    }
};

/// One step: each piece becomes pieces. Thread-safe.
class PreTokenizer {
  public:
    virtual ~PreTokenizer() = default;
    virtual void apply(std::vector<TextPiece>& pieces, TextArena& arena) const = 0;
};

/// What a pre_tokenizer comes to.
struct PreTokenizerPlan {
    bool byte_level = false;  ///< The model's tokens are bytes.
    /// Pieces hold bytes as mapped characters, since a step after the map looked at them; they are mapped
    /// back at the end.
    bool mapped = false;
    bool model_maps = false;             ///< The model takes mapped characters, not bytes.
    bool looks_at_start = false;         ///< Some step treats the document's first piece in its own way.
    std::unique_ptr<Splitter> splitter;  ///< If one pattern is all there is to it.
    std::vector<std::unique_ptr<PreTokenizer>> steps;  ///< Otherwise, in order; none: the text is one piece.
};

/// Origins of a piece's mapped bytes.
std::vector<TokenOffsets> mapped_origins(const TextPiece& piece);

/// @param component  null object: none.
/// @throws Error{invalid_argument} naming a component that is not supported; Error{corrupt_data}.
PreTokenizerPlan plan_pre_tokenizer(const Component* component);

}  // namespace lockstep
