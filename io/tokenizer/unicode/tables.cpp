#include "io/tokenizer/unicode/tables.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "io/base/contract.h"
#include "io/tokenizer/unicode/mappings.h"

namespace lockstep {

namespace {

#include "io/tokenizer/unicode/tables.inc"

constexpr std::size_t num_code_points = 0x110000;

class PropertyTable {
  public:
    PropertyTable() {
        std::vector<std::uint32_t> flat(num_code_points);
        constexpr std::size_t num_ranges = std::size(property_ranges) / 2;
        for (std::size_t i = 0; i < num_ranges; ++i) {
            const std::size_t end = i + 1 < num_ranges ? property_ranges[2 * i + 2] : num_code_points;
            std::fill(flat.begin() + property_ranges[2 * i], flat.begin() + static_cast<std::ptrdiff_t>(end),
                      property_ranges[2 * i + 1]);
        }
        std::map<std::vector<std::uint32_t>, std::uint16_t> known;
        for (std::size_t block = 0; block < block_of_.size(); ++block) {
            const auto begin = flat.begin() + static_cast<std::ptrdiff_t>(block << 8U);
            const auto [place, is_new] = known.try_emplace(std::vector<std::uint32_t>(begin, begin + 256),
                                                           static_cast<std::uint16_t>(known.size()));
            if (is_new) blocks_.insert(blocks_.end(), begin, begin + 256);
            block_of_[block] = place->second;
        }
    }

    std::uint32_t operator[](char32_t code_point) const {
        return blocks_[(std::size_t{block_of_[code_point >> 8U]} << 8U) | (code_point & 0xFFU)];
    }
    const std::array<std::uint16_t, 0x1100>& block_of() const { return block_of_; }
    const std::vector<std::uint32_t>& blocks() const { return blocks_; }

  private:
    std::array<std::uint16_t, 0x1100> block_of_{};
    std::vector<std::uint32_t> blocks_;
};

const PropertyTable& property_table() {
    static const PropertyTable table;
    return table;
}

/// Sorted by character; the mapped characters lie in one list.
class MappingTable {
  public:
    explicit MappingTable(std::span<const std::uint32_t> flat) {
        for (std::size_t i = 0; i < flat.size(); i += 2 + flat[i + 1]) {
            begins_.push_back({flat[i], static_cast<std::uint32_t>(characters_.size()), flat[i + 1]});
            for (std::size_t k = 0; k < flat[i + 1]; ++k) characters_.push_back(flat[i + 2 + k]);
        }
    }

    std::span<const char32_t> of(char32_t code_point) const {
        const auto place = std::lower_bound(begins_.begin(), begins_.end(), code_point,
                                            [](const Entry& entry, char32_t c) { return entry.from < c; });
        if (place == begins_.end() || place->from != code_point) return {};
        return {characters_.data() + place->begin, place->size};
    }

  private:
    struct Entry {
        char32_t from;
        std::uint32_t begin, size;
    };
    std::vector<Entry> begins_;
    std::vector<char32_t> characters_;
};

}  // namespace

CharacterProperties properties_of(char32_t code_point) {
    LOCKSTEP_EXPECTS(code_point < num_code_points);
    return CharacterProperties(property_table()[code_point]);
}

CharacterFlags::CharacterFlags(std::uint8_t (*flags_of)(CharacterProperties))
    : block_of_(property_table().block_of()) {
    blocks_.reserve(property_table().blocks().size());
    for (const std::uint32_t bits : property_table().blocks())
        blocks_.push_back(flags_of(CharacterProperties(bits)));
}

std::span<const char32_t> lower_mapping(char32_t code_point) {
    static const MappingTable table(lower_mappings);
    return table.of(code_point);
}

std::span<const char32_t> canonical_mapping(char32_t code_point) {
    static const MappingTable table(canonical_mappings);
    return table.of(code_point);
}

std::span<const char32_t> compatible_mapping(char32_t code_point) {
    static const MappingTable table(compatible_mappings);
    const auto compatible = table.of(code_point);
    return compatible.empty() ? canonical_mapping(code_point) : compatible;
}

char32_t composed_pair(char32_t first, char32_t second) {
    static const std::map<std::pair<char32_t, char32_t>, char32_t> pairs = [] {
        std::map<std::pair<char32_t, char32_t>, char32_t> all;
        for (std::size_t i = 0; i < std::size(composition_pairs); i += 3)
            all[{composition_pairs[i], composition_pairs[i + 1]}] = composition_pairs[i + 2];
        return all;
    }();
    const auto place = pairs.find({first, second});
    return place == pairs.end() ? 0 : place->second;
}

}  // namespace lockstep
