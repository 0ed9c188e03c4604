// io/tokenizer/token_index.h
//
// Bytes of a token to its id: one open-addressed table over one block of text.

#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

/// Reads past short keys are avoided by loading what is there in overlapping words.
inline std::uint64_t hash_of_bytes(const char* data, std::size_t size) {
    constexpr std::uint64_t mix = 0x9E3779B97F4A7C15ULL;
    const auto load = [&](std::size_t at, std::size_t bytes) {
        std::uint64_t word = 0;
        std::memcpy(&word, data + at, bytes);
        return word;
    };
    std::uint64_t hash = size * mix;
    const auto fold = [&](std::uint64_t word) {
        hash = (hash ^ word) * mix;
        hash ^= hash >> 29U;
    };
    if (size >= 8) {
        for (std::size_t at = 0; at + 8 <= size; at += 8) fold(load(at, 8));
        fold(load(size - 8, 8));
    } else if (size >= 4) {
        fold(load(0, 4) | load(size - 4, 4) << 32U);
    } else if (size > 0) {
        const auto byte = [&](std::size_t at) {
            return static_cast<std::uint64_t>(static_cast<unsigned char>(data[at]));
        };
        fold(byte(0) | byte(size / 2) << 8U | byte(size - 1) << 16U);
    }
    return hash ^ (hash >> 32U);
}

class TokenIndex {
  public:
    static constexpr std::uint32_t none = 0xFFFFFFFFU;

    /// The later of two equal keys wins.
    void set(std::string_view key, std::uint32_t id);
    /// `none` if the key is not there.
    std::uint32_t find(std::string_view key) const {
        if (slots_.empty()) return none;
        const std::uint64_t hash = hash_of_bytes(key.data(), key.size());
        for (std::size_t at = hash & mask_;; at = (at + 1) & mask_) {
            const Slot& slot = slots_[at];
            if (slot.id == none) return none;
            if (slot.tag == tag_of(hash) && slot.size == key.size() &&
                std::memcmp(text_.data() + slot.begin, key.data(), key.size()) == 0)
                return slot.id;
        }
    }
    std::size_t size() const { return count_; }
    std::size_t longest() const { return longest_; }

  private:
    struct Slot {
        std::uint32_t id = none, size = 0, tag = 0, begin = 0;
    };
    static std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32U); }
    void grow();

    std::vector<Slot> slots_;
    std::string text_;
    std::size_t mask_ = 0, count_ = 0, longest_ = 0;
};

}  // namespace lockstep
