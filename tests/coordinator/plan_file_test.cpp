#include "coordinator/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "plan/plan_diff.h"
#include "plan/plan_revision.h"
#include "tests/coordinator/small_plan.h"
#include "tests/io/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

void save(const fs::path& folder, const BatchPlan& plan) {
    save_plan(folder, plan, plan_stats(plan, {}), {}, WriteJsonl::never, Overwrite::no);
}

class PlanFileTest : public testing::Test {
  protected:
    PlanFileTest() : small_(directory_.path()), folder_(directory_ / "plan") { save(folder_, small_.plan); }

    const BatchPlan& plan() const { return small_.plan; }

    TemporaryDirectory directory_;
    SmallPlan small_;
    fs::path folder_;
};

/// Many samples of a few tokens: columns of more than a MiB, so that they carry block digests.
BatchPlan large_plan() {
    const std::vector<std::uint32_t> lengths(600'000, 3);
    SourceLengths source;
    source.source.name = "large";
    source.source.lengths.bytes[0] = 1;
    source.sample_tokens = lengths;
    source.lengths_only = true;
    PlanOptions options;
    options.token_budget = 12;
    options.packs_per_step = 8;
    options.balance = false;
    return build_plan(options, std::span(&source, 1));
}

TEST_F(PlanFileTest, TellsWhatThePlanHolds) {
    const PlanFile file = PlanFile::open(folder_);
    EXPECT_EQ(file.num_steps(), plan().num_steps());
    EXPECT_EQ(file.num_packs(), plan().num_packs());
    EXPECT_EQ(file.num_segments(), plan().num_segments());
    EXPECT_TRUE(file.head().options == plan().options);
    EXPECT_TRUE(file.head().sources == plan().sources);
    EXPECT_TRUE(file.head().fingerprints == plan().fingerprints);
    EXPECT_TRUE(file.head().dispositions == plan().dispositions);
    for (std::uint64_t step = 0; step < plan().num_steps(); ++step) {
        EXPECT_EQ(file.epoch_of(step), plan().epoch_of(step));
        const PlanChunkColumns chunk = file.chunk(file.chunk_of_step(step));
        const std::uint64_t i = step - chunk.first_step;
        EXPECT_EQ(chunk.step_begin[i], plan().step_begin[step]);
        EXPECT_EQ(chunk.step_begin[i + 1], plan().step_begin[step + 1]);
    }
    EXPECT_FALSE(first_difference(file.view(), view_of(plan())));
}

TEST_F(PlanFileTest, FindsEverySegmentOfEverySample) {
    const PlanFile file = PlanFile::open(folder_);
    std::uint64_t found = 0;
    for (std::uint64_t sample = 0; sample < file.num_samples(); ++sample) {
        for (const SegmentPlace& place : file.find_sample(sample)) {
            const std::uint64_t segment = plan().pack_begin[place.pack] + place.segment_in_pack;
            EXPECT_EQ(plan().segment_sample[segment], sample);
            EXPECT_EQ(plan().segment_offset[segment], place.offset);
            EXPECT_EQ(plan().segment_tokens[segment], place.tokens);
            EXPECT_EQ(place.step, step_of_pack(plan(), place.pack));
            EXPECT_EQ(place.epoch, plan().epoch_of(place.step));
            std::uint64_t begin = 0;
            for (std::uint64_t s = plan().pack_begin[place.pack]; s < segment; ++s) {
                begin += plan().segment_tokens[s];
            }
            EXPECT_EQ(place.token_begin, begin);
            ++found;
        }
    }
    EXPECT_EQ(found, plan().num_segments());
    EXPECT_TRUE(file.find_sample(std::uint64_t{1} << 40U).empty());
}

TEST_F(PlanFileTest, FindsWhatStandsAfterEmptyPacksAndSteps) {
    const std::uint64_t last = plan().num_steps() - 1;
    const Revision revision = revise_plan(plan(), {1, {}, {1, 2, last}}, {});
    save(directory_ / "revision", revision.plan);
    const PlanFile file = PlanFile::open(directory_ / "revision");
    std::uint64_t found = 0;
    for (std::uint64_t sample = 0; sample < file.num_samples(); ++sample) {
        for (const SegmentPlace& place : file.find_sample(sample)) {
            EXPECT_EQ(
                revision.plan.segment_sample[revision.plan.pack_begin[place.pack] + place.segment_in_pack],
                sample);
            ++found;
        }
    }
    EXPECT_EQ(found, revision.plan.num_segments());
}

TEST_F(PlanFileTest, EveryFlippedByteOfTheFileIsFoundBySomeQuestion) {
    const std::string whole = read_file(folder_ / "plan.h5");
    for (std::size_t at = 0; at < whole.size(); at += 97) {
        std::string bytes = whole;
        bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
        std::ofstream(folder_ / "plan.h5", std::ios::binary) << bytes;
        EXPECT_NE(error_of([&] { PlanFile::open(folder_); }).code(), ErrorCode::bug) << "byte " << at;
    }
}

TEST_F(PlanFileTest, ATreeThatDoesNotRecomputeIsRefused) {
    BatchPlan other = plan();
    other.fingerprints.settings.bytes[0] ^= 1U;
    save(directory_ / "settings", other);
    EXPECT_THAT(error_of([&] { PlanFile::open(directory_ / "settings"); }).what(), HasSubstr("settings"));

    other = plan();
    other.fingerprints.epochs[1].bytes[0] ^= 1U;
    save(directory_ / "epoch", other);
    EXPECT_THAT(error_of([&] { PlanFile::open(directory_ / "epoch"); }).what(), HasSubstr("epoch 1"));

    // Content that is not what its leaf says: found when that chunk is read.
    other = plan();
    std::swap(other.segment_sample.front(), other.segment_sample.back());
    save(directory_ / "content", other);
    const PlanFile file = PlanFile::open(directory_ / "content");
    EXPECT_EQ(error_of([&] { file.chunk(0); }).code(), ErrorCode::fingerprint_mismatch);
}

TEST_F(PlanFileTest, FingerprintsFileOfAnotherPlanIsRefused) {
    PlanOptions options = small_options();
    options.seed = 7;
    save(directory_ / "other", plan_of(options, small_.inputs));
    fs::copy_file(directory_ / "other" / "fingerprints.json", folder_ / "fingerprints.json",
                  fs::copy_options::overwrite_existing);
    EXPECT_THAT(error_of([&] { PlanFile::open(folder_); }).what(), HasSubstr("fingerprints.json"));
    EXPECT_EQ(error_of([&] { PlanFile::open(directory_ / "nothing"); }).code(), ErrorCode::not_found);
}

TEST(LargePlanFileTest, ChecksOnlyTheBlocksItTouches) {
    const TemporaryDirectory directory;
    const fs::path folder = directory / "plan";
    const BatchPlan plan = large_plan();
    save(folder, plan);
    // Flip a bit of the last MiB of segment_sample, where the tokens column is not.
    std::string bytes = read_file(folder / "plan.h5");
    const std::uint32_t sample = static_cast<std::uint32_t>(plan.segment_sample.back());
    const std::uint32_t before = static_cast<std::uint32_t>(plan.segment_sample[plan.num_segments() - 2]);
    std::string needle(reinterpret_cast<const char*>(&before), 4);
    needle.append(reinterpret_cast<const char*>(&sample), 4);
    const std::size_t at = bytes.rfind(needle);
    ASSERT_NE(at, std::string::npos);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    std::ofstream(folder / "plan.h5", std::ios::binary) << bytes;

    const PlanFile file = PlanFile::open(folder);
    EXPECT_NO_THROW(file.chunk(0));
    EXPECT_THAT(error_of([&] { file.chunk(file.chunk_of_step(file.num_steps() - 1)); }).what(),
                HasSubstr("segment_sample"));
    EXPECT_THAT(error_of([&] { file.find_sample(0); }).what(), HasSubstr("segment_sample"));
    EXPECT_EQ(error_of([&] { load_plan(folder, PlanCheck::files); }).code(), ErrorCode::corrupt_data);
}

}  // namespace
}  // namespace lockstep
