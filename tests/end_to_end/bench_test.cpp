// The verbs below `bench` at small sizes: what they say as JSON, what a comparison finds, how they refuse.
// How fast anything is, no test says.

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

using Words = std::vector<std::string>;
using nlohmann::json;

Words with(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

void expect_refused(const ProgramResult& result, int code, const std::string& noun) {
    EXPECT_EQ(result.exit_code, code) << result.out << result.err;
    EXPECT_NE(result.err.find(noun), std::string::npos) << "expected '" << noun << "' in: " << result.err;
    const std::size_t first = result.err.find("error: ");
    ASSERT_NE(first, std::string::npos) << result.err;
    EXPECT_EQ(result.err.find("error: ", first + 1), std::string::npos) << result.err;
}

/// How a verb is asked at a size a test can afford, and what each of its rows of interest holds.
struct Bench {
    std::string name;
    int ranks;  ///< 0: without mpirun.
    Words arguments;
    std::string row;       ///< One of its rows.
    Words figures;         ///< Fields of that row, numbers above 0.
    std::string compared;  ///< One of them that has a direction, and the factor that makes the past better.
    double better_past;
    int version = 1;
};

void PrintTo(const Bench& bench, std::ostream* out) {
    *out << "bench " << bench.name;
}

const std::vector<Bench>& benches() {
    static const std::vector<Bench> all = {
        {"step",
         0,
         {"--case", "tiny:2x32", "--seconds", "0"},
         "tiny:2x32",
         {"tokens", "seconds", "forward_backward_seconds", "exact_sum_seconds", "update_seconds",
          "tokens_per_second", "flop_per_second", "probe_flop_per_second", "sgemm_share", "fma_share"},
         "sgemm_share",
         1e6},
        {"gemm",
         0,
         {"-m", "nano", "--tokens", "64", "--threads", "1", "--seconds", "0"},
         "all, 64 tokens, 1 thread(s)",
         {"sgemm_flop_per_second", "sgemm_fma_share", "own_flop_per_second", "own_sgemm_share"},
         "own_sgemm_share",
         1e6},
        {"attention",
         0,
         {"--heads", "2", "--head-dim", "16", "--lengths", "32", "--tokens", "64", "--seconds", "0"},
         "2 segment(s) of 32",
         {"forward_flop_per_second_a_core", "forward_fma_share", "backward_flop_per_second_a_core",
          "backward_fma_share", "fma_flop_per_second_a_core"},
         "forward_fma_share",
         1e6},
        {"allreduce",
         2,
         {"-m", "nano", "--repeats", "2", "--threads", "1", "--with-step", "--packs", "2", "--tokens", "64"},
         "both",
         {"seconds", "memcpy_ratio", "all_reduce_ratio"},
         "memcpy_ratio",
         1e-6},
        {"plan",
         0,
         {"--samples", "2000", "--repeats", "1", "--no-examples"},
         "build a durable plan from lengths.h5",
         {"seconds", "memcpy_ratio", "raw_write_ratio"},
         "memcpy_ratio",
         1e-6,
         2},
    };
    return all;
}

json row_of(const json& result, const std::string& what) {
    for (const json& row : result["rows"]) {
        if (row["what"] == what) return row;
    }
    ADD_FAILURE() << "no row '" << what << "' in " << result.dump(1);
    return json::object();
}

json read_json(const std::string& path) {
    std::ifstream file(path);
    return json::parse(file, nullptr, false);
}

class BenchTest : public testing::TestWithParam<Bench> {
  protected:
    ProgramResult run(const Words& more) const { return run_on(GetParam().ranks, more); }
    static ProgramResult run_on(int ranks, const Words& more) {
        return run_lockstep_program(ranks,
                                    with(with({"bench", GetParam().name}, GetParam().arguments), more));
    }
};

TEST_P(BenchTest, GivesItsFiguresAsJsonAndFile) {
    const std::string file = SmallWorld::get().fresh("bench") + ".json";
    const auto result = run({"--json", "-o", file});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const json object = json::parse(result.out);
    EXPECT_EQ(object["format"], "lockstep-bench-" + GetParam().name);
    EXPECT_EQ(object, read_json(file));
    const json row = row_of(object, GetParam().row);
    for (const std::string& figure : GetParam().figures) {
        ASSERT_TRUE(row.contains(figure) && row[figure].is_number()) << figure << " in " << row.dump();
        EXPECT_GT(row[figure].get<double>(), 0) << figure;
    }
    EXPECT_NE(result.err.find(GetParam().row), std::string::npos) << result.err;
    expect_refused(run({"-o", file}), 73, file);
}

TEST_P(BenchTest, FindsWhatBecameWorseAndNothingElse) {
    const std::string file = SmallWorld::get().fresh("bench") + ".json";
    ASSERT_EQ(run({"-o", file}).exit_code, 0);
    // Wide enough that a busy machine is no regression.
    const Words loose = {"--compare", file, "--time-tolerance", "1000", "--json"};
    const auto same = run(loose);
    EXPECT_EQ(same.exit_code, 0) << same.err;
    EXPECT_EQ(json::parse(same.out)["regressions"], json::array());

    json old = read_json(file);
    for (json& row : old["rows"]) {
        if (row["what"] != GetParam().row) continue;
        row[GetParam().compared] = row[GetParam().compared].get<double>() * GetParam().better_past;
    }
    std::ofstream(file) << old;
    const auto worse = run(loose);
    EXPECT_EQ(worse.exit_code, 1) << worse.err;
    EXPECT_NE(worse.err.find("REGRESSION: " + GetParam().row + ": " + GetParam().compared), std::string::npos)
        << worse.err;
    EXPECT_EQ(json::parse(worse.out)["regressions"].size(), 1U) << worse.out;
}

TEST_P(BenchTest, RefusesInOneLine) {
    const std::string file = SmallWorld::get().fresh("other") + ".json";
    std::ofstream(file) << R"({"format":"lockstep-bench-other","data":{},"rows":[]})";
    expect_refused(run({"--compare", file}), 65, "lockstep-bench-" + GetParam().name);
    const std::string named = R"({"format":"lockstep-bench-)" + GetParam().name + R"(","data":{},"rows":[])";
    const std::string version = std::to_string(GetParam().version);
    std::ofstream(file) << named << R"(,"version":0})";
    expect_refused(run({"--compare", file}), 65,
                   "figures of another kind (version 0, expected " + version + ")");
    std::ofstream(file) << named << R"(,"version":)" << version << '}';
    const std::string measured = SmallWorld::get().fresh("measured") + ".json";
    expect_refused(run({"--compare", file, "-o", measured}), 2, "only benches of one input");
    EXPECT_TRUE(read_json(measured).is_object()) << "what was measured is lost";
    expect_refused(run({"--compare", file + ".gone"}), 66, ".gone");
    // What the command line alone shows to be wrong, every rank says for itself.
    expect_refused(run_on(0, {"--tolerance", "-1"}), 2, "tolerance");
    expect_refused(run_on(0, {"--no-such-option"}), 2, "--no-such-option");
}

INSTANTIATE_TEST_SUITE_P(AllVerbs, BenchTest, testing::ValuesIn(benches()),
                         [](const auto& chosen) { return chosen.param.name; });

TEST(BenchOptionsTest, BadOnesAreRefusedInOneLine) {
    const auto lockstep = [](const Words& arguments) {
        return run_lockstep_program(0, with({"bench"}, arguments));
    };
    for (const char* text :
         {"tiny", "tiny:", ":4x4", "tiny:4", "tiny:0x4", "tiny:4x", "tiny:mix0", "tiny:4x4x4"}) {
        expect_refused(lockstep({"step", "--case", text}), 2, "--case");
    }
    expect_refused(lockstep({"step", "--case", "tiny:1x100000"}), 2, "positions");
    expect_refused(lockstep({"step", "--case", "nosuch:4x4"}), 66, "nosuch");
    expect_refused(lockstep({"step", "--packs", "0"}), 2, "--packs");
    expect_refused(lockstep({"step", "--numerics", "fma256,fp16"}), 2, "fp16");
    expect_refused(lockstep({"gemm", "-m", "nosuch"}), 66, "nosuch");
    expect_refused(lockstep({"gemm", "--tokens", "0"}), 2, "--tokens");
    expect_refused(lockstep({"attention", "--heads", "4", "--kv-heads", "3"}), 2, "--kv-heads");
    expect_refused(lockstep({"attention", "--head-dim", "257"}), 2, "--head-dim");
    expect_refused(lockstep({"allreduce", "-m", "nosuch"}), 66, "nosuch");
    expect_refused(lockstep({"plan", "--samples", "0"}), 2, "--samples");
}

json bench_json(int ranks, const Words& arguments) {
    const auto result = run_lockstep_program(ranks, with(with({"bench"}, arguments), {"--json"}));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out, nullptr, false);
}

TEST(BenchStepTest, MeasuresContractsInTurnsAndAMixBesideEqualLengths) {
    const json object = bench_json(0, {"step", "--case", "tiny:mix2048", "--numerics", "fma256,bf16",
                                       "--seconds", "0", "--threads", "1"});
    EXPECT_EQ(object["data"]["numerics"], json({"fma256", "bf16"}));
    for (const std::string name : {"tiny:mix2048", "tiny:mix2048 bf16"}) {
        const json mix = row_of(object, name);
        const std::string equal_name = name + " as 7 equal segments";
        const json equal = row_of(object, equal_name);
        EXPECT_EQ(mix["tokens"], 2048);
        EXPECT_EQ(equal["tokens"], 2048);
        EXPECT_EQ(equal["segments"], 7);
        EXPECT_NE(mix["segments"], 7);
        // Attention, which the lengths decide, is a sixth of this model's useful work.
        EXPECT_NEAR(equal["flop"].get<double>() / mix["flop"].get<double>(), 1, 0.01);
        const json share = row_of(object, name + " over equal segments");
        EXPECT_EQ(share["flop"], mix["flop"]);
        EXPECT_EQ(share["flop_of_other"], equal["flop"]);
        EXPECT_GT(share["rate_share"].get<double>(), 0);
    }
    const json share = row_of(object, "tiny:mix2048 bf16 over fma256");
    EXPECT_GT(share["rate_share"].get<double>(), 0);
    EXPECT_EQ(share["flop"], share["flop_of_other"]);
    EXPECT_EQ(object["rows"].size(), 7U);
}

TEST(BenchStepTest, WeakScalingIsThatOfAStepOverThatOfSgemm) {
    const json object = bench_json(2, {"step", "--weak-scaling", "--case", "tiny:2x32", "--seconds", "0"});
    EXPECT_EQ(object["format"], "lockstep-bench-scaling");
    EXPECT_EQ(object["data"]["ranks"], 2);
    EXPECT_EQ(object["data"]["cases"], json({"tiny:2x32"}));
    EXPECT_EQ(object["data"]["numerics"], "fma256");
    const json row = row_of(object, "tiny:2x32");
    for (const char* figure :
         {"alone_seconds", "together_seconds", "step_scaling", "sgemm_alone_flop_per_second",
          "sgemm_flop_per_second", "sgemm_scaling", "sgemm_scaling_share"}) {
        EXPECT_GT(row[figure].get<double>(), 0) << figure;
    }
    EXPECT_GE(row["rounds_timed"], 3);
}

TEST(BenchStepTest, WeakScalingIsRefusedWhereItMeansNothing) {
    expect_refused(run_lockstep_program(0, {"bench", "step", "--weak-scaling"}), 2, "mpirun -n 2");
    expect_refused(run_lockstep_program(2, {"bench", "step", "--weak-scaling", "--numerics", "fma256,bf16"}),
                   2, "--numerics");
}

TEST(BenchPlanTest, SuggestsTheEdgesOfThePromise) {
    const auto result = run_lockstep_program(
        0, {"bench", "plan", "--samples", "1000", "--repeats", "1", "--no-examples", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const json object = json::parse(result.out);
    const std::vector<std::pair<int, double>> promised = {{4, 0.641}, {5, 0.703}, {8, 0.803}};
    for (const auto& [buckets, efficiency] : promised) {
        const json row =
            row_of(object, "suggested edges, " + std::to_string(buckets) + " buckets: efficiency");
        EXPECT_NEAR(row["bucket_efficiency"].get<double>(), efficiency, 0.003);
        EXPECT_EQ(row["bucket_efficiency_limit"], efficiency);
        EXPECT_EQ(row["edges"].size(), static_cast<std::size_t>(buckets - 1));
    }
}

TEST(BenchPlanTest, LimitsStandBesideTheirFigures) {
    const auto bench = [](const Words& arguments) {
        const auto result = run_lockstep_program(
            0, with({"bench", "plan", "--repeats", "1", "--no-examples", "--json"}, arguments));
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return json::parse(result.out);
    };
    const json million = bench({"--samples", "1000000"});
    EXPECT_EQ(million["data"]["threads"], 1);
    const std::vector<std::pair<std::string, std::string>> limited = {
        {"pack and order in memory, no balance", "seconds"},
        {"build a durable plan from lengths.h5", "seconds"},
        {"packs over the lower bound", "packs"},
        {"validate --strict", "seconds"},
        {"where", "seconds"},
        {"step", "seconds"},
        {"diff of two plans", "seconds"},
        {"lengths.jsonl", "bytes_per_second"}};
    for (const auto& [what, figure] : limited) {
        const json row = row_of(million, what);
        EXPECT_TRUE(row.contains(figure) && row[figure].is_number()) << row.dump();
        EXPECT_GT(row.value(figure + "_limit", 0.0), 0) << row.dump();
    }
    EXPECT_EQ(row_of(million, "build a durable plan from lengths.h5")["raw_write_limit"], 4);
    // Packing is the same on every machine, so this figure may be held to its limit.
    const json over = row_of(million, "packs over the lower bound");
    EXPECT_LE(over["packs"].get<int>(), over["packs_limit"].get<int>());

    // Nothing was promised of other sizes, and nothing of more threads.
    for (const Words& other : {Words{"--samples", "1000"}, Words{"--samples", "1000", "--threads", "2"}}) {
        EXPECT_FALSE(row_of(bench(other), "validate --strict").contains("seconds_limit"));
    }
}

TEST(BenchAllreduceTest, AWorldOfOneHasNobodyToExchangeWith) {
    const auto result =
        run_lockstep_program(0, {"bench", "allreduce", "-m", "nano", "--repeats", "1", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const json object = json::parse(result.out);
    EXPECT_EQ(object["data"]["ranks"], 1);
    EXPECT_TRUE(row_of(object, "exchange: reduce-scatter").contains("memcpy_ratio"));
    EXPECT_EQ(result.out.find("all_reduce_ratio"), std::string::npos);
}

}  // namespace
}  // namespace lockstep::test
