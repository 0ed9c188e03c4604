// io/tokenizer/unicode/tables.h
//
// What a character is, by tables of our own: Unicode 16, the version the
// reference engines follow, so that ids depend neither on the distribution nor
// on a library. Where the reference engine has older tables in one of its parts
// (normalization, punctuation, marks) there is a property of that name.
// Written by generate.mjs.

#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lockstep {

/// Part of the fingerprint of every tokenizer that uses the tables; raised with any change of theirs.
constexpr std::string_view unicode_tables_version = "16.0.0/1";

/// General category; the values are stored in tables.inc.
enum class Category : std::uint8_t {
    Cn,
    Lu,
    Ll,
    Lt,
    Lm,
    Lo,
    Mn,
    Mc,
    Me,
    Nd,
    Nl,
    No,
    Pc,
    Pd,
    Ps,
    Pe,
    Pi,
    Pf,
    Po,
    Sm,
    Sc,
    Sk,
    So,
    Zs,
    Zl,
    Zp,
    Cc,
    Cf,
    Cs,
    Co,
};

enum class GraphemeBreak : std::uint8_t {
    other,
    cr,
    lf,
    control,
    extend,
    zwj,
    regional_indicator,
    prepend,
    spacing_mark,
    l,
    v,
    t,
    lv,
    lvt,
};

/// All that is known of one character.
class CharacterProperties {
  public:
    constexpr explicit CharacterProperties(std::uint32_t bits) : bits_(bits) {}

    Category category() const { return static_cast<Category>(bits_ & 0x1FU); }
    bool is_letter() const { return category() >= Category::Lu && category() <= Category::Lo; }
    bool is_number() const { return category() >= Category::Nd && category() <= Category::No; }
    bool is_mark() const { return category() >= Category::Mn && category() <= Category::Me; }
    bool is_white_space() const { return has(5); }
    bool is_word() const { return has(6); }  ///< \w: alphabetic, mark, digit, connector, joiner.

    // As the reference engine's components see it.
    bool is_numeric() const { return has(7); }          ///< Digits.
    bool is_punctuation() const { return has(8); }      ///< Punctuation, Bert.
    bool is_nonspacing_mark() const { return has(9); }  ///< What Bert strips.
    bool is_combining_mark() const { return has(10); }  ///< What StripAccents strips.
    bool is_control() const { return has(11); }         ///< What Bert's clean-up removes.
    bool is_pictographic() const { return has(16); }
    GraphemeBreak grapheme_break() const { return static_cast<GraphemeBreak>((bits_ >> 12U) & 0xFU); }
    /// Rank of the canonical combining class; 0: a starter.
    std::uint32_t combining_rank() const { return bits_ >> 24U; }

    std::uint32_t bits() const { return bits_; }

  private:
    bool has(unsigned bit) const { return ((bits_ >> bit) & 1U) != 0; }
    std::uint32_t bits_;
};

/// @pre code_point <= 0x10FFFF.
CharacterProperties properties_of(char32_t code_point);

/// A byte of flags a character, derived from the properties; two look-ups a character.
class CharacterFlags {
  public:
    explicit CharacterFlags(std::uint8_t (*flags_of)(CharacterProperties));
    std::uint8_t operator[](char32_t code_point) const {
        return blocks_[(std::size_t{block_of_[code_point >> 8U]} << 8U) | (code_point & 0xFFU)];
    }

  private:
    std::array<std::uint16_t, 0x1100> block_of_{};
    std::vector<std::uint8_t> blocks_;
};

}  // namespace lockstep
