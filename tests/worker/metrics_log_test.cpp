#include "worker/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using nlohmann::json;

StepMetrics metrics_of(std::uint64_t step) {
    StepMetrics m;
    m.step = step;
    m.loss = 1.0 + 1.0 / static_cast<double>(step + 3);
    m.gradient_norm = 0.5;
    m.learning_rate = 0.25;
    m.tokens = 100 + step;
    m.targets = 90 + step;
    m.seconds = 0.5;
    return m;
}

std::string lines_of(std::uint64_t begin, std::uint64_t end) {
    std::string lines;
    for (std::uint64_t step = begin; step < end; ++step) lines += to_json(metrics_of(step)) + "\n";
    return lines;
}

TEST(MetricsLogTest, ALineHoldsTheStepAndTheLossToTheBit) {
    const json line = json::parse(to_json(metrics_of(4)));
    EXPECT_EQ(line["step"], 4);
    EXPECT_EQ(line["loss"].get<double>(), *metrics_of(4).loss);
    EXPECT_EQ(line["loss_hex"], double_hex(*metrics_of(4).loss));
    EXPECT_EQ(line["grad_norm"], 0.5);
    EXPECT_EQ(line["lr"], 0.25);
    EXPECT_EQ(line["tokens"], 104);
    EXPECT_EQ(line["targets"], 94);
    EXPECT_EQ(line["tokens_per_second"], 208.0);
    EXPECT_FALSE(line.contains("skipped"));
    EXPECT_EQ(double_hex(1.0), "3ff0000000000000");
    EXPECT_EQ(double_hex(-0.0), "8000000000000000");
}

TEST(MetricsLogTest, AStepWithoutALossAndOneNotFiniteAreStillJson) {
    StepMetrics none = metrics_of(1);
    none.loss.reset();
    EXPECT_TRUE(json::parse(to_json(none))["loss"].is_null());
    EXPECT_TRUE(json::parse(to_json(none))["loss_hex"].is_null());
    StepMetrics skipped = metrics_of(1);
    skipped.loss = INFINITY;
    skipped.skipped = true;
    const json line = json::parse(to_json(skipped));
    EXPECT_TRUE(line["loss"].is_null());
    EXPECT_EQ(line["loss_hex"], "7ff0000000000000");
    EXPECT_EQ(line["skipped"], true);
}

TEST(MetricsLogTest, AGenerationsLineHoldsItsCost) {
    GenerationCost cost;
    cost.step = 20;
    cost.bytes = 4096;
    cost.stall_seconds = 0.25;
    cost.durable_seconds = 1.5;
    const json line = json::parse(to_json(cost));
    EXPECT_EQ(line["step"], 20);
    EXPECT_EQ(line["bytes"], 4096);
    EXPECT_EQ(line["stall_seconds"], 0.25);
    EXPECT_EQ(line["durable_seconds"], 1.5);
    EXPECT_EQ(line.size(), 8U);
}

TEST(MetricsLogTest, LinesAreAppendedAndCutBackToTheCursor) {
    const TemporaryDirectory run;
    {
        MetricsLog log(run.path(), 0);
        for (std::uint64_t step = 0; step < 5; ++step) log.append(metrics_of(step));
        EXPECT_EQ(run.read("metrics.jsonl"), lines_of(0, 5)) << "at once, not at the end";
    }
    { const MetricsLog log(run.path(), 5); }
    EXPECT_EQ(run.read("metrics.jsonl"), lines_of(0, 5));
    {
        MetricsLog log(run.path(), 3);
        EXPECT_EQ(run.read("metrics.jsonl"), lines_of(0, 3));
        log.append(metrics_of(3));
    }
    EXPECT_EQ(run.read("metrics.jsonl"), lines_of(0, 4));
    { const MetricsLog log(run.path(), 0); }
    EXPECT_EQ(run.read("metrics.jsonl"), "");
}

TEST(MetricsLogTest, ATornLastLineGoes) {
    const TemporaryDirectory run;
    for (const std::string& torn : {std::string("{\"step\":2,\"lo"), to_json(metrics_of(2)),
                                    std::string("{}\n"), std::string("\n"), std::string(20, '\0') + "\n"}) {
        run.write("metrics.jsonl", lines_of(0, 2) + torn);
        { const MetricsLog log(run.path(), 9); }
        EXPECT_EQ(run.read("metrics.jsonl"), lines_of(0, 2)) << torn;
    }
}

TEST(MetricsLogTest, ARunThatCannotBeWrittenIsAnError) {
    const TemporaryDirectory run;
    const Error error = error_of([&] { MetricsLog(run / "nowhere", 0); });
    EXPECT_TRUE(error.code() == ErrorCode::io_failure || error.code() == ErrorCode::not_found)
        << error.what();
}

}  // namespace
}  // namespace lockstep
