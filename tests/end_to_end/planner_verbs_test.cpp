// The planner's verbs as a user types them: bad input gets one clear error and the documented
// code, and good input the same bytes however many ranks and threads make them.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>
#include <utility>

#include "io/base/digest.h"
#include "io/files/atomic_file.h"
#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

using Words = std::vector<std::string>;

ProgramResult lockstep_here(const Words& arguments) {
    return run_lockstep_program(0, arguments);
}

void expect_refused(const ProgramResult& result, int code, const std::string& noun) {
    EXPECT_EQ(result.exit_code, code) << result.out << result.err;
    EXPECT_NE(result.err.find(noun), std::string::npos) << "expected '" << noun << "' in: " << result.err;
    const std::size_t first = result.err.find("error: ");
    ASSERT_NE(first, std::string::npos) << result.err;
    EXPECT_EQ(result.err.find("error: ", first + 1), std::string::npos) << result.err;
}

/// A lengths file with these lines.
std::string lengths_file(const std::string& name, const std::string& lines) {
    const std::string path = SmallWorld::get().fresh(name) + ".jsonl";
    write_file(path, lines);
    return path;
}

std::string line(const std::string& id, const std::string& length) {
    return R"({"sample_id":")" + id + R"(","length":)" + length + "}\n";
}

/// Lengths 1 to 300, in no order.
std::string many_lengths(const std::string& name, int samples) {
    std::string lines;
    for (int i = 0; i < samples; ++i)
        lines += line(name + std::to_string(i), std::to_string(i * 37 % 300 + 1));
    return lengths_file(name, lines);
}

Words build(const Words& lengths, const std::string& output, const Words& more = {}) {
    Words arguments = {"batchplan", "build", "-o", output, "-l"};
    arguments.insert(arguments.end(), lengths.begin(), lengths.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

/// Refused, and nothing is left behind.
void expect_no_plan(const Words& lengths, const Words& more, int code, const std::string& noun) {
    const std::string output = SmallWorld::get().fresh("p");
    expect_refused(lockstep_here(build(lengths, output, more)), code, noun);
    EXPECT_FALSE(std::filesystem::exists(output)) << noun;
}

std::string built(const Words& lengths, const Words& more = {}) {
    const std::string output = SmallWorld::get().fresh("p");
    const auto result = lockstep_here(build(lengths, output, more));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return output;
}

TEST(PlannerVerbsTest, LengthsThatCannotBe) {
    const auto refused = [](const std::string& lines, const std::string& noun) {
        expect_no_plan({lengths_file("bad", lines)}, {}, 65, noun);
    };
    refused(line("a", "3") + line("a", "4"), ":2: sample_id 'a' is repeated");
    refused(line("", "3"), ":1: 'sample_id' is empty");
    refused(line("a", "-3"), "found -3");
    refused(line("a", "4294967296"), "found 4294967296");
    refused(line("a", "3.5"), "found 3.5");
    refused(line("a", "\"3\""), "'length' must be an integer");
    refused("{\"sample_id\":\"a\"}\n", "no 'length'");
    refused("{\"length\":3}\n", "no 'sample_id'");
    refused("", "is empty");
    refused(line("a", "3") + "{\"sample_id\":\"b\",", "cut short");
    expect_no_plan({lengths_file("zero", line("a", "0"))}, {}, 2, "nothing to plan");
    // Beside others, a sample without tokens is recorded and left out.
    built({lengths_file("zeros", line("a", "0") + line("b", "3"))});
}

TEST(PlannerVerbsTest, BudgetsUnderEachPolicyForLongSamples) {
    const std::string lengths = many_lengths("s", 200);
    for (const std::string policy : {"auto", "split", "truncate", "drop", "error"}) {
        expect_no_plan({lengths}, {"-b", "0", "--long", policy}, 2, "token budget is 0");
    }
    for (const std::string policy : {"auto", "split"}) {
        expect_no_plan({lengths}, {"-b", "1", "--long", policy}, 2, "at least 2 tokens");
        built({lengths}, {"-b", "100", "--long", policy});
    }
    for (const std::string policy : {"truncate", "drop"}) {
        built({lengths}, {"-b", "1", "--long", policy});
        built({lengths}, {"-b", "100", "--long", policy});
    }
    expect_no_plan({lengths}, {"-b", "100", "--long", "error"}, 2, "sample 3 of");
    expect_no_plan({lengths_file("long", line("a", "300"))}, {"-b", "100", "--long", "drop"}, 2,
                   "nothing to plan");
    expect_no_plan({lengths}, {"-b", "-5"}, 2, "cannot be negative");
    expect_no_plan({lengths}, {"-b", "18446744073709551616"}, 2, "out of range");
    expect_no_plan({lengths}, {"-b", "0x100"}, 2, "'0x100' is no whole number");
    expect_no_plan({lengths}, {"-b", "1e3"}, 2, "'1e3' is no whole number");
    // A hundred, not eight times eight.
    built({lengths_file("hundred", line("a", "100"))}, {"-b", "0100", "--long", "error"});
    expect_no_plan({lengths}, {"-b", "2147483648"}, 2, "2147483648");
    expect_no_plan({lengths}, {"-b", "4294967296"}, 2, "token-budget");
    expect_no_plan({lengths}, {"--long", "maybe"}, 2, "choose one of auto, split");
}

TEST(PlannerVerbsTest, EdgesAndWeightsThatCannotBe) {
    const std::string a = many_lengths("a", 100), b = many_lengths("b", 150);
    for (const Words& edges : std::vector<Words>{{"64", "32"}, {"64", "64"}, {"0", "32"}}) {
        Words options = {"--mode", "bucket", "--bucket-edges"};
        options.insert(options.end(), edges.begin(), edges.end());
        expect_no_plan({a}, options, 2, "must ascend");
    }
    expect_no_plan({a}, {"--mode", "bucket", "--bucket-edges", "64", "--bucket-overflow-max", "64"}, 2,
                   "overflow bucket");
    expect_no_plan({a},
                   {"--mode", "bucket", "-b", "200", "--bucket-edges", "64", "--bucket-overflow-max", "300"},
                   2, "over the token budget");
    expect_no_plan({"a=" + a + ":0.5", "b=" + b + ":0.6"}, {}, 2, "do not sum to 1");
    // Names tell sources apart.
    expect_no_plan({"a=" + a, "a=" + b}, {}, 2, "two sources are named 'a'");
    expect_no_plan({"a=" + a + ":1", "b=" + b}, {}, 2, "give every source a weight");
    for (const std::string weight : {"0", "-1", "nan", "1e400"})
        expect_no_plan({"a=" + a + ":" + weight, "b=" + b + ":1"}, {}, 2, "expected a positive number");
    expect_no_plan({"a=" + a + ":1", "b=" + b + ":1"}, {"--repeat-max", "c=3"}, 2, "no source");
    built({"a=" + a + ":0.25", "b=" + b + ":0.75"});
    const std::string output = built({"a=" + a, "b=" + b}, {"--source-epochs", "a=3"});
    const auto stats = nlohmann::json::parse(read_file(output + "/stats.json"));
    EXPECT_EQ(stats["segments"], 3 * 100 + 150);
}

TEST(PlannerVerbsTest, ExcludingWhatIsAbsent) {
    const std::string plan = built({many_lengths("s", 200)}, {"-b", "512"});
    const auto refused = [&](const Words& what, const std::string& noun) {
        Words arguments = {"batchplan", "exclude", "-p", plan, "-o", SmallWorld::get().fresh("r")};
        arguments.insert(arguments.end(), what.begin(), what.end());
        expect_refused(lockstep_here(arguments), 2, noun);
    };
    refused({"--sample", "999", "--from-step", "0"}, "sample 999 does not exist");
    refused({"--sample", "nosuch", "--from-step", "0"}, "'nosuch' is not a sample");
    refused({"--step", "999", "--from-step", "0"}, "step 999 cannot be excluded");
    refused({"--from-step", "0"}, "nothing is named");
    refused({"--sample", "5", "--from-step", "999"}, "from-step is 999");
    expect_refused(
        lockstep_here({"batchplan", "exclude", "-p", plan, "--sample", "5", "--from-step", "0", "-o", plan}),
        73, "--force");
}

TEST(PlannerVerbsTest, ADamagedPlanFolderIsFound) {
    const std::string lengths = many_lengths("s", 200);
    const std::string plan = built({lengths}, {"-b", "512"}), other = built({lengths}, {"-b", "310"});
    const auto strict = [&](const std::string& folder) {
        return lockstep_here({"batchplan", "validate", "-p", folder, "--strict", "-l", lengths});
    };
    const auto copy = [&] {
        const std::string folder = SmallWorld::get().fresh("copy");
        std::filesystem::copy(plan, folder, std::filesystem::copy_options::recursive);
        return folder;
    };
    EXPECT_EQ(strict(copy()).exit_code, 0);
    for (const std::string file :
         {"plan.h5", "plan.jsonl", "fingerprints.json", "metadata.json", "stats.json"}) {
        SCOPED_TRACE(file);
        std::string folder = copy();
        std::filesystem::remove(folder + "/" + file);
        expect_refused(strict(folder), file == "plan.h5" ? 66 : 65, file);
        folder = copy();
        std::filesystem::resize_file(folder + "/" + file,
                                     std::filesystem::file_size(folder + "/" + file) / 2);
        expect_refused(strict(folder), 65, file);
        folder = copy();
        std::filesystem::copy_file(other + "/" + file, folder + "/" + file,
                                   std::filesystem::copy_options::overwrite_existing);
        // Which of the two is stale cannot be told, only that they are not of one plan.
        expect_refused(strict(folder), 65, file == "plan.h5" ? "fingerprints.json" : file);
    }
    std::string folder = copy();
    write_file(folder + "/notes.txt", "x");
    expect_refused(strict(folder), 65, "notes.txt");
    folder = copy();
    const std::vector<std::string> rows = lines_of(folder + "/plan.jsonl");
    std::string reordered;
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) reordered += *row + "\n";
    write_file(folder + "/plan.jsonl", reordered);
    expect_refused(strict(folder), 65, "plan.jsonl': line 1 is not the plan's step 0, pack 0");
    folder = copy();
    write_file(folder + "/plan.jsonl", read_file(plan + "/plan.jsonl") + "{}\n");
    expect_refused(strict(folder), 65, "goes on after the plan's last step");
    // The same content in other bytes.
    for (const std::string file : {"fingerprints.json", "metadata.json", "stats.json"}) {
        SCOPED_TRACE(file);
        const std::string text = read_file(plan + "/" + file);
        for (const std::string& other_text : {text + "\n", text.substr(0, text.size() - 1)}) {
            folder = copy();
            write_file(folder + "/" + file, other_text);
            expect_refused(strict(folder), 65, file + "': its fields are right but its text");
        }
    }
    // What is given in a plan's place is told.
    expect_refused(lockstep_here({"batchplan", "info", "-p", lengths}), 66, "is no folder");
    std::filesystem::remove(folder + "/plan.h5");
    expect_refused(strict(folder), 66, "is no plan folder, it has no plan.h5");
}

TEST(PlannerVerbsTest, SourcesAreMatchedByNameAndBlamedThemselves) {
    const std::string a = many_lengths("a", 100), b = many_lengths("b", 150);
    const std::string plan = built({"a=" + a, "b=" + b});
    const auto validate = [&](const Words& sources) {
        Words arguments = {"batchplan", "validate", "-p", plan, "--strict", "-l"};
        arguments.insert(arguments.end(), sources.begin(), sources.end());
        return lockstep_here(arguments);
    };
    EXPECT_EQ(validate({"b=" + b, "a=" + a}).exit_code, 0);
    expect_refused(validate({"b=" + b, "c=" + a}), 2, "the plan has no source 'c'");
    expect_refused(validate({a}), 2, "the plan has 2 source(s), 1 were given");
    expect_refused(validate({"a=" + b, "b=" + a}), 65, "give the file the plan was built from");
}

TEST(PlannerVerbsTest, LengthsComeThroughAPipe) {
    const std::string lengths = many_lengths("s", 100), pipe = SmallWorld::get().fresh("pipe");
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    const std::string text = read_file(lengths), plain = built({"s=" + lengths});
    // Tries to open it for as long as a test may take: a reader may never come.
    std::jthread writer([&](const std::stop_token& enough) {
        int end = -1;
        while (end < 0 && !enough.stop_requested()) {
            end = ::open(pipe.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            if (end < 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        if (end < 0) return;
        EXPECT_EQ(::write(end, text.data(), text.size()), static_cast<ssize_t>(text.size()));
        ::close(end);
    });
    const std::string piped = built({"s=" + pipe});
    EXPECT_EQ(read_file(piped + "/plan.h5"), read_file(plain + "/plan.h5"));
}

TEST(PlannerVerbsTest, WhatWouldHaveNoEffectIsRefused) {
    const std::string a = many_lengths("a", 100), b = many_lengths("b", 150);
    expect_no_plan({"a=" + a, "b=" + b}, {"--repeat-max", "a=2"}, 2, "which has no weight");
    expect_no_plan({a}, {"--order", "in-order", "--packing", "first-fit"}, 2,
                   "--packing first-fit does not go with --order in-order");
    expect_no_plan({a}, {"--order", "short-to-long", "--packing", "patterns"}, 2, "--order short-to-long");
    expect_no_plan({a}, {"--mode", "bucket", "--packing", "best-fit"}, 2, "--mode bucket");
    expect_no_plan({a}, {"--predictable", "--packing", "best-fit"}, 2, "--predictable");
    expect_no_plan({a}, {"--cost", "1"}, 2, "two whole numbers A,B");
    expect_no_plan({a}, {"-e", "1048577"}, 2, "1 to 1048576");
}

TEST(PlannerVerbsTest, ARevisionIsProvenAgainstItsParent) {
    const std::string plan = built({many_lengths("s", 200)}, {"-b", "512"});
    const std::string revision = SmallWorld::get().fresh("r"), second = SmallWorld::get().fresh("r");
    const auto exclude = [&](const std::string& from, const std::string& step, const std::string& to) {
        return lockstep_here(
            {"batchplan", "exclude", "-p", from, "--step", step, "--from-step", step, "-o", to, "--force"});
    };
    ASSERT_EQ(exclude(plan, "1", revision).exit_code, 0);
    ASSERT_EQ(exclude(revision, "2", second).exit_code, 0);
    const auto proof = lockstep_here({"batchplan", "validate", "-p", revision, "--parent", plan, "--json"});
    ASSERT_EQ(proof.exit_code, 0) << proof.err;
    EXPECT_GT(nlohmann::json::parse(proof.out)["revision"]["segments_removed"], 0);
    expect_refused(lockstep_here({"batchplan", "validate", "-p", second, "--parent", plan}), 65,
                   "give the plan it was made from");
    expect_refused(lockstep_here({"batchplan", "validate", "-p", plan, "--parent", plan}), 2, "no revision");
    expect_refused(exclude(plan, "1", plan), 2, "a revision needs its parent");
}

TEST(PlannerVerbsTest, RanksAndThreadsMakeTheSameBytes) {
    const std::string a = many_lengths("a", 9000), b = many_lengths("b", 3000);
    const std::vector<std::pair<Words, Words>> plans = {
        {{a}, {"-b", "310", "-e", "2", "--packs-per-step", "1"}},
        {{a}, {"-b", "600", "--packs-per-step", "1", "--order", "length-stages"}},
        {{a},
         {"-b", "600", "--packs-per-step", "2", "--mode", "bucket", "--bucket-edges", "100", "200",
          "--bucket-overflow-max", "300"}},
        {{"a=" + a + ":1", "b=" + b + ":2"}, {"-b", "310", "--packs-per-step", "1"}}};
    for (const auto& [lengths, options] : plans) {
        const std::string one = built(lengths, options);
        Words threaded = options;
        threaded.insert(threaded.end(), {"--threads", "3"});
        const std::string threads = built(lengths, threaded);
        const std::string ranks = SmallWorld::get().fresh("p");
        const auto result = run_lockstep_program(4, build(lengths, ranks, options));
        ASSERT_EQ(result.exit_code, 0) << result.err;
        const auto valid = lockstep_here({"batchplan", "validate", "-p", ranks, "--strict"});
        EXPECT_EQ(valid.exit_code, 0) << valid.err;
        for (const std::string file : {"/plan.h5", "/plan.jsonl", "/fingerprints.json", "/stats.json"}) {
            EXPECT_TRUE(read_file(one + file) == read_file(threads + file)) << file;
            EXPECT_TRUE(read_file(one + file) == read_file(ranks + file)) << file;
        }
    }
}

/// Mid-sized lengths, for which patterns are searched.
std::string mid_sized_lengths(int samples) {
    std::string lines;
    for (int i = 0; i < samples; ++i)
        lines += line("m" + std::to_string(i), std::to_string(1100 + i * 7919LL % 1200));
    return lengths_file("mid", lines);
}

std::string scored_lengths(int samples) {
    std::string lines;
    for (int i = 0; i < samples; ++i) {
        lines += R"({"sample_id":"c)" + std::to_string(i) + R"(","length":)" +
                 std::to_string(i * 37 % 300 + 1) + R"(,"score":)" + std::to_string(i * 61 % 97) + ".5}\n";
    }
    return lengths_file("scored", lines);
}

std::string hex_digest(const std::string& text) {
    return digest_of_array(std::span(text)).hex();
}

/// What any compiler, at any level of optimization, on any number of ranks has to write.
TEST(PlannerVerbsTest, EveryBuildWritesTheseBytes) {
    const std::string a = "a=" + many_lengths("a", 700), b = "b=" + many_lengths("b", 450);
    const std::string mid = "m=" + mid_sized_lengths(4000), scored = "s=" + scored_lengths(500);
    struct Golden {
        Words lengths, options;
        std::string digest;
    };
    const std::vector<Golden> plans = {
        {{a}, {"-b", "310", "-e", "3"}, "c30ab2425e1169b91ae525de3fbcb7c1"},
        {{mid}, {"-b", "4096"}, "bc471dab4b120d168a28ebcf195acf38"},
        {{a},
         {"-b", "600", "--order", "length-stages", "--packs-per-step", "2"},
         "d6de929fe8bd0c36f919cf2d0a4a5291"},
        {{scored}, {"-b", "600", "--order", "score-stages"}, "087ee9bc75466b99af947a5e1e5d5eb9"},
        {{a}, {"-b", "310", "--order", "in-order"}, "7ff76e10a3ea637c2d6e6e6ff69dcc3b"},
        {{a},
         {"-b", "200", "--packing", "concat-and-chunk", "--long", "split"},
         "32992c796e4b05cae36a748a3a8b5314"},
        {{a},
         {"-b", "600", "--mode", "bucket", "--bucket-edges", "100", "200", "--bucket-overflow-max", "300"},
         "fc36498688d7eb4902437beb03bc3ff4"},
        {{a + ":1", b + ":2"}, {"-b", "310", "--packs-per-step", "3"}, "11b3e0b6f552630c1bc7121f27a47919"},
        {{a},
         {"--compat", "lazarus", "--mode", "bucket", "-b", "1024", "-e", "2", "--bucket-edges", "100", "200",
          "--bucket-overflow-max", "300"},
         "610a9f5943e471b3c23beded737c4ddf"}};
    for (const Golden& golden : plans) {
        const std::string plan = built(golden.lengths, golden.options);
        std::string all;
        for (const std::string file : {"/plan.h5", "/plan.jsonl", "/fingerprints.json", "/stats.json"})
            all += hex_digest(read_file(plan + file));
        EXPECT_EQ(hex_digest(all), golden.digest) << testing::PrintToString(golden.options);
    }
}

TEST(PlannerVerbsTest, LengthsOfAnotherTokenizerAreRefused) {
    const auto of_tokenizer = [](const std::string& name, const std::string& hash) {
        std::string lines;
        for (int i = 0; i < 40; ++i) {
            lines += R"({"sample_id":")" + name + std::to_string(i) + R"(","tokenizer_hash":")" + hash +
                     R"(","length":)" + std::to_string(i % 7 + 1) + "}\n";
        }
        return lengths_file(name, lines);
    };
    const std::string a = of_tokenizer("a", "one"), b = of_tokenizer("b", "two");
    expect_no_plan({"a=" + a, "b=" + b}, {}, 65, "ingest both with one tokenizer");
    const std::string plan = built({a});
    // The same lengths, said to be of another tokenizer.
    const std::string other = of_tokenizer("a", "two");
    expect_refused(lockstep_here({"batchplan", "validate", "-p", plan, "--strict", "-l", other}), 65,
                   "was built for tokenizer 'one'");
    expect_refused(lockstep_here({"batchplan", "where", "--key", "a3", "-p", plan, "-l", other}), 65,
                   "made by 'two'");
}

TEST(PlannerVerbsTest, LazarusPlansComeBackTheSame) {
    // With an id that is there twice: the last one wins.
    std::string lines = line("s3", "7");
    for (int i = 0; i < 200; ++i) lines += line("s" + std::to_string(i), std::to_string(i * 37 % 300 + 1));
    const std::string lengths = lengths_file("twice", lines);
    const std::string plan = built(
        {lengths}, {"--compat", "lazarus", "--mode", "bucket", "-b", "1024", "-e", "2", "--bucket-edges",
                    "100", "200", "--bucket-overflow-max", "300", "--packs-per-step", "1"});
    const std::string folder = SmallWorld::get().fresh("lazarus"), again = SmallWorld::get().fresh("p");
    const auto exported =
        lockstep_here({"batchplan", "export", "-p", plan, "--to", "lazarus", "-l", lengths, "-o", folder});
    ASSERT_EQ(exported.exit_code, 0) << exported.err;
    const auto imported = lockstep_here({"batchplan", "import", folder, "-l", lengths, "-o", again});
    ASSERT_EQ(imported.exit_code, 0) << imported.err;
    EXPECT_EQ(read_file(plan + "/plan.jsonl"), read_file(again + "/plan.jsonl"));
    EXPECT_FALSE(read_file(plan + "/plan.jsonl").empty());
}

TEST(PlannerVerbsTest, VerbsBeforePlanningGiveJson) {
    const std::string lengths = many_lengths("s", 500), columns = SmallWorld::get().fresh("l") + ".h5";
    const auto json_of = [](const Words& arguments) {
        const auto result = lockstep_here(arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return nlohmann::json::parse(result.out);
    };
    const auto suggested = json_of({"batching", "suggest", "-l", lengths, "--json"});
    EXPECT_FALSE(suggested["edges"].empty());
    const auto converted = json_of({"lengths", "convert", lengths, "-o", columns, "--json"});
    EXPECT_EQ(converted["samples"], 500);
    const auto analyzed = json_of({"batching", "analyze", "-l", lengths, "--json"});
    EXPECT_TRUE(analyzed.is_object());
    EXPECT_EQ(json_of({"batching", "histogram", "-l", lengths, "--bins", "5", "--json"}).is_object(), true);

    const std::string past = SmallWorld::get().fresh("bench") + ".json";
    const std::string page = SmallWorld::get().fresh("bench") + ".md";
    const auto bench = json_of({"bench", "--json", "-l", columns, "-o", past, "--markdown", page});
    EXPECT_TRUE(bench.is_object());
    EXPECT_NE(read_file(page).find("| "), std::string::npos);
    const auto compare = [&](const std::string& file) {
        return lockstep_here({"bench", "-l", columns, "--time-tolerance", "1000", "--compare", file});
    };
    EXPECT_EQ(compare(past).exit_code, 0);
    // A past that needed fewer packs.
    nlohmann::json better = nlohmann::json::parse(read_file(past));
    better["measures"]["packs"] = better["measures"]["packs"].get<int>() / 2;
    write_file(past, better.dump());
    const ProgramResult worse = compare(past);
    EXPECT_EQ(worse.exit_code, 1) << worse.out;
    EXPECT_NE((worse.out + worse.err).find("packs"), std::string::npos);
    EXPECT_EQ(read_file(built({lengths}) + "/plan.jsonl").empty(), false);
}

}  // namespace
}  // namespace lockstep::test
