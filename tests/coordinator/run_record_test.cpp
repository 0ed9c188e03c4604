#include "coordinator/run_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "io/files/sealed_json.h"
#include "io/run/checkpoint.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

Fingerprint print_of(std::uint8_t byte) {
    Fingerprint print;
    print.bytes.fill(byte);
    return print;
}

RunRecord small_record() {
    RunRecord record;
    record.settings_json = R"({"seed":7})";
    record.numerics = "fma256-2";
    record.model = print_of(1);
    record.plan_path = "/data/plan";
    record.plan = print_of(2);
    record.plan_totals = PlanTotals{12'345'678'901, 4096, 1024, 300};
    record.corpora = {{"web", "/data/web.h5", print_of(3)}};
    return record;
}

TEST(RunRecordTest, IsReadAsItWasWritten) {
    const TemporaryDirectory run;
    const RunRecord record = small_record();
    write_run_record(run.path(), record);
    const RunRecord found = read_run_record(run.path());
    EXPECT_EQ(found.settings_json, record.settings_json);
    EXPECT_EQ(found.plan_totals, record.plan_totals);
    const PlanInForce first{0, record.plan_path, record.plan, record.plan_totals};
    EXPECT_EQ(found.plans, std::vector{first});
    EXPECT_EQ(error_of([&] { write_run_record(run.path(), record); }).code(), ErrorCode::output_exists);
}

TEST(RunRecordTest, RevisionsKeepWhatIsKnownOfTheirPlans) {
    const TemporaryDirectory run;
    write_run_record(run.path(), small_record());
    std::vector<PlanInForce> plans = read_run_record(run.path()).plans;
    plans.push_back({40, "/data/revision", print_of(4), PlanTotals{12'345'000'000, 4090, 1024, 299}});
    plans.push_back({50, "/data/again", print_of(5), std::nullopt});
    write_run_revisions(run.path(), plans);
    EXPECT_EQ(read_run_record(run.path()).plans, plans);
}

TEST(RunRecordTest, AnOlderRunHasNoTotals) {
    const TemporaryDirectory run;
    RunRecord record = small_record();
    record.plan_totals = std::nullopt;
    write_run_record(run.path(), record);
    EXPECT_EQ(read_run_record(run.path()).plan_totals, std::nullopt);
}

TEST(RunRecordTest, TotalsThatLackAPartAreRefused) {
    const TemporaryDirectory run;
    write_run_record(run.path(), small_record());
    std::string text = unseal_json(run.read("run.json"), "run.json");
    const std::string field = "\"pack_tokens_max\"";
    ASSERT_NE(text.find(field), std::string::npos);
    text.replace(text.find(field), field.size(), "\"other\"");
    run.write("run.json", seal_json(text));
    const Error error = error_of([&] { read_run_record(run.path()); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("pack_tokens_max"));
}

/// run.json or revisions.json with one text in place of another, sealed again.
void edit(const TemporaryDirectory& run, const std::string& file, const std::string& text,
          const std::string& other) {
    std::string json = unseal_json(run.read(file), file);
    ASSERT_NE(json.find(text), std::string::npos) << json;
    json.replace(json.find(text), text.size(), other);
    run.write(file, seal_json(json));
}

TEST(RunRecordTest, KeepsWhatOnlySomeRunsHave) {
    RunRecord record = small_record();
    for (const char* interval : {"30s", "auto:8h", "", "99999999999999999999"}) {
        const TemporaryDirectory run;
        record.checkpoint_every = interval;
        record.keep_every = 1000;
        record.init_path = "/models/base";
        record.init_adapter_path = "/models/adapter";
        write_run_record(run.path(), record);
        const RunRecord found = read_run_record(run.path());
        EXPECT_EQ(found.checkpoint_every, interval);
        EXPECT_EQ(found.keep_every, 1000U);
        EXPECT_EQ(found.init_path, record.init_path);
        EXPECT_EQ(found.init_adapter_path, record.init_adapter_path);
    }
}

// An older lockstep must not take up a run whose generations it would not keep.
TEST(RunRecordTest, IsWrittenAsTheOldestVersionThatCanSayIt) {
    for (const auto& [interval, keep_every, version] :
         {std::tuple("100", 0, 1), std::tuple("100", 1000, 2), std::tuple("30s", 0, 2)}) {
        const TemporaryDirectory run;
        RunRecord record = small_record();
        record.checkpoint_every = interval;
        record.keep_every = static_cast<std::uint64_t>(keep_every);
        write_run_record(run.path(), record);
        EXPECT_THAT(unseal_json(run.read("run.json"), "run.json"),
                    HasSubstr("\"format_version\":" + std::to_string(version)));
        EXPECT_EQ(read_run_record(run.path()).keep_every, record.keep_every);
    }
}

TEST(RunRecordTest, AFolderWithoutOneIsNoRun) {
    const TemporaryDirectory run;
    const Error error = error_of([&] { read_run_record(run.path()); });
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_THAT(error.what(), HasSubstr("lockstep train -o"));
}

TEST(RunRecordTest, RefusesWhatItCannotGoBy) {
    const struct {
        const char *text, *other;
        ErrorCode code;
        const char* noun;
    } edits[] = {
        {"\"format\":\"", "\"format\":\"other-", ErrorCode::corrupt_data, "format"},
        {"\"format_version\":1", "\"format_version\":99", ErrorCode::incompatible_version, "99"},
        {"\"keep\":2", "\"keep\":1", ErrorCode::corrupt_data, "field 'keep' is 1, expected 2"},
        {"\"numerics\"", "\"other\"", ErrorCode::corrupt_data, "numerics"},
        {"\"model\":\"01", "\"model\":\"xx", ErrorCode::corrupt_data, "fingerprint"},
    };
    for (const auto& change : edits) {
        const TemporaryDirectory run;
        write_run_record(run.path(), small_record());
        edit(run, "run.json", change.text, change.other);
        const Error error = error_of([&] { read_run_record(run.path()); });
        EXPECT_EQ(error.code(), change.code) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(change.noun));
    }
}

TEST(RunRecordTest, RevisionsMustAscendAndBeWhole) {
    const TemporaryDirectory run;
    write_run_record(run.path(), small_record());
    std::vector<PlanInForce> plans = read_run_record(run.path()).plans;
    plans.push_back({40, "/data/revision", print_of(4), std::nullopt});
    plans.push_back({50, "/data/again", print_of(5), std::nullopt});
    write_run_revisions(run.path(), plans);
    edit(run, "revisions.json", "\"from_step\":50", "\"from_step\":30");
    EXPECT_THAT(error_of([&] { read_run_record(run.path()); }).what(), HasSubstr("ascend at step 30"));
    write_run_revisions(run.path(), plans);
    edit(run, "revisions.json", "\"path\"", "\"other\"");
    const Error error = error_of([&] { read_run_record(run.path()); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("revisions.json"));
}

TEST(RunRecordTest, RevisionsOfAnotherRunAreRefused) {
    const TemporaryDirectory run;
    write_run_record(run.path(), small_record());
    std::vector<PlanInForce> plans = read_run_record(run.path()).plans;
    plans.push_back({40, "/data/revision", print_of(4), std::nullopt});
    plans[0].plan = print_of(9);
    write_run_revisions(run.path(), plans);
    const Error error = error_of([&] { read_run_record(run.path()); });
    EXPECT_EQ(error.code(), ErrorCode::fingerprint_mismatch);
    EXPECT_THAT(error.what(), HasSubstr("expected " + small_record().plan.hex()));
    // As they were written before they named it.
    edit(run, "revisions.json", "\"plan\"", "\"another\"");
    EXPECT_EQ(read_run_record(run.path()).plans.size(), 2U);
}

TEST(RunRecordTest, APlanIsInForceFromItsFirstStep) {
    const std::vector<PlanInForce> plans = {{0, "a", print_of(1), std::nullopt},
                                            {40, "b", print_of(2), std::nullopt},
                                            {50, "c", print_of(3), std::nullopt}};
    EXPECT_EQ(plan_in_force(plans, 0).path, "a");
    EXPECT_EQ(plan_in_force(plans, 39).path, "a");
    EXPECT_EQ(plan_in_force(plans, 40).path, "b");
    EXPECT_EQ(plan_in_force(plans, 1000).path, "c");
    EXPECT_EQ(plan_behind(plans, 0).path, "a");
    EXPECT_EQ(plan_behind(plans, 40).path, "a") << "the state after 40 steps rests on steps 0 to 39";
    EXPECT_EQ(plan_behind(plans, 41).path, "b");
}

TEST(RunRecordTest, AGenerationOfAnotherRunIsRefused) {
    const TemporaryDirectory run;
    write_run_record(run.path(), small_record());
    const RunRecord record = read_run_record(run.path());
    Manifest own;
    own.step = 7;
    own.cursor.plan = record.plan;
    own.cursor.model = record.model;
    own.cursor.numerics = record.numerics;
    EXPECT_NO_THROW(check_generation(record, own, "run"));
    const auto refused = [&](auto change) {
        Manifest other = own;
        change(other.cursor);
        const Error error = error_of([&] { check_generation(record, other, "run"); });
        EXPECT_EQ(error.code(), ErrorCode::fingerprint_mismatch);
        EXPECT_THAT(error.what(), HasSubstr("generation 7"));
    };
    refused([](Cursor& cursor) { cursor.plan = print_of(9); });
    refused([](Cursor& cursor) { cursor.model = print_of(9); });
    refused([](Cursor& cursor) { cursor.numerics = "other"; });
}

}  // namespace
}  // namespace lockstep
