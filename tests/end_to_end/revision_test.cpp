// A plan revised while its run is under way: excluded samples are not trained, the rest to the bit, and the
// proof follows the chain of plans.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/files/atomic_file.h"
#include "io/files/sealed_json.h"
#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

using nlohmann::json;

json run_json(const std::vector<std::string>& arguments, int exit_code = 0) {
    std::vector<std::string> with_json = arguments;
    with_json.emplace_back("--json");
    const auto result = run_lockstep_program(0, with_json);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    return json::parse(result.out, nullptr, false);
}

class RevisionTest : public testing::Test {
  protected:
    const SmallWorld& world() const { return SmallWorld::get(); }

    /// A sample of the first pack of `step`.
    std::string sample_of(std::uint64_t step) const {
        const json object = run_json({"batchplan", "step", std::to_string(step), "-p", world().plan()});
        return std::to_string(object["packs"][0]["segments"][0]["sample"].get<std::uint64_t>());
    }
    std::string exclude(const std::vector<std::string>& what, int from_step, const std::string& plan) const {
        const std::string folder = world().fresh("revision");
        std::vector<std::string> arguments = {
            "batchplan", "exclude", "-p", plan, "--from-step", std::to_string(from_step), "-o", folder};
        arguments.insert(arguments.end(), what.begin(), what.end());
        const auto result = run_lockstep_program(0, arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return folder;
    }
    std::string trained(int steps) const {
        const std::string run = world().fresh("run");
        EXPECT_EQ(run_lockstep_program(1, train_arguments(run, steps)).exit_code, 0);
        return run;
    }
    ProgramResult resume(int ranks, const std::string& run, const std::string& plan, int steps) const {
        return run_lockstep_program(ranks,
                                    {"resume", run, "-p", plan, "--steps", std::to_string(steps), "--quiet"});
    }
};

TEST_F(RevisionTest, ARunContinuesWithARevisionAtAnotherWorldSizeAndIsProven) {
    const std::string sample = sample_of(9);
    const std::string run = trained(6);
    const std::string revision = exclude({"--sample", sample}, 8, world().plan());
    EXPECT_EQ(run_lockstep_program(0, {"batchplan", "validate", "-p", revision, "--strict"}).exit_code, 0);
    // Targets of a changed pack are its corpus' to tell.
    std::vector<std::string> against{"batchplan", "validate", "-p", revision, "--parent", world().plan()};
    EXPECT_FALSE(run_json(against)["revision"]["targets_proven"].get<bool>());
    against.insert(against.end(), {"-l", world().corpus()});
    EXPECT_TRUE(run_json(against)["revision"]["targets_proven"].get<bool>());
    const auto resumed = resume(3, run, revision, 9);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    // Later starts go on with the revision without being told.
    const auto again = run_lockstep_program(2, {"resume", run, "--steps", "12", "--quiet"});
    ASSERT_EQ(again.exit_code, 0) << again.err;

    const json proof = run_json({"verify", run});
    EXPECT_TRUE(proof["proven"].get<bool>()) << proof.dump();
    ASSERT_EQ(proof["plans"].size(), 2U);
    EXPECT_EQ(proof["plans"][1]["from_step"], 6);
    EXPECT_EQ(proof["plan_fingerprint"], proof["plans"][1]["plan_fingerprint"]);
    const json places = run_json({"batchplan", "where", sample, "--run", run});
    for (const json& place : places["places"]) EXPECT_LT(place["step"].get<int>(), 8);

    // The bits are those of a run that followed the revision from its first step.
    const std::string straight = world().fresh("run");
    auto arguments = train_arguments(straight, 12);
    *std::find(arguments.begin(), arguments.end(), world().plan()) = revision;
    ASSERT_EQ(run_lockstep_program(2, arguments).exit_code, 0);
    EXPECT_EQ(bits_of(run), bits_of(straight));
    EXPECT_EQ(run_lockstep_program(0, {"verify", run, "--against", straight}).exit_code, 0);
    EXPECT_NE(bits_of(run).state_digest, undisturbed_bits(12).state_digest);

    // Looking at a pack again uses the plan of its step, on both sides of the change.
    for (const std::uint64_t step : {5U, 9U}) {
        const json at = run_json({"batchplan", "step", std::to_string(step), "-p", revision});
        const json pack = run_json({"train", "-o", run, "--step", std::to_string(step), "--pack",
                                    std::to_string(at["packs"][1]["pack"].get<std::uint64_t>())});
        EXPECT_EQ(pack["agrees_with_ledger"], true) << step;
    }
}

TEST_F(RevisionTest, AnExcludedStepIsPassedOverAndNumbersStay) {
    const std::string run = trained(6);
    const std::string first = exclude({"--step", "7"}, 7, world().plan());
    const std::string second = exclude({"--step", "10"}, 10, first);
    ASSERT_EQ(resume(2, run, first, 9).exit_code, 0);
    ASSERT_EQ(resume(1, run, second, 12).exit_code, 0);
    const json proof = run_json({"verify", run});
    EXPECT_TRUE(proof["proven"].get<bool>()) << proof.dump();
    EXPECT_EQ(proof["plans"].size(), 3U);
    const auto lines = lines_of(std::filesystem::path(run) / "metrics.jsonl");
    ASSERT_EQ(lines.size(), 12U);
    for (const std::size_t step : {7U, 10U}) {
        const json metrics = json::parse(lines[step]);
        EXPECT_EQ(metrics["step"], step);
        EXPECT_EQ(metrics["targets"], 0);
        EXPECT_TRUE(metrics["loss"].is_null());
    }
    const auto chaos = run_lockstep_program(
        0, {"chaos", "--corrupt", "40", "--seed", "1", "--json", "-o", world().fresh("corrupt"), "--", run});
    EXPECT_EQ(chaos.exit_code, 0) << chaos.err;
    const json damage = json::parse(chaos.out, nullptr, false);
    ASSERT_TRUE(damage.is_object()) << chaos.out;
    EXPECT_TRUE(damage["failures"].empty()) << damage.dump();
    EXPECT_GT(damage["outcomes"].value("refused", 0), 5) << damage.dump();
}

TEST_F(RevisionTest, WhatRewritesTheTrainedPastIsRefusedAndNamed) {
    const std::string run = trained(6);
    const std::string early = exclude({"--step", "4"}, 4, world().plan());
    const auto refused = resume(2, run, early, 9);
    EXPECT_EQ(refused.exit_code, 65);
    EXPECT_NE(refused.err.find("step 4"), std::string::npos) << refused.err;
    EXPECT_FALSE(std::filesystem::exists(run + "/revisions.json"));
    EXPECT_EQ(bits_of(run), undisturbed_bits(6)) << "a refused start changes nothing";

    // A stranger is no revision, even if it is sound.
    const std::string other = world().fresh("other");
    ASSERT_EQ(run_lockstep_program(0, {"batchplan", "build", "-l", world().corpus(), "-b", "256", "--seed",
                                       "5", "--packs-per-step", "5", "-o", other})
                  .exit_code,
              0);
    const auto stranger = resume(1, run, other, 9);
    EXPECT_EQ(stranger.exit_code, 65);
    EXPECT_NE(stranger.err.find("no revision"), std::string::npos) << stranger.err;
}

TEST_F(RevisionTest, AChainThatWasTamperedWithIsNotProven) {
    const std::string run = trained(6);
    const std::string revision = exclude({"--step", "8"}, 8, world().plan());
    ASSERT_EQ(resume(2, run, revision, 9).exit_code, 0);
    const std::filesystem::path path = std::filesystem::path(run) / "revisions.json";
    const std::string honest = read_file(path);
    const auto rewrite = [&](const auto& change) {
        json object = json::parse(unseal_json(honest, "revisions.json"));
        change(object["revisions"]);
        write_file_atomically(path, seal_json(object.dump()), Overwrite::yes);
    };
    rewrite([](json& revisions) { revisions[0]["from_step"] = 7; });
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 1);
    rewrite([](json& revisions) { revisions = json::array(); });
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 1);
    EXPECT_EQ(run_lockstep_program(0, {"resume", run, "--quiet"}).exit_code, 65);
    const json own = json::parse(unseal_json(read_file(std::filesystem::path(run) / "run.json"), "run.json"));
    rewrite([&](json& revisions) {
        revisions[0]["fingerprint"] = own["plan"]["fingerprint"];
        revisions[0]["path"] = own["plan"]["path"];
    });
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 1);
    write_file_atomically(path, honest, Overwrite::yes);
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 0);
    std::string flipped = honest;
    flipped[honest.find("from_step") + 13] = '7';
    write_file_atomically(path, flipped, Overwrite::yes);
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 65);
}

TEST_F(RevisionTest, AChangeThatNoStepRestsOnHasNotHappened) {
    const std::string first = exclude({"--step", "8"}, 8, world().plan());
    const std::string second = exclude({"--step", "10"}, 10, first);
    const std::string third = exclude({"--step", "11"}, 10, first);
    const std::string run = trained(6);
    ASSERT_EQ(resume(2, run, first, 9).exit_code, 0);
    // As a start leaves it that changed over at step 9 and was killed before it committed anything.
    const std::filesystem::path path = std::filesystem::path(run) / "revisions.json";
    json object = json::parse(unseal_json(read_file(path), "revisions.json"));
    json change = object["revisions"][0];
    change["from_step"] = 9;
    change["path"] = second;
    change["fingerprint"] = run_json({"batchplan", "info", "-p", second})["plan_fingerprint"];
    object["revisions"].push_back(change);
    write_file_atomically(path, seal_json(object.dump()), Overwrite::yes);
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 0);

    ASSERT_EQ(resume(1, run, third, 12).exit_code, 0);
    const json proof = run_json({"verify", run});
    EXPECT_TRUE(proof["proven"].get<bool>()) << proof.dump();
    ASSERT_EQ(proof["plans"].size(), 3U);
    EXPECT_EQ(proof["plans"][2]["plan_fingerprint"],
              run_json({"batchplan", "info", "-p", third})["plan_fingerprint"]);
}

TEST_F(RevisionTest, QuestionsAnswerAndWrongOnesAreToldWhatIsRight) {
    const std::string plan = world().plan();
    const auto code = [&](std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), "batchplan");
        return run_lockstep_program(0, arguments).exit_code;
    };
    EXPECT_EQ(code({"diff", plan, plan}), 0);
    const std::string revision = exclude({"--step", "8"}, 8, plan);
    EXPECT_EQ(code({"diff", plan, revision}), 1);
    const json difference = run_json({"batchplan", "diff", plan, revision}, 1);
    EXPECT_EQ(difference["first_difference"]["step"], 8);
    const json step = run_json({"batchplan", "step", "3", "-p", plan, "-d", world().corpus(), "--tokens"});
    for (const json& pack : step["packs"]) {
        std::uint64_t targets = 0;
        for (const json& segment : pack["segments"]) {
            EXPECT_EQ(segment["token_ids"].size(),
                      segment["end"].get<std::size_t>() - segment["begin"].get<std::size_t>());
            for (const json& trained : segment["loss_mask"]) targets += trained.get<std::uint64_t>();
        }
        EXPECT_EQ(pack["targets"], targets);
    }
    EXPECT_EQ(code({"step", "99999", "-p", plan}), 2);
    EXPECT_EQ(code({"step", "3", "-p", plan, "--pack", "0"}), 2);
    EXPECT_EQ(code({"where", "999999", "-p", plan}), 2);
    EXPECT_EQ(code({"where", "-p", plan}), 2);
    EXPECT_EQ(code({"where", "nobody:3", "-p", plan}), 2);
    EXPECT_EQ(code({"where", "3", "-p", world().fresh("nothing")}), 66);
    EXPECT_EQ(
        code({"exclude", "-p", plan, "--sample", "999999", "--from-step", "0", "-o", world().fresh("x")}), 2);
    EXPECT_EQ(code({"exclude", "-p", plan, "--step", "8", "--from-step", "8", "-o", revision}), 73);
    EXPECT_EQ(code({"shard", "-p", plan, "--world-size", "0", "-o", world().fresh("x")}), 2);
    EXPECT_EQ(code({"export", "-p", plan, "--to", "nothing", "-o", world().fresh("x")}), 2);
    EXPECT_EQ(code({"export", "-p", plan, "--to", "npz", "-o", world().fresh("x")}), 2);
}

}  // namespace
}  // namespace lockstep::test
