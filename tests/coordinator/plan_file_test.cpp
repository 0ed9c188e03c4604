#include "coordinator/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/plan_documents.h"
#include "coordinator/plan_store.h"
#include "io/columns/column_file.h"
#include "plan/plan_columns.h"
#include "plan/plan_diff.h"
#include "plan/plan_revision.h"
#include "plan/plan_slice.h"
#include "tests/coordinator/small_plan.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// @param counted  the plan whose statistics it gets.
void save(const fs::path& folder, const BatchPlan& plan, const BatchPlan& counted) {
    save_plan(folder, plan, plan_stats(counted), {}, WriteJsonl::never, Overwrite::no);
}
void save(const fs::path& folder, const BatchPlan& plan) {
    save(folder, plan, plan);
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
    const EqualLengths equal(600'000, 3);
    PlanOptions options;
    options.token_budget = 12;
    options.packs_per_step = 8;
    options.balance = false;
    return build_plan(options, equal.sources());
}

/// Two epochs of 1,500 steps, each a pack of one sample of three tokens: chunks begin at steps 0, 1024, 1500
/// and 2524.
BatchPlan plan_of_many_chunks() {
    const EqualLengths equal(1500, 3);
    PlanOptions options;
    options.token_budget = 4;
    options.packs_per_step = 1;
    options.epochs = 2;
    return build_plan(options, equal.sources());
}

/// Change the rows of a saved plan's file, whose texts and digests stay sound: what only a program with an
/// error in it would leave behind.
void edit_columns(const fs::path& folder, const std::function<void(PlanColumns&)>& change) {
    PlanColumns columns = read_plan_columns(
        ColumnFile::open(folder / "plan.h5", plan_format, plan_format_version), PlanColumnsRead::all);
    change(columns);
    ColumnFileWriter writer(folder / "plan.h5", std::string(plan_format), plan_format_version,
                            Overwrite::yes);
    for (const auto& [name, text] : columns.texts) {
        const std::string path = std::string(plan_text_group) + "/" + name;
        const std::size_t slash = path.rfind('/');
        writer.attribute(path.substr(0, slash), path.substr(slash + 1), std::string_view(text));
    }
    for (const auto& [name, column] : columns.columns) {
        std::visit(
            [&, &column_name = name](const auto& rows) {
                writer.column("/" + column_name, std::span(rows.data(), rows.size()));
            },
            column);
    }
    writer.publish();
}

template <class T>
std::vector<T>& rows_of(PlanColumns& columns, const std::string& name) {
    return std::get<std::vector<T>>(columns.columns.at(name));
}

/// One more segment, a token of sample 0, at the end or in front.
void add_segment(PlanColumns& columns, bool in_front) {
    const auto add = [&]<class T>(const std::string& name, T value) {
        std::vector<T>& rows = rows_of<T>(columns, name);
        rows.insert(in_front ? rows.begin() : rows.end(), value);
    };
    add("segment_sample", std::uint32_t{0});
    add("segment_offset", std::uint32_t{0});
    add("segment_tokens", std::uint32_t{1});
    if (!in_front) return;
    for (std::uint64_t& row : rows_of<std::uint64_t>(columns, "pack_begin")) ++row;
}

/// One more pack that holds that segment.
void add_pack(PlanColumns& columns, bool in_front) {
    add_segment(columns, in_front);
    std::vector<std::uint64_t>& begin = rows_of<std::uint64_t>(columns, "pack_begin");
    std::vector<std::uint64_t>& cost = rows_of<std::uint64_t>(columns, "pack_cost");
    std::vector<std::uint32_t>& targets = rows_of<std::uint32_t>(columns, "pack_targets");
    cost.insert(in_front ? cost.begin() : cost.end(), 1);
    targets.insert(in_front ? targets.begin() : targets.end(), 0);
    if (!in_front) {
        begin.push_back(begin.back() + 1);
        return;
    }
    begin.insert(begin.begin(), 0);
    for (std::uint64_t& row : rows_of<std::uint64_t>(columns, "step_begin")) ++row;
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

TEST_F(PlanFileTest, GivesTheColumnsThatOnlySomePlansHave) {
    PlanOptions options = small_options();
    options.mode = PlanMode::bucket;
    options.token_budget = 80;
    options.bucket_edges = {8, 16, 24};
    options.bucket_overflow_max = 80;
    const BatchPlan buckets = plan_of(options, small_.inputs);
    save(directory_ / "buckets", buckets);
    const PlanFile file = PlanFile::open(directory_ / "buckets");
    EXPECT_TRUE(file.has_targets());
    const PlanChunkColumns chunk = file.chunk(0);
    ASSERT_TRUE(chunk.pack_bucket && chunk.pack_pad_tokens);
    EXPECT_TRUE(
        std::ranges::equal(*chunk.pack_bucket, std::span(buckets.pack_bucket).first(chunk.num_packs())));
    EXPECT_TRUE(std::ranges::equal(*chunk.pack_pad_tokens,
                                   std::span(buckets.pack_pad_tokens).first(chunk.num_packs())));
    EXPECT_FALSE(PlanFile::open(folder_).chunk(0).pack_bucket);
}

// No test builds a plan of 2^32 samples; a mixture may leave out as many as it likes.
TEST_F(PlanFileTest, SampleIdsBeyond32BitsAreFoundWhereTheyStand) {
    BatchPlan wide = plan();
    constexpr std::uint64_t shift = std::uint64_t{1} << 33U;
    for (PlanSource& source : wide.sources) source.weight = 1;
    wide.sources[1].num_samples += shift;
    const std::uint64_t base = wide.sources[1].sample_base;
    for (std::uint64_t& sample : wide.segment_sample) {
        if (sample >= base) sample += shift;
    }
    wide.fingerprints = fingerprint_plan(wide);
    save(directory_ / "wide", wide, plan());
    EXPECT_EQ(load_plan(directory_ / "wide", PlanCheck::files), wide);
    const PlanFile file = PlanFile::open(directory_ / "wide");
    std::uint64_t found = 0;
    for (const auto& [first, count] :
         {std::pair(std::uint64_t{0}, base), std::pair(base + shift, std::uint64_t{13})}) {
        for (std::uint64_t sample = first; sample < first + count; ++sample) {
            for (const SegmentPlace& place : file.find_sample(sample)) {
                EXPECT_EQ(wide.segment_sample[wide.pack_begin[place.pack] + place.segment_in_pack], sample);
                ++found;
            }
        }
    }
    EXPECT_EQ(found, wide.num_segments());
    // The lower half of an id is another sample.
    EXPECT_TRUE(file.find_sample(base + 1).empty());
}

TEST_F(PlanFileTest, OffsetsThatLeadBeyondTheRowsAreRefused) {
    for (const char* name : {"step_begin", "pack_begin"}) {
        const fs::path folder = directory_ / name;
        save(folder, plan());
        edit_columns(folder, [&](PlanColumns& columns) { ++rows_of<std::uint64_t>(columns, name).back(); });
        const PlanFile file = PlanFile::open(folder);
        const Error error = error_of([&] { file.chunk(file.chunk_of_step(file.num_steps() - 1)); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        EXPECT_THAT(error.what(), HasSubstr("of " + std::string(name) + " is "));
        EXPECT_THAT(error.what(), HasSubstr("expected at most"));
        edit_columns(folder, [&](PlanColumns& columns) { rows_of<std::uint64_t>(columns, name).clear(); });
        EXPECT_THAT(error_of([&] { PlanFile::open(folder); }).what(),
                    HasSubstr("column '" + std::string(name) + "' is empty"));
    }
}

// Fingerprints that fit prove who wrote a segment, not that there is such a sample.
TEST_F(PlanFileTest, SegmentsOutsideEverySourceAreRefused) {
    const auto refused = [&](const char* name, const std::function<void(BatchPlan&)>& change) {
        BatchPlan other = plan();
        change(other);
        other.fingerprints = fingerprint_plan(other);
        save(directory_ / name, other, plan());
        const PlanFile file = PlanFile::open(directory_ / name);
        const Error error = error_of([&] { file.chunk(0); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        EXPECT_THAT(error.what(), HasSubstr("lies outside every source"));
    };
    refused("sample", [](BatchPlan& p) { p.segment_sample[2] = 1000; });
    refused("nothing", [](BatchPlan& p) { p.segment_tokens[2] = 0; });
    refused("far", [](BatchPlan& p) { p.segment_offset[2] = 0xFFFFFFFFU; });
}

TEST_F(PlanFileTest, ASegmentThatNoPackHoldsIsNamed) {
    const auto lost = [&](const std::string& name, std::uint64_t segment,
                          const std::function<void(PlanColumns&)>& change) {
        save(directory_ / name, plan());
        edit_columns(directory_ / name, change);
        const PlanFile file = PlanFile::open(directory_ / name);
        const Error error = error_of([&] { file.find_sample(0); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << name;
        EXPECT_THAT(error.what(), HasSubstr("segment " + std::to_string(segment) + " is in no pack")) << name;
    };
    lost("behind-packs", plan().num_segments(), [](PlanColumns& c) { add_segment(c, false); });
    lost("before-packs", 0, [](PlanColumns& c) { add_segment(c, true); });
    lost("behind-steps", plan().num_segments(), [](PlanColumns& c) { add_pack(c, false); });
    // A leaf knows the number of its first pack.
    save(directory_ / "before-steps", plan());
    edit_columns(directory_ / "before-steps", [](PlanColumns& c) { add_pack(c, true); });
    const PlanFile file = PlanFile::open(directory_ / "before-steps");
    EXPECT_EQ(error_of([&] { file.find_sample(0); }).code(), ErrorCode::fingerprint_mismatch);
}

/// Chunks as `validate` shows them: laid end to end they are the plan's columns.
struct SeenRows {
    std::vector<std::uint64_t> sample;
    std::vector<std::uint32_t> tokens;
    std::uint64_t chunks = 0, packs = 0;
    void add(const PlanChunkColumns& chunk) {
        for (std::uint64_t s = 0; s < chunk.num_segments(); ++s) sample.push_back(chunk.sample(s));
        tokens.insert(tokens.end(), chunk.segment_tokens.begin(), chunk.segment_tokens.end());
        packs += chunk.num_packs();
        ++chunks;
    }
};

TEST_F(PlanFileTest, ProvesPlansOfEveryKindAndShowsEachChunkOnce) {
    PlanOptions buckets = small_options();
    buckets.mode = PlanMode::bucket;
    buckets.token_budget = 80;
    buckets.bucket_edges = {8, 16, 24};
    buckets.bucket_overflow_max = 80;
    const std::pair<const char*, BatchPlan> plans[] = {
        {"small", plan()},
        {"buckets", plan_of(buckets, small_.inputs)},
        {"revised", revise_plan(plan(), {1, {}, {1, 2, plan().num_steps() - 1}}, {}).plan},
        {"chunks", plan_of_many_chunks()}};
    for (const auto& [name, sound] : plans) {
        save(directory_ / name, sound);
        const PlanFile file = PlanFile::open(directory_ / name);
        SeenRows seen;
        file.validate({}, [&](const PlanChunkColumns& chunk) { seen.add(chunk); });
        EXPECT_EQ(seen.sample, sound.segment_sample) << name;
        EXPECT_EQ(seen.tokens, sound.segment_tokens) << name;
        EXPECT_EQ(seen.packs, sound.num_packs()) << name;
        EXPECT_EQ(seen.chunks, sound.fingerprints.chunks.size()) << name;
        file.check_structure();
        EXPECT_EQ(stats_json(plan_stats(file.view())), stats_json(plan_stats(sound))) << name;
        PlanTotalsCount totals;
        for (std::size_t c = 0; c < file.view().num_chunks(); ++c) totals.add(file.chunk(c));
        EXPECT_EQ(totals.totals(), totals_of(sound)) << name;
        check_plan_files(file);
    }
}

/// What a faulty build would have left behind: sealed, and its fingerprints those of its content.
TEST_F(PlanFileTest, TheProofNamesFileFieldAndStep) {
    const BatchPlan sound = plan_of_many_chunks();
    const auto refused = [&](const std::string& name, const std::string& noun,
                             const std::function<void(BatchPlan&)>& change) {
        BatchPlan other = sound;
        change(other);
        other.fingerprints = fingerprint_plan(other);
        save(directory_ / name, other, sound);
        const PlanFile file = PlanFile::open(directory_ / name);
        const Error error = error_of([&] { file.validate({}); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << name;
        EXPECT_THAT(error.what(), HasSubstr("plan.h5")) << name;
        EXPECT_THAT(error.what(), HasSubstr(noun)) << name;
    };
    // A step a pack and a pack a sample: the second chunk of the second epoch begins with step 2524.
    constexpr std::uint64_t steps = 1500, row = steps + 1024 + 5;
    const std::string step = "step " + std::to_string(row);
    refused("cost", step + ", pack " + std::to_string(row) + " pack_cost: expected",
            [&](BatchPlan& p) { ++p.pack_cost[row]; });
    refused("sample", step + ", pack " + std::to_string(row),
            [&](BatchPlan& p) { p.segment_sample[row] = 9999; });
    refused("twice", "comes twice in epoch 1",
            [&](BatchPlan& p) { p.segment_sample[row] = p.segment_sample[steps]; });
    refused("offset", step + ", segment " + std::to_string(row) + ": sample",
            [&](BatchPlan& p) { p.segment_offset[row] = 1; });
    refused("length", "should be trained up to token 3, ends at 2", [&](BatchPlan& p) {
        --p.segment_tokens[row];
        p.pack_cost[row] = 2 * p.options.cost.token_cost + 4 * p.options.cost.square_cost;
    });
    refused("order", "number of packs", [&](BatchPlan& p) { p.options.packs_per_step = 2; });
}

TEST_F(PlanFileTest, AFingerprintIsBlamedOnlyWhereNothingElseIsWrong) {
    // Two samples of one length in two chunks change places: sound, but another plan.
    BatchPlan other = plan_of_many_chunks();
    std::swap(other.segment_sample[3], other.segment_sample[1100]);
    save(directory_ / "swapped", other);
    const PlanFile file = PlanFile::open(directory_ / "swapped");
    const Error error = error_of([&] { file.validate({}); });
    EXPECT_EQ(error.code(), ErrorCode::fingerprint_mismatch);
    EXPECT_THAT(error.what(), HasSubstr("steps 0 to 1023 (chunk 0)"));
    EXPECT_EQ(error_of([&] { file.check_structure(); }).code(), ErrorCode::fingerprint_mismatch);
}

TEST_F(PlanFileTest, TheProofHoldsColumnsAgainstTheFormat) {
    const auto refused = [&](const std::string& name, const std::string& noun,
                             const std::function<void(PlanColumns&)>& change) {
        save(directory_ / name, plan());
        edit_columns(directory_ / name, change);
        const Error error = error_of([&] { PlanFile::open(directory_ / name).validate({}); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << name;
        EXPECT_THAT(error.what(), HasSubstr("plan.h5': ")) << name;
        EXPECT_THAT(error.what(), HasSubstr(noun)) << name;
    };
    refused("surplus", "expected the",
            [](PlanColumns& c) { c.columns["surplus"] = std::vector<std::uint8_t>{1}; });
    refused("surplus-body", "expected the",
            [](PlanColumns& c) { c.columns["pack_surplus"] = std::vector<std::uint8_t>{1}; });
    refused("dispositions", "dispositions, row 0: unknown kind 9",
            [](PlanColumns& c) { rows_of<std::uint8_t>(c, "disposition_kind")[0] = 9; });
    refused("chunks", "chunk_begin", [](PlanColumns& c) { ++rows_of<std::uint64_t>(c, "chunk_begin")[1]; });
    refused("version", "format version 0", [](PlanColumns& c) { c.texts["format_version"] = "0"; });
    refused("wide", "'segment_sample' has another type: expected u32", [](PlanColumns& c) {
        const std::vector<std::uint32_t> narrow = rows_of<std::uint32_t>(c, "segment_sample");
        c.columns["segment_sample"] = std::vector<std::uint64_t>(narrow.begin(), narrow.end());
    });
    refused("bucket", "pack_bucket does not belong to this mode", [](PlanColumns& c) {
        c.columns["pack_bucket"] =
            std::vector<std::uint16_t>(rows_of<std::uint64_t>(c, "pack_cost").size(), 0);
    });
    refused("packs-behind", "step_begin ends wrong", [](PlanColumns& c) { add_pack(c, false); });
    refused("packs-before", "step_begin, row 0: expected 0, found 1",
            [](PlanColumns& c) { add_pack(c, true); });
    refused("segments-behind", "pack_begin ends wrong", [](PlanColumns& c) { add_segment(c, false); });
    refused("segments-before", "pack_begin, row 0: expected 0, found 1",
            [](PlanColumns& c) { add_segment(c, true); });
    refused("empty-pack", "pack_begin does not ascend at row 2", [](PlanColumns& c) {
        rows_of<std::uint64_t>(c, "pack_begin")[2] = rows_of<std::uint64_t>(c, "pack_begin")[1];
    });
}

#if defined(LOCKSTEP_CONTRACTS)
TEST_F(PlanFileTest, ThereIsNoStepBehindTheLast) {
    const PlanFile file = PlanFile::open(folder_);
    EXPECT_EQ(error_of([&] { file.epoch_of(file.num_steps()); }).code(), ErrorCode::bug);
    EXPECT_EQ(error_of([&] { file.chunk_of_step(file.num_steps()); }).code(), ErrorCode::bug);
}
#endif

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
