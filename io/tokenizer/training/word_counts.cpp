#include "io/tokenizer/training/word_counts.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "io/base/error.h"
#include "io/base/ordered_work.h"
#include "io/tokenizer/token_index.h"

namespace lockstep {

namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 20U;

/// Texts, or parts of long ones, for one thread.
struct TextBlock {
    std::string bytes;
    std::vector<std::size_t> ends;

    void add(std::string_view text) {
        bytes += text;
        ends.push_back(bytes.size());
    }
};

void count_block(const Splitter& splitter, const TextBlock& block, WordCounts& counts) {
    std::size_t begin = 0;
    for (const std::size_t end : block.ends) {
        const std::string_view text = std::string_view(block.bytes).substr(begin, end - begin);
        std::size_t at = 0;
        splitter.split(text, [&](std::span<const std::size_t> ends) {
            for (const std::size_t piece_end : ends) {
                counts.add(text.substr(at, piece_end - at));
                at = piece_end;
            }
        });
        begin = end;
    }
}

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_printed(char c) {
    return c > 0x20 && c < 0x7F;
}

}  // namespace

void WordCounts::add(std::string_view word, std::uint64_t count) {
    if (2 * (entries_.size() + 1) > slots_.size()) grow();
    const std::uint64_t hash = hash_of_bytes(word.data(), word.size());
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    for (; slots_[at] != 0; at = (at + 1) & mask) {
        Entry& entry = entries_[slots_[at] - 1];
        if (entry.hash != hash || std::string_view(text_).substr(entry.begin, entry.bytes) != word) continue;
        entry.count += count;
        return;
    }
    entries_.push_back({text_.size(), word.size(), hash, count});
    text_ += word;
    slots_[at] = static_cast<std::uint32_t>(entries_.size());
}

void WordCounts::add(const WordCounts& other) {
    for (std::size_t i = 0; i < other.size(); ++i) add(other.word(i), other.count(i));
}

void WordCounts::grow() {
    if (entries_.size() >= std::numeric_limits<std::uint32_t>::max() / 2)
        throw Error(ErrorCode::invalid_argument, "the text has 2^31 different words; train on a part of it");
    slots_.assign(std::max<std::size_t>(1024, 2 * slots_.size()), 0);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        std::size_t at = entries_[i].hash & mask;
        while (slots_[at] != 0) at = (at + 1) & mask;
        slots_[at] = static_cast<std::uint32_t>(i + 1);
    }
}

std::vector<std::size_t> WordCounts::sorted() const {
    std::vector<std::size_t> order(size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, [this](std::size_t a, std::size_t b) { return word(a) < word(b); });
    return order;
}

std::size_t find_piece_border(std::string_view text, std::size_t from) {
    for (std::size_t at = text.find('\n', from); at != std::string_view::npos; at = text.find('\n', at + 1)) {
        if (at > 0 && at + 1 < text.size() && is_printed(text[at - 1]) && is_letter(text[at + 1]))
            return at + 1;
    }
    return text.size();
}

WordCounts count_words(const Splitter& splitter, TextSource texts, int threads) {
    std::vector<WordCounts> counts(static_cast<std::size_t>(threads));
    OrderedWork<TextBlock, bool> work(threads, [&](TextBlock& block, int thread) {
        count_block(splitter, block, counts[static_cast<std::size_t>(thread)]);
        return true;
    });
    TextBlock block;
    const auto hand_over = [&] {
        if (work.full()) work.take();
        work.give(std::move(block));
        block = {};
    };
    texts([&](std::string_view text) {
        while (!text.empty()) {
            const std::size_t room = block_bytes - std::min(block_bytes, block.bytes.size());
            const std::size_t cut = text.size() <= room ? text.size() : find_piece_border(text, room);
            block.add(text.substr(0, cut));
            text.remove_prefix(cut);
            if (block.bytes.size() >= block_bytes) hand_over();
        }
    });
    if (!block.ends.empty()) hand_over();
    while (!work.empty()) work.take();
    for (std::size_t i = 1; i < counts.size(); ++i) {
        counts[0].add(counts[i]);
        counts[i] = {};
    }
    return std::move(counts[0]);
}

}  // namespace lockstep
