#include "io/tokenizer/pipeline/charsmap.h"

#include <cstring>

#include "io/tokenizer/base64.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

// A unit holds a label, an offset to its children (scaled if bit 9 is set) and whether it has a leaf.
std::uint32_t label_of(std::uint32_t unit) {
    return unit & 0x800000FFU;
}
std::uint32_t offset_of(std::uint32_t unit) {
    return (unit >> 10U) << ((unit & 0x200U) >> 6U);
}
bool has_leaf(std::uint32_t unit) {
    return ((unit >> 8U) & 1U) != 0;
}

}  // namespace

Charsmap::Charsmap(const Component& component) {
    const auto bytes = base64_decoded(component.text("precompiled_charsmap"));
    std::uint32_t trie_bytes = 0;
    if (!bytes || bytes->size() < 4) component.refuse("'precompiled_charsmap' is no base64 of a map");
    std::memcpy(&trie_bytes, bytes->data(), 4);
    if (trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > bytes->size() - 4)
        component.refuse("'precompiled_charsmap' is cut short");
    units_.resize(trie_bytes / 4);
    std::memcpy(units_.data(), bytes->data() + 4, trie_bytes);
    replacements_ = bytes->substr(4 + trie_bytes);
    // So that every replacement has an end.
    replacements_ += '\0';
    for (std::size_t begin = 0; begin < replacements_.size();) {
        const std::size_t end = replacements_.find('\0', begin);
        try {
            expect_valid_utf8(std::string_view(replacements_).substr(begin, end - begin));
        } catch (const std::exception&) {
            component.refuse("'precompiled_charsmap' holds a replacement that is not UTF-8");
        }
        begin = end + 1;
    }
}

bool Charsmap::find(std::string_view text, std::string_view& replacement) const {
    std::size_t node = offset_of(units_[0]);
    for (const char c : text) {
        const auto byte = static_cast<std::uint32_t>(static_cast<unsigned char>(c));
        node ^= byte;
        if (byte == 0 || node >= units_.size() || label_of(units_[node]) != byte) return false;
        const std::uint32_t unit = units_[node];
        node ^= offset_of(unit);
        if (node >= units_.size()) return false;
        if (!has_leaf(unit)) continue;
        const std::size_t begin = units_[node] & 0x7FFFFFFFU;
        if (begin >= replacements_.size()) return false;
        replacement = std::string_view(replacements_).substr(begin);
        replacement = replacement.substr(0, replacement.find('\0'));
        return true;
    }
    return false;
}

}  // namespace lockstep
