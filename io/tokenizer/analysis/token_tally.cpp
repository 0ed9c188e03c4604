#include "io/tokenizer/analysis/token_tally.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "io/base/blanks.h"
#include "io/base/error.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

std::uint64_t characters_of(std::string_view text) {
    return static_cast<std::uint64_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

void add_words(std::string_view text, WordCounts& words) {
    for (std::size_t begin = text.find_first_not_of(blanks); begin != std::string_view::npos;) {
        const std::size_t end = std::min(text.find_first_of(blanks, begin), text.size());
        words.add(text.substr(begin, end - begin));
        begin = text.find_first_not_of(blanks, end);
    }
}

/// "<0xE6>", as byte fallback spells bytes, of a byte that is no character.
bool is_spelled_byte(std::string_view token) {
    return token.size() == 6 && token.starts_with("<0x") && token.back() == '>' && token[3] >= '8';
}

}  // namespace

std::uint64_t TokenTally::tokens() const {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

std::uint64_t TokenTally::num_words() const {
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < words.size(); ++i) all += words.count(i);
    return all;
}

TokenTallying::TokenTallying(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    tally_.counts.resize(tokenizer.vocabulary_size());
}

void TokenTallying::add(std::string_view text) {
    ids_.clear();
    tokenizer_.encode(text, ids_);
    if (ids_.size() > std::numeric_limits<std::uint32_t>::max())
        throw Error(ErrorCode::invalid_argument, "a text has 2^32 tokens or more; divide it");
    for (const std::uint32_t id : ids_) ++tally_.counts[id];
    tally_.text_tokens.push_back(static_cast<std::uint32_t>(ids_.size()));
    tally_.bytes += text.size();
    tally_.characters += characters_of(text);
    tally_.texts_changed += tokenizer_.decode(ids_) == text ? 0U : 1U;
    add_words(text, tally_.words);
}

std::optional<std::uint32_t> unknown_id(const Tokenizer& tokenizer) {
    for (const char* name : {"<unk>", "[UNK]", "<|unk|>", "<UNK>"})
        if (const auto id = tokenizer.id_of(name)) return id;
    return std::nullopt;
}

bool is_fragment(const Tokenizer& tokenizer, std::uint32_t id) {
    const std::string bytes = tokenizer.token_bytes(id);
    return !tokenizer.is_special(id) && (is_spelled_byte(bytes) || lossy_utf8(bytes) != bytes);
}

std::vector<WordTokens> tokenize_words(const Tokenizer& tokenizer, const WordCounts& words) {
    const auto unknown = unknown_id(tokenizer);
    std::vector<bool> fragment(tokenizer.vocabulary_size());
    for (std::uint32_t id = 0; id < fragment.size(); ++id) fragment[id] = is_fragment(tokenizer, id);
    std::vector<WordTokens> result;
    result.reserve(words.size());
    std::vector<std::uint32_t> bare, spaced;
    for (std::size_t i = 0; i < words.size(); ++i) {
        bare.clear();
        spaced.clear();
        tokenizer.encode(words.word(i), bare);
        tokenizer.encode(" " + std::string(words.word(i)), spaced);
        const auto& ids = spaced.size() <= bare.size() ? spaced : bare;
        WordTokens item{words.word(i), words.count(i), static_cast<std::uint32_t>(ids.size())};
        for (const std::uint32_t id : ids) {
            item.has_unknown = item.has_unknown || id == unknown;
            item.has_fragments = item.has_fragments || fragment[id];
        }
        result.push_back(item);
    }
    std::ranges::sort(result, [](const WordTokens& a, const WordTokens& b) {
        return a.count != b.count ? a.count > b.count : a.word < b.word;
    });
    return result;
}

}  // namespace lockstep
