#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/model/token_model.h"
#include "tests/support/dice.h"

namespace lockstep {
namespace {

struct Spelling {
    std::vector<std::uint32_t> ids;
    std::vector<TokenOffsets> offsets;
};

Spelling spelling_of(const TokenModel& model, std::string_view text, std::size_t window_bytes) {
    ModelScratch scratch;
    scratch.window_bytes = window_bytes;
    Spelling spelling;
    model.encode_piece(text, scratch, spelling.ids, spelling.offsets);
    std::vector<std::uint32_t> alone;
    model.encode_piece(text, scratch, alone);
    EXPECT_EQ(alone, spelling.ids);
    return spelling;
}

void expect_equal(const Spelling& a, const Spelling& b, const std::string& what) {
    ASSERT_EQ(a.ids, b.ids) << what;
    ASSERT_EQ(a.offsets.size(), b.offsets.size()) << what;
    for (std::size_t i = 0; i < a.offsets.size(); ++i) {
        ASSERT_EQ(a.offsets[i].begin, b.offsets[i].begin) << what;
        ASSERT_EQ(a.offsets[i].end, b.offsets[i].end) << what;
    }
}

using Letters = std::vector<std::string>;
const Letters all_letters = {"a", "b", "\u00e9", "\u2603"};

/// Pieces over some letters, with equal scores among them; bytes for all characters, for some or for none.
std::vector<UnigramPiece> random_pieces(Dice& dice, const Letters& letters, bool whole_alphabet) {
    std::vector<UnigramPiece> pieces = {{"<unk>", 0}};
    if (whole_alphabet)
        for (const std::string& letter : letters) pieces.push_back({letter, -6});
    for (std::uint32_t i = 2 + dice.below(20); i > 0; --i) {
        std::string text;
        for (std::uint32_t length = 1 + dice.below(6); length > 0; --length)
            text += letters[dice.below(static_cast<std::uint32_t>(letters.size()))];
        pieces.push_back({text, -1.0 - 0.25 * dice.below(20)});
    }
    const std::uint32_t bytes_missing = dice.below(3);
    for (unsigned byte = 0; byte < 256 && bytes_missing < 2; ++byte)
        if (bytes_missing == 0 || dice.below(9) > 0) pieces.push_back({byte_token(byte), -20});
    return pieces;
}

TEST(UnigramModelTest, LongPiecesGoneThroughByPartsGiveTheSame) {
    constexpr std::size_t whole = std::numeric_limits<std::size_t>::max() / 2;
    Dice dice(1);
    for (int round = 0; round < 2000; ++round) {
        const bool knows_unknown = round % 5 != 0;
        const Letters letters(all_letters.begin(),
                              all_letters.begin() + (knows_unknown ? 1 + dice.below(4) : 4));
        const auto model = make_unigram_model(random_pieces(dice, letters, !knows_unknown),
                                              knows_unknown ? std::optional<std::uint32_t>(0) : std::nullopt,
                                              round % 2 == 0);
        std::string text;
        for (std::uint32_t length = 1 + dice.below(300); length > 0; --length) {
            text += all_letters[dice.below(4)];
            // Bytes that are no character, alone and in runs.
            if (knows_unknown && dice.below(20) == 0) text.append(1 + dice.below(5), '\x80');
        }
        const Spelling expected = spelling_of(*model, text, whole);
        for (const std::size_t window : {1U, 2U, 7U, 50U}) {
            expect_equal(spelling_of(*model, text, window), expected,
                         "round " + std::to_string(round) + ", windows of " + std::to_string(window));
        }
    }
}

/// Two ways through all of the text, and only its end decides: nothing can be spelled before.
TEST(UnigramModelTest, PathsThatNeverMeetAreFollowedToTheEnd) {
    const auto model =
        make_unigram_model({{"<unk>", 0}, {"a", -3}, {"aa", -2}, {"b", -1}, {"ab", -1}}, 0, false);
    for (const std::size_t letters : {4000U, 4001U}) {
        const Spelling spelling = spelling_of(*model, std::string(letters, 'a') + "b", 16);
        ASSERT_EQ(spelling.ids.size(), 2001U);
        EXPECT_EQ(spelling.ids.back(), letters % 2 == 0 ? 3U : 4U);
        EXPECT_EQ(spelling.ids.front(), 2U);
    }
}

TEST(UnigramModelTest, BytesThatAreNoCharactersStayInBounds) {
    const auto model = make_unigram_model({{"<unk>", 0}, {"a", -1}}, 0, false);
    const std::string text = "a" + std::string(100, '\x80') + "a";
    expect_equal(spelling_of(*model, text, 4), spelling_of(*model, text, 1000), "continuation bytes");
}

}  // namespace
}  // namespace lockstep
