#include "io/tokenizer/pipeline/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

/// The character that ends at `end`, which moves before it. @pre end > 0.
char32_t character_before(std::string_view text, std::size_t& end) {
    do {
        --end;
    } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U);
    std::size_t at = end;
    return take_code_point(text, at);
}

bool ends_with_word(std::string_view text) {
    std::size_t end = text.size();
    return end > 0 && properties_of(character_before(text, end)).is_word();
}

bool starts_with_word(std::string_view text) {
    std::size_t at = 0;
    return !text.empty() && properties_of(take_code_point(text, at)).is_word();
}

std::size_t white_space_begin(std::string_view text) {
    std::size_t begin = text.size();
    while (begin > 0) {
        std::size_t at = begin;
        if (!properties_of(character_before(text, at)).is_white_space()) break;
        begin = at;
    }
    return begin;
}

std::size_t white_space_bytes(std::string_view text) {
    std::size_t end = 0;
    for (std::size_t at = 0; at < text.size(); end = at)
        if (!properties_of(take_code_point(text, at)).is_white_space()) break;
    return end;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens,
                                   const std::vector<std::string>& patterns)
    : tokens_(tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i)
        if (!patterns[i].empty()) add(patterns[i], static_cast<std::uint32_t>(i));
}

void AddedTokenFinder::add(std::string_view pattern, std::uint32_t token) {
    const auto first = static_cast<unsigned char>(pattern[0]);
    if (!first_[first]) first_bytes_ += pattern[0];
    first_[first] = true;
    std::uint32_t node = 0;
    for (const char c : pattern) {
        const auto byte = static_cast<unsigned char>(c);
        auto& children = nodes_[node].children;
        auto place = std::lower_bound(children.begin(), children.end(), std::pair{byte, 0U});
        if (place == children.end() || place->first != byte) {
            const auto child = static_cast<std::uint32_t>(nodes_.size());
            children.insert(place, {byte, child});
            nodes_.emplace_back();  // Invalidates `children`.
            node = child;
        } else {
            node = place->second;
        }
    }
    // Of equal patterns the first counts.
    if (nodes_[node].token == none) nodes_[node].token = token;
}

bool AddedTokenFinder::next_match(std::string_view text, std::size_t from, Match& match) const {
    for (std::size_t begin = from; begin < text.size(); ++begin) {
        if (first_bytes_.size() == 1) {
            const void* at = std::memchr(text.data() + begin, first_bytes_[0], text.size() - begin);
            if (at == nullptr) return false;
            begin = static_cast<std::size_t>(static_cast<const char*>(at) - text.data());
        } else if (!first_[static_cast<unsigned char>(text[begin])]) {
            continue;
        }
        std::uint32_t node = 0;
        match.token = none;
        for (std::size_t at = begin; at < text.size(); ++at) {
            const auto byte = static_cast<unsigned char>(text[at]);
            const auto& children = nodes_[node].children;
            const auto place = std::lower_bound(children.begin(), children.end(), std::pair{byte, 0U});
            if (place == children.end() || place->first != byte) break;
            node = place->second;
            if (nodes_[node].token != none) match = {begin, at + 1, nodes_[node].token};
        }
        if (match.token != none) return true;
    }
    return false;
}

std::vector<TextSegment> AddedTokenFinder::find(std::string_view text, LiteralSpecials specials) const {
    std::vector<TextSegment> segments;
    std::size_t done = 0;
    Match match{};
    if (!first_bytes_.empty()) {
        for (std::size_t from = 0; next_match(text, from, match); from = match.end) {
            const AddedToken& token = tokens_[match.token];
            if (token.special && specials == LiteralSpecials::text) continue;
            std::size_t begin = match.begin, end = match.end;
            if (token.single_word &&
                (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end))))
                continue;
            // What the last match took is not taken again.
            if (token.strip_left) begin = std::max(white_space_begin(text.substr(0, begin)), done);
            if (token.strip_right) end += white_space_bytes(text.substr(end));
            // All of it is white space that the last match swallowed.
            if (begin >= end) continue;
            if (done < begin) segments.push_back({done, begin, false, 0});
            segments.push_back({begin, end, true, token.id});
            done = end;
        }
    }
    if (done < text.size()) segments.push_back({done, text.size(), false, 0});
    return segments;
}

}  // namespace lockstep
