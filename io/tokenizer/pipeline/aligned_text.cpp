#include "io/tokenizer/pipeline/aligned_text.h"

#include <algorithm>

#include "io/tokenizer/utf8.h"

namespace lockstep {

AlignedText::AlignedText(std::string_view original, std::size_t begins_at)
    : text(original), original_begin(begins_at) {
    origins.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t begin = at;
        take_code_point(text, at);
        origins.resize(at, {begins_at + begin, begins_at + at});
    }
}

void AlignedText::append(std::string_view more, TokenOffsets origin) {
    text += more;
    origins.resize(text.size(), origin);
}

void AlignedText::append(const AlignedText& other, std::size_t begin, std::size_t end) {
    text.append(other.text, begin, end - begin);
    origins.insert(origins.end(), other.origins.begin() + static_cast<std::ptrdiff_t>(begin),
                   other.origins.begin() + static_cast<std::ptrdiff_t>(end));
}

void AlignedText::transform(std::span<const CharacterChange> changes) {
    AlignedText out(original_begin);
    out.text.reserve(text.size());
    out.origins.reserve(text.size());
    std::size_t at = 0;
    for (const CharacterChange& change : changes) {
        const bool is_new = change.change > 0 || at == text.size();
        const TokenOffsets origin = is_new ? origin_before(at) : origins[at];
        for (std::int32_t taken = change.change; taken <= 0 && at < text.size(); ++taken)
            take_code_point(text, at);
        append_utf8(change.character, out.text);
        out.origins.resize(out.text.size(), origin);
    }
    *this = std::move(out);
}

}  // namespace lockstep
