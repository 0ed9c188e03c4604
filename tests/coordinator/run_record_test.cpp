#include "coordinator/run_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/sealed_json.h"
#include "tests/io/error_of.h"
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

}  // namespace
}  // namespace lockstep
