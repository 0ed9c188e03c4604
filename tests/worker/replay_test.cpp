#include "worker/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/cross_entropy.h"
#include "tests/support/error_of.h"
#include "tests/support/small_corpus.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int32_t none = ignored_target;

struct Piece {
    std::uint64_t sample;
    std::uint32_t offset;
    std::uint32_t tokens;
};

/// A slice of one step whose packs hold these pieces.
PlanSlice slice_with(const std::vector<std::vector<Piece>>& packs) {
    PlanSlice slice;
    slice.step_end = 1;
    for (std::size_t pack = 0; pack < packs.size(); ++pack) {
        slice.pack.push_back(40 + 2 * pack);
        for (const Piece& piece : packs[pack]) {
            slice.segment_sample.push_back(piece.sample);
            slice.segment_offset.push_back(piece.offset);
            slice.segment_tokens.push_back(piece.tokens);
        }
        slice.segment_begin.push_back(slice.segment_sample.size());
    }
    slice.step_pack_begin.push_back(packs.size());
    check_slice(slice);
    return slice;
}

class ReplayTest : public testing::Test {
  protected:
    void add(const std::vector<SmallSample>& samples) {
        const auto path =
            write_small_corpus(directory_ / ("corpus" + std::to_string(corpora_++) + ".h5"), samples);
        source_.add(std::make_shared<const Corpus>(Corpus::open(path)));
    }

    PackedBatch batch(const std::vector<Piece>& pieces) {
        PackedBatch built;
        build_batch(slice_with({pieces}), 0, 5, source_, built);
        return built;
    }

    TemporaryDirectory directory_;
    SampleSource source_;
    int corpora_ = 0;
};

TEST_F(ReplayTest, PositionsRestartAndNoTargetCrossesABoundary) {
    add({{{10, 11, 12}, {}, {}}, {{20}, {}, {}}, {{30, 31}, {}, {}}});
    const PackedBatch built = batch({{2, 0, 2}, {1, 0, 1}, {0, 0, 3}});
    EXPECT_EQ(built.step, 5U);
    EXPECT_EQ(built.pack, 40U);
    EXPECT_THAT(built.token_ids, ElementsAre(30, 31, 20, 10, 11, 12));
    EXPECT_THAT(built.position_ids, ElementsAre(0, 1, 0, 0, 1, 2));
    EXPECT_THAT(built.targets, ElementsAre(31, none, none, 11, 12, none));
    EXPECT_THAT(built.cu_seqlens, ElementsAre(0, 2, 3, 6));
    EXPECT_EQ(built.num_targets, 3U);
    EXPECT_EQ(built.num_tokens(), 6U);
}

TEST_F(ReplayTest, LossSpansNameThePredictedTokens) {
    // Prompt 10 11 12, response 13 14: its first token is trained, predicted from the prompt's last.
    add({{{10, 11, 12, 13, 14, 15}, std::vector<LossSpan>{{3, 5}}, {}}});
    const PackedBatch built = batch({{0, 0, 6}});
    EXPECT_THAT(built.targets, ElementsAre(none, none, 13, 14, none, none));
    EXPECT_EQ(built.num_targets, 2U);
}

TEST_F(ReplayTest, AFirstTokenIsNeverPredicted) {
    add({{{10, 11, 12}, std::vector<LossSpan>{{0, 1}}, {}}, {{20, 21}, std::vector<LossSpan>{{0, 2}}, {}}});
    const PackedBatch built = batch({{0, 0, 3}, {1, 0, 2}});
    EXPECT_THAT(built.targets, ElementsAre(none, none, none, 21, none));
    EXPECT_EQ(built.num_targets, 1U);
}

TEST_F(ReplayTest, ASampleWithoutSpansBesideOneWithNoneTrained) {
    add({{{10, 11}, {}, {}}, {{20, 21}, std::vector<LossSpan>{}, {}}});
    EXPECT_THAT(batch({{0, 0, 2}, {1, 0, 2}}).targets, ElementsAre(11, none, none, none));
}

TEST_F(ReplayTest, SplittingWithOneTokenOfOverlapLosesNoTarget) {
    add({{{10, 11, 12, 13, 14, 15, 16}, std::vector<LossSpan>{{1, 3}, {4, 7}}, {}},
         {{20, 21, 22, 23, 24}, {}, {}}});
    // Each piece begins with the last token of the one before.
    const PackedBatch first = batch({{0, 0, 4}});
    EXPECT_THAT(first.targets, ElementsAre(11, 12, none, none));
    const PackedBatch second = batch({{0, 3, 4}});
    EXPECT_THAT(second.token_ids, ElementsAre(13, 14, 15, 16));
    EXPECT_THAT(second.position_ids, ElementsAre(0, 1, 2, 3));
    EXPECT_THAT(second.targets, ElementsAre(14, 15, 16, none));
    EXPECT_EQ(first.num_targets + second.num_targets, 5U) << "as many as in the whole sample";
    EXPECT_EQ(batch({{0, 0, 7}}).num_targets, 5U);
    // The same within one pack, all of it trained.
    EXPECT_THAT(batch({{1, 0, 3}, {1, 2, 3}}).targets, ElementsAre(21, 22, none, 23, 24, none));
}

TEST_F(ReplayTest, SamplesRunThroughTheCorporaInOrder) {
    add({{{10, 11}, {}, {}}, {{}, {}, {}}});
    add({{{20, 21, 22}, {}, {}}});
    add({{{30}, {}, {}}, {{40, 41}, {}, {}}});
    EXPECT_THAT(batch({{4, 0, 2}, {2, 1, 2}, {0, 0, 2}, {3, 0, 1}}).token_ids,
                ElementsAre(40, 41, 21, 22, 10, 11, 30));
    EXPECT_EQ(source_.find(1).sample, 1U);
    EXPECT_EQ(source_.find(2).sample, 0U);
    EXPECT_EQ(source_.find(2).corpus, source_.find(2).corpus);
    EXPECT_NE(source_.find(1).corpus, source_.find(2).corpus);
}

TEST_F(ReplayTest, BuffersAreUsedAgain) {
    add({{small_tokens(50, 1), {}, {}}, {{20, 21}, {}, {}}});
    const PlanSlice slice = slice_with({{{0, 0, 50}}, {{1, 0, 2}}});
    PackedBatch used, fresh;
    build_batch(slice, 0, 3, source_, used);
    build_batch(slice, 1, 4, source_, used);
    build_batch(slice, 1, 4, source_, fresh);
    EXPECT_EQ(used.step, 4U);
    EXPECT_EQ(used.pack, 42U);
    EXPECT_EQ(used.token_ids, fresh.token_ids);
    EXPECT_EQ(used.position_ids, fresh.position_ids);
    EXPECT_EQ(used.targets, fresh.targets);
    EXPECT_EQ(used.cu_seqlens, fresh.cu_seqlens);
    EXPECT_EQ(used.num_targets, 1U);
}

TEST_F(ReplayTest, AgreesWithTheDefinitionForRandomSpansAndPieces) {
    const Philox random(3, "replay");
    std::uint64_t next = 0;
    std::vector<SmallSample> samples;
    for (std::uint64_t s = 0; s < 40; ++s) {
        SmallSample sample{small_tokens(2 + random.below(next++, 60), s), std::vector<LossSpan>{}, {}};
        const auto length = static_cast<std::uint32_t>(sample.tokens.size());
        for (std::uint32_t at = 0; at < length;) {
            const auto begin = at + static_cast<std::uint32_t>(random.below(next++, 9));
            const auto end = begin + 1 + static_cast<std::uint32_t>(random.below(next++, 9));
            if (end > length) break;
            sample.spans->push_back({begin, end});
            at = end;
        }
        samples.push_back(sample);
    }
    add(samples);
    for (int round = 0; round < 50; ++round) {
        std::vector<Piece> pieces;
        for (std::uint64_t p = 1 + random.below(next++, 6); p > 0; --p) {
            const std::uint64_t sample = random.below(next++, samples.size());
            const std::uint64_t length = samples[sample].tokens.size();
            const std::uint64_t offset = random.below(next++, length);
            const std::uint64_t tokens = 1 + random.below(next++, length - offset);
            pieces.push_back(
                {sample, static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(tokens)});
        }
        const PackedBatch built = batch(pieces);
        std::size_t at = 0;
        std::uint32_t targets = 0;
        for (const Piece& piece : pieces) {
            const SmallSample& sample = samples[piece.sample];
            for (std::uint32_t i = 0; i < piece.tokens; ++i, ++at) {
                const std::uint32_t predicted = piece.offset + i + 1;
                bool trained = false;
                for (const LossSpan& span : *sample.spans) {
                    trained = trained || (predicted >= span.begin && predicted < span.end);
                }
                trained = trained && i + 1 < piece.tokens;
                ASSERT_EQ(built.token_ids[at], sample.tokens[piece.offset + i]);
                ASSERT_EQ(built.position_ids[at], i);
                ASSERT_EQ(built.targets[at],
                          trained ? static_cast<std::int32_t>(sample.tokens[predicted]) : none);
                targets += trained ? 1 : 0;
            }
        }
        ASSERT_EQ(built.num_tokens(), at);
        ASSERT_EQ(built.num_targets, targets);
    }
}

TEST_F(ReplayTest, NamesWhatDoesNotBelongToTheCorpus) {
    add({{{10, 11, 12}, {}, {}}, {{20, 21}, {}, {}}});
    const auto refused = [&](const Piece& piece) {
        const Error error = error_of([&] { batch({{0, 0, 3}, piece}); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        return std::string(error.what());
    };
    EXPECT_THAT(refused({2, 0, 1}), HasSubstr("sample 2"));
    EXPECT_THAT(refused({~std::uint64_t{0}, 0, 1}), HasSubstr("hold only 2"));
    EXPECT_THAT(refused({1, 0, 3}), HasSubstr("pack 40 wants tokens [0, 3) of sample 1, which has 2"));
    EXPECT_THAT(refused({1, 2, 1}), HasSubstr("pack 40 wants tokens [2, 3) of sample 1"));
    EXPECT_THAT(refused({1, 4294967295U, 1}), HasSubstr("sample 1"));
}

}  // namespace
}  // namespace lockstep
