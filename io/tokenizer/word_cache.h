// io/tokenizer/word_cache.h
//
// Words that came up lately and their ids: direct-mapped, one cache line an
// entry. Only a memory of results; ids do not depend on it.

#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace lockstep {

class WordCache {
  public:
    static constexpr std::size_t key_bytes_max = 31;
    static constexpr std::size_t ids_max = 6;

    /// The key as the cache compares it: zero-padded, its length in the last byte.
    struct Key {
        std::array<std::uint64_t, 4> words;
        std::size_t slot;
    };

    WordCache() : entries_(num_entries) {}

    /// @pre 0 < word.size() <= key_bytes_max. @param readable  bytes that may be read from word.data().
    static Key key_of(std::string_view word, std::size_t readable) {
        Key key{};
        if (readable >= 32) {
            std::memcpy(key.words.data(), word.data(), 32);
            // Clear what lies behind the word.
            for (std::size_t i = 0; i < 4; ++i) {
                const std::size_t begin = 8 * i;
                if (word.size() <= begin) {
                    key.words[i] = 0;
                } else if (word.size() < begin + 8) {
                    key.words[i] &= ~std::uint64_t{0} >> (8 * (begin + 8 - word.size()));
                }
            }
        } else {
            std::memcpy(key.words.data(), word.data(), word.size());
        }
        key.words[3] |= std::uint64_t{word.size()} << 56U;
        std::uint64_t hash = key.words[0] * 0x9E3779B97F4A7C15ULL;
        hash = (hash ^ std::rotr(hash, 31) ^ key.words[1]) * 0xC2B2AE3D27D4EB4FULL;
        hash = (hash ^ std::rotr(hash, 29) ^ key.words[2] ^ key.words[3]) * 0x9E3779B97F4A7C15ULL;
        key.slot = hash >> (64U - bits);
        return key;
    }

    /// Ids of the word; empty if it is not here.
    std::span<const std::uint32_t> find(const Key& key) const {
        const Entry& entry = entries_[key.slot];
        std::uint64_t difference = 0;
        for (std::size_t i = 0; i < key.words.size(); ++i) difference |= entry.words[i] ^ key.words[i];
        if (difference != 0) return {};
        return {entry.ids.data(), entry.count};
    }

    /// Ids of consecutive words [begin, ends[0]), [ends[0], ends[1]), … of `text`, appended.
    /// @param encode  called with a word that is not here, to append its ids.
    template <class Encode>
    void encode(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                std::vector<std::uint32_t>& ids, const Encode& encode) {
        std::array<Key, words_ahead> keys;
        const auto word_at = [&](std::size_t i) {
            const std::size_t from = i == 0 ? begin : ends[i - 1];
            return text.substr(from, ends[i] - from);
        };
        const auto fetch = [&](std::size_t i) {
            if (i >= ends.size()) return;
            const std::string_view word = word_at(i);
            if (word.size() > key_bytes_max) return;
            Key& key = keys[i % words_ahead];
            key = key_of(word, static_cast<std::size_t>(text.data() + text.size() - word.data()));
            __builtin_prefetch(&entries_[key.slot]);
        };
        for (std::size_t i = 0; i < words_ahead; ++i) fetch(i);
        for (std::size_t i = 0; i < ends.size(); ++i) {
            const std::string_view word = word_at(i);
            if (word.size() > key_bytes_max) {
                encode(word);
            } else if (const auto known = find(keys[i % words_ahead]); !known.empty()) {
                for (const std::uint32_t id : known) ids.push_back(id);
            } else {
                const std::size_t first = ids.size();
                encode(word);
                put(keys[i % words_ahead], std::span(ids).subspan(first));
            }
            fetch(i + words_ahead);
        }
    }

    void put(const Key& key, std::span<const std::uint32_t> ids) {
        if (ids.empty() || ids.size() > ids_max) return;
        Entry& entry = entries_[key.slot];
        entry.words = key.words;
        entry.count = static_cast<std::uint32_t>(ids.size());
        std::memcpy(entry.ids.data(), ids.data(), ids.size_bytes());
    }

  private:
    static_assert(std::endian::native == std::endian::little, "keys are compared as little-endian words");
    static constexpr std::size_t words_ahead = 8;  ///< Entries are fetched while earlier words are looked up.
    static constexpr unsigned bits = 15;
    static constexpr std::size_t num_entries = std::size_t{1} << bits;

    struct alignas(64) Entry {
        std::array<std::uint64_t, 4> words{};
        std::array<std::uint32_t, ids_max> ids{};
        std::uint32_t count = 0;
    };
    std::vector<Entry> entries_;
};

}  // namespace lockstep
