#include "io/run/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <limits>

#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "tests/io/run/damage.h"
#include "tests/io/run/small_run.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

/// A first segment over [0, step_end) with these rows.
LedgerSegment first_segment(std::uint64_t step_end, std::vector<LedgerRow> rows) {
    LedgerSegment segment;
    segment.step_end = step_end;
    segment.root_before = empty_ledger_root();
    segment.root_after = segment.root_before;
    segment.rows = std::move(rows);
    for (std::uint64_t step = 0; step < step_end; ++step) {
        std::vector<LedgerRow> of_step;
        for (const LedgerRow& row : segment.rows) {
            if (row.step == step) of_step.push_back(row);
        }
        segment.root_after = advance_ledger_root(segment.root_after, step, of_step);
    }
    return segment;
}

/// Write steps [0, last cut) as segments that end at each cut. @return the head, and the last root.
std::pair<LedgerSegmentName, Fingerprint> write_in_segments(const std::filesystem::path& directory,
                                                            std::initializer_list<std::uint64_t> cuts) {
    LedgerSegmentName head;
    Fingerprint root = empty_ledger_root();
    std::uint64_t begin = 0;
    for (const std::uint64_t end : cuts) {
        LedgerSegment segment;
        segment.step_begin = begin;
        segment.step_end = end;
        segment.root_before = root;
        segment.rows = small_rows(begin, end);
        for (std::uint64_t step = begin; step < end; ++step) {
            root = advance_ledger_root(root, step, small_rows(step, step + 1));
        }
        segment.root_after = root;
        if (begin > 0) segment.previous = head;
        head = write_ledger_segment(directory, segment);
        begin = end;
    }
    return {head, root};
}

TEST(LedgerRootTest, IsTheDocumentedHash) {
    // Computed from docs/formats/ledger.md by another program.
    EXPECT_EQ(empty_ledger_root().hex(), "a156a1dc36f603a4270fd21e47a73950f5a255f0207ed77a02482f828ed5eefc");
    const std::vector<LedgerRow> rows = {{.step = 0,
                                          .pack = 0,
                                          .tokens = 100,
                                          .targets = 99,
                                          .token_digest = {.low = 0x1111, .high = 0x2222},
                                          .loss = 12.5,
                                          .event = PackEvent::trained,
                                          .rank = 0,
                                          .seconds = 0.0F},
                                         {.step = 0,
                                          .pack = 1,
                                          .tokens = 7,
                                          .targets = 0,
                                          .token_digest = {.low = 3, .high = 4},
                                          .loss = 0.0,
                                          .event = PackEvent::no_target,
                                          .rank = 0,
                                          .seconds = 0.0F}};
    const Fingerprint one = advance_ledger_root(empty_ledger_root(), 0, rows);
    EXPECT_EQ(one.hex(), "2e95430c218875c2f8e96a6d123e00a501d29436598effe9c055ab8b86551c70");
    EXPECT_EQ(advance_ledger_root(one, 1, {}).hex(),
              "6afa5f6f95b52f2301edf4cf067a635bb972ded6c6368cb3b1c25fb4b8f5d5ec");
}

TEST(LedgerRootTest, CoversEveryDeterministicFieldAndNoObservation) {
    const LedgerRow row = small_rows(0, 1).front();
    const auto root = [](const LedgerRow& r) { return advance_ledger_root(empty_ledger_root(), 0, {&r, 1}); };
    const auto changed = [&](auto change) {
        LedgerRow other = row;
        change(other);
        return root(other) != root(row);
    };
    EXPECT_TRUE(changed([](LedgerRow& r) { ++r.pack; }));
    EXPECT_TRUE(changed([](LedgerRow& r) { ++r.tokens; }));
    EXPECT_TRUE(changed([](LedgerRow& r) { ++r.targets; }));
    EXPECT_TRUE(changed([](LedgerRow& r) { ++r.token_digest.low; }));
    EXPECT_TRUE(changed([](LedgerRow& r) { ++r.token_digest.high; }));
    EXPECT_TRUE(changed([](LedgerRow& r) { r.loss = std::nextafter(r.loss, 2.0); }));
    EXPECT_TRUE(changed([](LedgerRow& r) { r.event = PackEvent::skipped_non_finite; }));
    EXPECT_FALSE(changed([](LedgerRow& r) { ++r.rank; }));
    EXPECT_FALSE(changed([](LedgerRow& r) { r.seconds = 9.0F; }));
    EXPECT_NE(advance_ledger_root(empty_ledger_root(), 0, {}),
              advance_ledger_root(empty_ledger_root(), 1, {}));
}

TEST(LedgerRootTest, TakesEveryNanForOne) {
    LedgerRow row = small_rows(0, 1).front();
    row.loss = std::numeric_limits<double>::quiet_NaN();
    const Fingerprint root = advance_ledger_root(empty_ledger_root(), 0, {&row, 1});
    row.loss = std::bit_cast<double>(0xfff8000000000123U);
    EXPECT_EQ(advance_ledger_root(empty_ledger_root(), 0, {&row, 1}), root);
    row.loss = std::numeric_limits<double>::infinity();
    EXPECT_NE(advance_ledger_root(empty_ledger_root(), 0, {&row, 1}), root);
}

#if defined(LOCKSTEP_CONTRACTS)
TEST(LedgerRootTest, IsAdvancedByRowsOfItsStepAlone) {
    const std::vector<LedgerRow> rows = small_rows(0, 2);
    EXPECT_EQ(error_of([&] { advance_ledger_root(empty_ledger_root(), 0, rows); }).code(), ErrorCode::bug);
}
#endif

TEST(LedgerTest, SegmentComesBackAsItWasWritten) {
    const TemporaryDirectory directory;
    LedgerSegment segment = first_segment(5, small_rows(0, 5));
    segment.plan.bytes[5] = 3;
    segment.rows[1].event = PackEvent::skipped_non_finite;
    segment.rows[1].loss = std::bit_cast<double>(0x7ff8000000000042U);
    segment = [&] {
        LedgerSegment again = first_segment(5, segment.rows);
        again.plan = segment.plan;
        return again;
    }();
    const LedgerSegmentName name = write_ledger_segment(directory / "run" / "ledger", segment);
    EXPECT_THAT(name.file, testing::MatchesRegex("steps-00000000-00000005-[0-9a-f]+\\.h5"));

    const LedgerSegment read = read_ledger_segment(directory / "run" / "ledger", name);
    EXPECT_EQ(read.step_begin, segment.step_begin);
    EXPECT_EQ(read.step_end, segment.step_end);
    EXPECT_EQ(read.plan, segment.plan);
    EXPECT_EQ(read.root_before, segment.root_before);
    EXPECT_EQ(read.root_after, segment.root_after);
    EXPECT_EQ(read.previous, segment.previous);
    ASSERT_EQ(read.rows.size(), segment.rows.size());
    for (std::size_t i = 0; i < read.rows.size(); ++i) {
        const LedgerRow& a = read.rows[i];
        const LedgerRow& b = segment.rows[i];
        EXPECT_EQ(std::tie(a.step, a.pack, a.tokens, a.targets, a.token_digest, a.event, a.rank, a.seconds),
                  std::tie(b.step, b.pack, b.tokens, b.targets, b.token_digest, b.event, b.rank, b.seconds));
        EXPECT_EQ(std::bit_cast<std::uint64_t>(a.loss), std::bit_cast<std::uint64_t>(b.loss));
    }
}

TEST(LedgerTest, HoldsExcludedStepsWithoutRows) {
    const TemporaryDirectory directory;
    const LedgerSegmentName name = write_ledger_segment(directory.path(), first_segment(4, {}));
    EXPECT_TRUE(read_ledger_segment(directory.path(), name).rows.empty());
}

TEST(LedgerTest, RootIsEqualForAnySegmentation) {
    const TemporaryDirectory directory;
    const auto [whole, root] = write_in_segments(directory / "whole", {8});
    const auto [ones, root_ones] = write_in_segments(directory / "ones", {1, 2, 3, 4, 5, 6, 7, 8});
    const auto [some, root_some] = write_in_segments(directory / "some", {3, 4, 8});
    EXPECT_EQ(root, root_ones);
    EXPECT_EQ(root, root_some);
    EXPECT_EQ(read_ledger_segment(directory / "ones", ones).root_after, root);
    EXPECT_EQ(ledger_chain(directory / "whole", whole).size(), 1U);
    EXPECT_EQ(ledger_chain(directory / "ones", ones).size(), 8U);

    const std::vector<LedgerSegmentName> chain = ledger_chain(directory / "some", some);
    ASSERT_EQ(chain.size(), 3U);
    EXPECT_THAT(chain.front().file, HasSubstr("steps-00000000-00000003-"));
    EXPECT_EQ(chain.back(), some);
}

TEST(LedgerTest, WritingAnEqualSegmentAgainKeepsIt) {
    const TemporaryDirectory directory;
    LedgerSegment segment = first_segment(2, small_rows(0, 2));
    const LedgerSegmentName name = write_ledger_segment(directory.path(), segment);
    const auto time = std::filesystem::last_write_time(directory / name.file);
    EXPECT_EQ(write_ledger_segment(directory.path(), segment), name);
    EXPECT_EQ(std::filesystem::last_write_time(directory / name.file), time);

    // Another observation is another file; nothing is overwritten.
    segment.rows.front().seconds = 99.0F;
    EXPECT_NE(write_ledger_segment(directory.path(), segment).file, name.file);
    EXPECT_NO_THROW(read_ledger_segment(directory.path(), name));
}

TEST(LedgerTest, RefusesToWriteWhatDoesNotAgree) {
    const TemporaryDirectory directory;
    const LedgerSegment good = first_segment(3, small_rows(0, 3));
    const auto refused = [&](auto change, const std::string& noun) {
        LedgerSegment segment = good;
        change(segment);
        const Error error = error_of([&] { write_ledger_segment(directory.path(), segment); });
        EXPECT_EQ(error.code(), ErrorCode::bug);
        EXPECT_THAT(error.what(), HasSubstr(noun));
    };
    refused([](LedgerSegment& s) { s.root_after.bytes[0] ^= 1U; }, "root_after");
    refused([](LedgerSegment& s) { s.root_before = {}; }, "root_before");
    refused([](LedgerSegment& s) { s.rows[0].tokens += 1; }, "root");
    refused([](LedgerSegment& s) { std::swap(s.rows[0], s.rows[1]); }, "row 1");
    refused([](LedgerSegment& s) { s.rows[1] = s.rows[0]; }, "row 1");
    refused([](LedgerSegment& s) { s.rows.back().step = 3; }, "step 3");
    refused([](LedgerSegment& s) { s.rows[0].event = static_cast<PackEvent>(3); }, "event");
    refused([](LedgerSegment& s) { s.step_end = 0; }, "steps");
    refused([](LedgerSegment& s) { s.step_end = std::uint64_t{1} << 40U; }, "steps");
    refused([](LedgerSegment& s) { s.step_begin = 1; }, "predecessor");
    refused([](LedgerSegment& s) { s.previous = LedgerSegmentName{"x", "y"}; }, "predecessor");
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(LedgerTest, RefusesToWriteWhatDoesNotFollowItsPredecessor) {
    const TemporaryDirectory directory;
    SmallRun run(directory / "run");
    run.commit(2, 1);
    const LedgerSegment good = run.segment_until(4);
    const std::filesystem::path ledger = directory / "ledger";
    const auto refused = [&](auto change, const std::string& noun) {
        LedgerSegment segment = good;
        change(segment);
        const Error error = error_of([&] { write_ledger_segment(ledger, segment); });
        EXPECT_EQ(error.code(), ErrorCode::bug);
        EXPECT_THAT(error.what(), HasSubstr(noun));
    };
    refused([](LedgerSegment& s) { s.previous->file = "x"; }, "names its predecessor wrongly");
    refused([](LedgerSegment& s) { s.previous->digest_hex.pop_back(); }, "names its predecessor wrongly");
    refused([](LedgerSegment& s) { s.previous->digest_hex[7] = 'G'; }, "names its predecessor wrongly");
    refused([](LedgerSegment& s) { s.previous->file = "steps-00000000-00000003-1a2b3c4d.h5"; },
            "begins at step 2, but its predecessor");
    refused([](LedgerSegment& s) { s.rows[0].step = 1; }, "row 0 is of step 1, outside [2, 4)");
    EXPECT_FALSE(std::filesystem::exists(ledger));
    EXPECT_NO_THROW(write_ledger_segment(ledger, good));
}

// Eight digits of the content stand in a segment's name. These two share them: found by trying.
TEST(LedgerTest, ASegmentOfTheSameNameButOtherContentIsNotTakenForItsTwin) {
    const TemporaryDirectory directory;
    LedgerSegment segment = first_segment(1, small_rows(0, 1));
    segment.rows[0].seconds = 69686.0F;
    const LedgerSegmentName first = write_ledger_segment(directory.path(), segment);
    EXPECT_EQ(first.file, "steps-00000000-00000001-6133ef7b.h5");
    segment.rows[0].seconds = 72117.0F;
    const Error error = error_of([&] { write_ledger_segment(directory.path(), segment); });
    EXPECT_EQ(error.code(), ErrorCode::output_exists);
    EXPECT_THAT(error.what(), HasSubstr("exists with other content"));
    EXPECT_EQ(read_ledger_segment(directory.path(), first).rows[0].seconds, 69686.0F);
}

TEST(LedgerTest, HalfTheNameOfAPredecessorIsNone) {
    const TemporaryDirectory directory;
    {
        ColumnFileWriter writer(directory / "half.h5", "lockstep-ledger", 1);
        writer.attribute("/", "step_begin", std::uint64_t{0});
        writer.attribute("/", "step_end", std::uint64_t{1});
        for (const char* name : {"plan", "root_before", "root_after"}) {
            writer.attribute("/", name, std::string_view(empty_ledger_root().hex()));
        }
        writer.attribute("/", "previous_digest", std::string_view("00112233445566778899aabbccddeeff"));
        writer.publish();
    }
    const Error error = error_of([&] { read_ledger_segment_file(directory / "half.h5"); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("previous_file"));
}

TEST(LedgerTest, NoticesEveryFlippedBitAndEveryCut) {
    const TemporaryDirectory directory;
    const LedgerSegmentName name = write_ledger_segment(directory.path(), first_segment(2, small_rows(0, 2)));
    const auto read = [&] { read_ledger_segment(directory.path(), name); };
    EXPECT_EQ(unnoticed_bit_flips(directory / name.file, read), 0U);
    EXPECT_EQ(unnoticed_truncations(directory / name.file, read), 0U);
}

TEST(LedgerTest, NamesTheSegmentThatBreaksTheChain) {
    const TemporaryDirectory directory;
    const LedgerSegmentName head = write_in_segments(directory.path(), {2, 4, 6}).first;
    const std::vector<LedgerSegmentName> chain = ledger_chain(directory.path(), head);

    const std::string bytes = directory.read(chain[1].file);
    directory.write(chain[1].file, bytes.substr(0, bytes.size() / 2));
    const Error damaged = error_of([&] { ledger_chain(directory.path(), head); });
    EXPECT_EQ(damaged.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(damaged.what(), HasSubstr(chain[1].file));

    std::filesystem::remove(directory / chain[1].file);
    const Error missing = error_of([&] { ledger_chain(directory.path(), head); });
    EXPECT_EQ(missing.code(), ErrorCode::not_found);
    EXPECT_THAT(missing.what(), HasSubstr(chain[1].file));
}

TEST(LedgerTest, ASegmentOfAnotherLedgersRootBreaksTheChain) {
    const TemporaryDirectory directory;
    LedgerSegment segment;
    segment.previous = write_in_segments(directory.path(), {2}).first;
    segment.step_begin = 2;
    segment.step_end = 3;
    segment.root_before.bytes[0] = 1;  // Sound by itself, whatever was before.
    segment.rows = small_rows(2, 3);
    segment.root_after = advance_ledger_root(segment.root_before, 2, segment.rows);
    const LedgerSegmentName head = write_ledger_segment(directory.path(), segment);
    const Error error = error_of([&] { ledger_chain(directory.path(), head); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("does not continue '" + segment.previous->file));
}

TEST(LedgerTest, AKnownFileUnderAnotherDigestIsReadAgain) {
    const TemporaryDirectory directory;
    const LedgerSegmentName head = write_in_segments(directory.path(), {2, 4}).first;
    LedgerChains chains(directory.path());
    EXPECT_EQ(chains.behind(head).size(), 2U);
    const LedgerSegmentName other{head.file, "00112233445566778899aabbccddeeff"};
    const Error error = error_of([&] { chains.behind(other); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("expected " + other.digest_hex));
    EXPECT_EQ(chains.behind(head).size(), 2U);
}

TEST(LedgerTest, RefusesASoundFileInAnothersPlace) {
    const TemporaryDirectory directory;
    const LedgerSegmentName head = write_in_segments(directory.path(), {2, 4}).first;
    const LedgerSegmentName other = write_in_segments(directory / "other", {1, 4}).first;
    // Under the name that is asked for, but with another digest.
    std::filesystem::copy_file(directory / "other" / other.file, directory / head.file,
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_EQ(error_of([&] { read_ledger_segment(directory.path(), head); }).code(), ErrorCode::corrupt_data);
    // With its own digest, but under another's name.
    const LedgerSegmentName renamed{head.file, other.digest_hex};
    EXPECT_THAT(error_of([&] { read_ledger_segment(directory.path(), renamed); }).what(),
                HasSubstr(other.file));
    EXPECT_THAT(error_of([&] { read_ledger_segment_file(directory / head.file); }).what(),
                HasSubstr(other.file));
    // A copy under a name of the reader's own is read as it is.
    std::filesystem::rename(directory / head.file, directory / "copy.h5");
    EXPECT_EQ(read_ledger_segment_file(directory / "copy.h5").step_begin, 1U);
    // A name never leads out of the directory.
    EXPECT_EQ(error_of([&] {
                  read_ledger_segment(directory.path(), {"other/" + other.file, other.digest_hex});
              }).code(),
              ErrorCode::corrupt_data);
}

TEST(LedgerTest, KnowsItsFileNames) {
    const auto steps = parse_ledger_segment_file("steps-00000100-123456789-1a2b3c4d.h5");
    ASSERT_TRUE(steps.has_value());
    EXPECT_EQ(steps->step_begin, 100U);
    EXPECT_EQ(steps->step_end, 123456789U);
    for (const char* name :
         {"", "steps-", "steps-00000100-00000120-1a2b3c4d.h5.tmp", "steps-100-120-1a2b3c4d.h5",
          "steps-00000100-00000120.h5", "steps-00000100-00000120-1a2b3c4.h5",
          "steps-00000100-00000120-1a2b3c4g.h5", "steps-00000100-00000120-1a2b3c4d5.h5",
          "../steps-00000100-00000120-1a2b3c4d.h5", "steps-99999999999999999999-00000120-1a2b3c4d.h5"}) {
        EXPECT_FALSE(parse_ledger_segment_file(name).has_value()) << name;
    }
}

}  // namespace
}  // namespace lockstep
