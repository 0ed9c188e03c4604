#include "io/tokenizer/analysis/token_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lockstep {

namespace {

double share(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::uint64_t sum(std::span<const std::uint64_t> counts) {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

/// Nearest rank: the smallest length that at least this share of the texts does not exceed.
std::uint32_t percentile(const std::vector<std::uint32_t>& ascending, double of) {
    if (ascending.empty()) return 0;
    const auto rank = static_cast<std::size_t>(std::ceil(of * static_cast<double>(ascending.size())));
    return ascending[std::clamp<std::size_t>(rank, 1, ascending.size()) - 1];
}

bool is_letter_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80U;
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

}  // namespace

CoverageFigures coverage_of(const Tokenizer& tokenizer, const TokenTally& tally,
                            std::span<const WordTokens> words) {
    CoverageFigures figures;
    const std::uint64_t tokens = tally.tokens();
    std::uint64_t used = 0, fragments = 0, whole = 0, all_words = 0;
    for (std::uint32_t id = 0; id < tally.counts.size(); ++id) {
        if (tally.counts[id] == 0) continue;
        ++used;
        if (is_fragment(tokenizer, id)) fragments += tally.counts[id];
    }
    for (const WordTokens& word : words) {
        all_words += word.count;
        // The unknown token is no word.
        if (word.tokens == 1 && !word.has_unknown) whole += word.count;
    }
    const auto unknown = unknown_id(tokenizer);
    figures.vocabulary_used = share(used, tally.counts.size());
    figures.unknown = share(unknown ? tally.counts[*unknown] : 0, tokens);
    figures.fragments = share(fragments, tokens);
    figures.whole_words = share(whole, all_words);
    figures.texts_changed = tally.texts_changed;
    return figures;
}

EntropyFigures entropy_of(std::span<const std::uint64_t> counts, std::uint64_t bytes) {
    EntropyFigures figures;
    const std::uint64_t tokens = sum(counts);
    if (tokens == 0) return figures;
    for (const std::uint64_t count : counts) {
        if (count == 0) continue;
        const double p = share(count, tokens);
        figures.bits_per_token -= p * std::log2(p);
    }
    figures.perplexity = std::exp2(figures.bits_per_token);
    if (counts.size() > 1)
        figures.normalized = figures.bits_per_token / std::log2(static_cast<double>(counts.size()));
    if (bytes > 0) figures.bits_per_byte = figures.bits_per_token * share(tokens, bytes);
    std::uint64_t top = 0;
    for (const std::uint32_t id : most_frequent(counts, 10)) top += counts[id];
    figures.top_ten = share(top, tokens);
    return figures;
}

EfficiencyFigures efficiency_of(const TokenTally& tally) {
    EfficiencyFigures figures;
    const std::uint64_t tokens = tally.tokens();
    figures.bytes_per_token = share(tally.bytes, tokens);
    figures.characters_per_token = share(tally.characters, tokens);
    figures.tokens_per_word = share(tokens, tally.num_words());
    figures.tokens_per_text = share(tokens, tally.text_tokens.size());
    std::vector<std::uint32_t> lengths = tally.text_tokens;
    std::ranges::sort(lengths);
    figures.median = percentile(lengths, 0.5);
    figures.p90 = percentile(lengths, 0.9);
    figures.p99 = percentile(lengths, 0.99);
    figures.longest = lengths.empty() ? 0 : lengths.back();
    return figures;
}

WasteFigures waste_of(std::span<const std::uint32_t> text_tokens, std::uint32_t tokens_max) {
    WasteFigures figures;
    std::uint64_t tokens = 0;
    for (const std::uint32_t length : text_tokens) {
        tokens += length;
        if (length <= tokens_max) {
            figures.padding += tokens_max - length;
            continue;
        }
        const std::uint64_t lost = length - tokens_max;
        figures.lost += lost;
        const double of_text = share(lost, length);
        ++(of_text < 0.1 ? figures.cut_little : of_text <= 0.5 ? figures.cut_much : figures.cut_most);
    }
    figures.padding_share = share(figures.padding, std::uint64_t{tokens_max} * text_tokens.size());
    figures.lost_share = share(figures.lost, tokens);
    return figures;
}

char FitScore::grade() const {
    const double points = total();
    return points >= 80 ? 'A' : points >= 65 ? 'B' : points >= 50 ? 'C' : points >= 35 ? 'D' : 'F';
}

FitScore fit_of(const EfficiencyFigures& efficiency, const CoverageFigures& coverage) {
    FitScore score;
    score.length = 40 * std::min(1.0, efficiency.characters_per_token / 4);
    score.known = 30 * std::max(0.0, 1 - 10 * (coverage.unknown + coverage.fragments));
    score.words = 20 * coverage.whole_words;
    score.used = 10 * std::min(1.0, coverage.vocabulary_used / 0.5);
    return score;
}

VocabularyFigures vocabulary_of(const Tokenizer& tokenizer, std::span<const std::uint64_t> counts) {
    VocabularyFigures figures;
    figures.by_bytes.resize(17);
    std::vector<std::uint32_t> ids;
    for (std::uint32_t id = 0; id < counts.size(); ++id) {
        figures.used += counts[id] > 0 ? 1U : 0U;
        figures.once += counts[id] == 1 ? 1U : 0U;
        const std::string bytes = tokenizer.token_bytes(id);
        ++figures.by_bytes[std::min<std::size_t>(bytes.size(), figures.by_bytes.size() - 1)];
        if (tokenizer.is_special(id)) {
            ++figures.specials;
            continue;
        }
        if (is_fragment(tokenizer, id)) {
            ++figures.fragments;
            continue;
        }
        const bool space = bytes.starts_with(' ');
        const std::string_view body = std::string_view(bytes).substr(space ? 1 : 0);
        if (!body.empty() && std::ranges::all_of(body, is_digit)) {
            ++figures.digits;
        } else if (!body.empty() && std::ranges::all_of(body, is_letter_byte)) {
            ++(space ? figures.with_space : figures.words);
        } else {
            ++figures.other;
        }
        ids.clear();
        tokenizer.encode(bytes, ids);
        if (ids.size() != 1 || ids.front() != id) figures.not_reached.push_back(id);
    }
    return figures;
}

std::vector<std::uint32_t> most_frequent(std::span<const std::uint64_t> counts, std::size_t limit) {
    std::vector<std::uint32_t> ids;
    for (std::uint32_t id = 0; id < counts.size(); ++id)
        if (counts[id] > 0) ids.push_back(id);
    std::ranges::stable_sort(ids, [&](std::uint32_t a, std::uint32_t b) { return counts[a] > counts[b]; });
    ids.resize(std::min(ids.size(), limit));
    return ids;
}

}  // namespace lockstep
