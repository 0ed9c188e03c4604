#include "tests/end_to_end/small_world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "io/base/philox.h"

namespace lockstep::test {

void write_made_up_texts(const std::filesystem::path& file, int documents) {
    static const char* const words[] = {"the ", "plan ",   "decides ", "every ", "token ",  "once ",
                                        "and ", "no ",     "rank ",    "may ",   "differ ", "in ",
                                        "a ",   "single ", "bit, ",    "even\n"};
    const Philox random(7, "made-up-texts");
    std::ofstream out(file);
    std::uint64_t index = 0;
    for (int d = 0; d < documents; ++d) {
        // Lengths over two decades: mostly short, one in ten far over the budget.
        std::uint64_t count = 1 + random.below(index++, 30);
        if (random.below(index++, 10) == 0) count += 100;
        for (std::uint64_t w = 0; w < count; ++w) out << words[random.below(index++, 16)];
        out << "\n%\n";
    }
}

SmallWorld::SmallWorld() {
    write_made_up_texts(folder_ / "texts", 500);
    const auto ingest = run_lockstep_program(0, {"ingest", "-d", (folder_ / "texts").string(), "-t", "bytes",
                                                 "--document", "separator:%", "-o", corpus()});
    EXPECT_EQ(ingest.exit_code, 0) << ingest.err;
    const auto build = run_lockstep_program(0, {"batchplan", "build", "-l", corpus(), "-e", "2", "-b", "256",
                                                "--packs-per-step", "5", "-o", plan()});
    EXPECT_EQ(build.exit_code, 0) << build.err;
}

const SmallWorld& SmallWorld::get() {
    static const SmallWorld world;  // Its folder is removed when the program ends.
    return world;
}

std::string SmallWorld::fresh(const std::string& name) const {
    static int number = 0;
    return (folder_ / (name + "-" + std::to_string(number++))).string();
}

std::vector<std::string> train_arguments(const std::string& run, int steps,
                                         const std::vector<std::string>& more) {
    const SmallWorld& world = SmallWorld::get();
    std::vector<std::string> arguments = {
        "train", "-p",      world.plan(),          "-d",     world.corpus(), "-o",
        run,     "--steps", std::to_string(steps), "--quiet"};
    const auto otherwise = [&](const char* option, const char* value) {
        if (std::find(more.begin(), more.end(), option) == more.end())
            arguments.insert(arguments.end(), {option, value});
    };
    otherwise("--checkpoint-every", "6");
    otherwise("-m", "nano");
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

ProgramResult run_meanwhile(const std::string& script, const std::string& run,
                            const std::vector<std::string>& command, Environment environment) {
    environment.insert({{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                        {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                        {"ASAN_OPTIONS", "detect_leaks=0"}});
    const std::string soon =
        "soon() { n=0; until eval \"$1\" || [ $n -ge 3000 ]; do sleep 0.02; n=$((n+1)); done; }; ";
    std::vector<std::string> words = {
        "sh", "-c", soon + "run=$1; shift; \"$@\" & p=$!; " + script + "; wait $p", "sh", run};
    words.insert(words.end(), command.begin(), command.end());
    return run_program(words, environment);
}

RunBits bits_of(const std::string& run) {
    RunBits bits;
    const auto list = run_lockstep_program(0, {"checkpoint", "list", run, "--json"});
    EXPECT_EQ(list.exit_code, 0) << list.err;
    const auto object = nlohmann::json::parse(list.out, nullptr, false);
    EXPECT_TRUE(object.is_object() && !object["generations"].empty()) << list.out;
    if (object.is_object() && !object["generations"].empty()) {
        bits.state_digest = object["generations"].back()["state_digest"];
    }
    for (const std::string& line : lines_of(std::filesystem::path(run) / "metrics.jsonl")) {
        const auto metrics = nlohmann::json::parse(line);
        bits.loss_hex.push_back(metrics["loss_hex"].is_string() ? metrics["loss_hex"].get<std::string>()
                                                                : "none");
    }
    return bits;
}

RunBits train_bits(int ranks, int steps, const std::vector<std::string>& more,
                   const Environment& environment) {
    const std::string run = SmallWorld::get().fresh("run");
    const auto result = run_lockstep_program(ranks, train_arguments(run, steps, more), environment);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const RunBits bits = bits_of(run);
    EXPECT_EQ(bits.loss_hex.size(), static_cast<std::size_t>(steps));
    return bits;
}

const RunBits& undisturbed_bits(int steps) {
    static std::map<int, RunBits> known;
    const auto found = known.find(steps);
    if (found != known.end()) return found->second;
    return known[steps] = train_bits(0, steps);
}

}  // namespace lockstep::test
