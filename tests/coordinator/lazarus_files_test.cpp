#include "coordinator/lazarus_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "io/corpus/length_cache.h"
#include "io/files/atomic_file.h"
#include "plan/validate_plan.h"
#include "tests/coordinator/small_plan.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

json golden(const std::string& name) {
    std::ifstream file(std::string(LOCKSTEP_TEST_DATA "/lazarus/") + name);
    return json::parse(file);
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

PlanOptions lazarus_options(std::uint32_t budget) {
    PlanOptions options;
    options.mode = PlanMode::bucket;
    options.compat = PlanCompat::lazarus;
    options.packs_per_step = 1;
    options.token_budget = budget;
    return options;
}

class LazarusFilesTest : public testing::Test {
  protected:
    using Samples = std::vector<std::pair<std::string, std::uint64_t>>;

    PlanInput lengths(const Samples& samples, const std::string& tokenizer = "tok_v1",
                      const std::string& name = "lengths") {
        LengthColumns columns;
        columns.tokenizer_hash = tokenizer;
        for (const auto& [key, tokens] : samples) {
            columns.add_key(key);
            columns.sample_tokens.push_back(static_cast<std::uint32_t>(tokens));
        }
        const LengthCache cache(std::move(columns));
        const fs::path file = directory_ / (name + ".jsonl");
        write_lengths_jsonl(file, cache, Overwrite::yes);
        return PlanInput::open(file, name);
    }

    static std::vector<SourceLengths> views(const std::vector<PlanInput>& inputs) {
        std::vector<SourceLengths> views;
        for (const PlanInput& input : inputs) views.push_back(input.lengths());
        return views;
    }

    /// The six samples of the golden folder.
    PlanInput golden_lengths(const std::string& tokenizer = "tok_v1") {
        return lengths({{"s0", 100}, {"s1", 110}, {"s2", 120}, {"s3", 130}, {"s4", 140}, {"s5", 150}},
                       tokenizer);
    }

    /// The golden folder as Lazarus wrote it.
    fs::path golden_folder() {
        const json file = golden("on-disk-formats.json");
        const fs::path folder = directory_ / "theirs";
        fs::create_directories(folder);
        write_file(folder / "meta.json", file.at("meta").dump(2));
        std::string text;
        for (const json& line : file.at("epoch_0_lines")) text += line.get<std::string>() + "\n";
        write_file(folder / "epoch_0.jsonl", text);
        return folder;
    }

    TemporaryDirectory directory_;
};

// --- Export ---

TEST_F(LazarusFilesTest, WritesWhatLazarusWrites) {
    const json file = golden("on-disk-formats.json");
    const std::vector<PlanInput> inputs{golden_lengths()};
    const BatchPlan plan = plan_of(lazarus_options(512), inputs);
    const LazarusExport made = export_lazarus(plan, inputs, directory_ / "ours", Overwrite::no);
    EXPECT_EQ(made.epochs, 1U);
    EXPECT_EQ(made.microbatches, 3U);

    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_ / "ours"))
        names.insert(entry.path().filename().string());
    EXPECT_EQ(names, file.at("plan_files").get<std::set<std::string>>());
    EXPECT_EQ(lines_of(read_file(directory_ / "ours" / "epoch_0.jsonl")),
              file.at("epoch_0_lines").get<std::vector<std::string>>());

    // The hash of the dataset is the caller's in Lazarus, the time is the time.
    std::ifstream golden_file(LOCKSTEP_TEST_DATA "/lazarus/on-disk-formats.json");
    auto expected = nlohmann::ordered_json::parse(golden_file).at("meta");
    const std::string meta_text = read_file(directory_ / "ours" / "meta.json");
    const auto meta = nlohmann::ordered_json::parse(meta_text);
    expected["dataset_hash"] = inputs[0].lengths().source.lengths.hex();
    expected["created_at"] = meta.at("created_at");
    EXPECT_EQ(meta_text, expected.dump(2));
}

TEST_F(LazarusFilesTest, EscapesIdsAsPythonDoes) {
    const std::vector<PlanInput> inputs{lengths({{"é\"", 10}, {"\xF0\x9F\x98\x80\x7F", 20}})};
    const BatchPlan plan = plan_of(lazarus_options(128), inputs);
    export_lazarus(plan, inputs, directory_ / "ours", Overwrite::no);
    const std::string text = read_file(directory_ / "ours" / "epoch_0.jsonl");
    EXPECT_THAT(text, HasSubstr(R"("\u00e9\"")"));
    EXPECT_THAT(text, HasSubstr(R"("\ud83d\ude00\u007f")"));
    EXPECT_EQ(import_lazarus(directory_ / "ours", inputs, 1).plan.segment_sample, plan.segment_sample);
}

TEST_F(LazarusFilesTest, WritesPackPlansAsOneGroupAMicrobatch) {
    std::vector<PlanInput> inputs{golden_lengths()};
    PlanOptions options;
    options.token_budget = 256;
    options.packing = PackingPolicy::in_order;
    options.order = PackOrder::in_order;
    const BatchPlan plan = plan_of(options, inputs);
    export_lazarus(plan, inputs, directory_ / "ours", Overwrite::no);
    const std::vector<std::string> lines = lines_of(read_file(directory_ / "ours" / "epoch_0.jsonl"));
    ASSERT_EQ(lines.size(), 1 + plan.num_packs());
    EXPECT_EQ(
        lines[1],
        R"({"samples": ["s0", "s1"], "packs": [["s0", "s1"]], "bucket_id": 0, "max_len": 256, "index": 0})");
    const json meta = json::parse(read_file(directory_ / "ours" / "meta.json"));
    EXPECT_TRUE(meta.at("bucket_edges").empty());
    EXPECT_EQ(meta.at("overflow_max"), 256);
    expect_error(ErrorCode::corrupt_data, "epoch_0.jsonl:2: 'packs' is not null",
                 [&] { import_lazarus(directory_ / "ours", inputs, 1); });
}

TEST_F(LazarusFilesTest, CallsSamplesByNumberWithoutInputs) {
    const std::vector<PlanInput> inputs{golden_lengths()};
    const BatchPlan plan = plan_of(lazarus_options(512), inputs);
    export_lazarus(plan, {}, directory_ / "ours", Overwrite::no);
    EXPECT_THAT(read_file(directory_ / "ours" / "epoch_0.jsonl"), HasSubstr(R"("samples": ["5", "4"])"));
}

TEST_F(LazarusFilesTest, RefusesWhatLazarusCannotSay) {
    std::vector<PlanInput> inputs{golden_lengths()};
    PlanOptions options;
    options.token_budget = 120;
    const BatchPlan split = plan_of(options, inputs);
    expect_error(ErrorCode::invalid_argument, "sample 3 is split",
                 [&] { export_lazarus(split, inputs, directory_ / "ours", Overwrite::no); });
    EXPECT_FALSE(fs::exists(directory_ / "ours"));

    PlanOptions late = lazarus_options(512);
    late.seed = ~std::uint64_t{0};
    late.epochs = 2;
    const BatchPlan plan = plan_of(late, inputs);
    expect_error(ErrorCode::invalid_argument, "smaller --seed",
                 [&] { export_lazarus(plan, inputs, directory_ / "ours", Overwrite::no); });
}

TEST_F(LazarusFilesTest, RefusesInputsOfAnotherPlanAndSharedIds) {
    const std::vector<PlanInput> inputs{golden_lengths()};
    const BatchPlan plan = plan_of(lazarus_options(512), inputs);
    const std::vector<PlanInput> others{lengths({{"s0", 1}}, "tok_v1", "others")};
    expect_error(ErrorCode::fingerprint_mismatch, "'others'",
                 [&] { export_lazarus(plan, others, directory_ / "ours", Overwrite::no); });
    const std::vector<PlanInput> both{inputs[0], others[0]};
    expect_error(ErrorCode::invalid_argument, "1 source(s), 2 were given",
                 [&] { export_lazarus(plan, both, directory_ / "ours", Overwrite::no); });
    const BatchPlan mixed = plan_of(lazarus_options(512), both);
    expect_error(ErrorCode::invalid_argument, "called 's0'",
                 [&] { export_lazarus(mixed, both, directory_ / "ours", Overwrite::no); });
    expect_error(ErrorCode::corrupt_data, "called 's0'", [&] { import_lazarus(golden_folder(), both, 1); });
}

TEST_F(LazarusFilesTest, ReplacesOnlyPlansOfLazarusAndWholly) {
    const std::vector<PlanInput> inputs{golden_lengths()};
    PlanOptions options = lazarus_options(512);
    options.epochs = 3;
    const fs::path folder = directory_ / "ours";
    export_lazarus(plan_of(options, inputs), inputs, folder, Overwrite::no);
    // As if the last start had been interrupted at its end.
    fs::rename(folder, directory_ / "ours.tmp");
    export_lazarus(plan_of(options, inputs), inputs, folder, Overwrite::no);
    options.epochs = 1;
    const BatchPlan plan = plan_of(options, inputs);
    expect_error(ErrorCode::output_exists, "--force",
                 [&] { export_lazarus(plan, inputs, folder, Overwrite::no); });
    export_lazarus(plan, inputs, folder, Overwrite::yes);
    EXPECT_FALSE(fs::exists(folder / "epoch_1.jsonl"));  // Lazarus would have loaded it.
    EXPECT_FALSE(fs::exists(directory_ / "ours.tmp"));
    EXPECT_FALSE(fs::exists(directory_ / "ours.old"));

    directory_.write("precious/file", "x");
    expect_error(ErrorCode::output_exists, "not a plan folder of Lazarus",
                 [&] { export_lazarus(plan, inputs, directory_ / "precious", Overwrite::yes); });
    EXPECT_TRUE(fs::exists(directory_ / "precious" / "file"));
}

// --- Import ---

TEST_F(LazarusFilesTest, ReadsTheGoldenFolder) {
    const std::vector<PlanInput> inputs{golden_lengths()};
    const LazarusImport imported = import_lazarus(golden_folder(), inputs, 2);
    EXPECT_TRUE(imported.reproduced);
    EXPECT_FALSE(imported.drop_last);
    EXPECT_EQ(imported.dataset_hash, "dataset_v1");
    EXPECT_EQ(imported.plan.num_steps(), 2U);
    EXPECT_EQ(imported.plan.segment_sample, (std::vector<std::uint64_t>{5, 4, 1, 0, 2, 3}));
    validate_plan(imported.plan, views(inputs));
}

TEST_F(LazarusFilesTest, ReadsGoldenPlansAndGivesThemBack) {
    const json cases = golden("batch-plans.json").at("cases");
    ASSERT_EQ(cases.size(), 10U);
    int drops = 0;
    for (const json& c : cases) {
        SCOPED_TRACE(c.at("name").get<std::string>());
        const fs::path folder = directory_ / c.at("name").get<std::string>();
        Samples samples;
        for (const json& sample : c.at("lengths")) samples.emplace_back(sample[0], sample[1]);
        const std::vector<PlanInput> inputs{lengths(samples)};
        const json& config = c.at("config");
        json meta = golden("on-disk-formats.json").at("meta");
        meta["bucket_edges"] = config.at("bucket_edges");
        meta["overflow_max"] = config.at("overflow_max");
        meta["token_budget"] = config.at("token_budget");
        meta["pad_policy"] = config.at("pad_policy");
        meta["base_seed"] = config.at("seed");
        meta["num_epochs"] = c.at("num_epochs");
        fs::create_directories(folder);
        write_file(folder / "meta.json", meta.dump(2));
        for (const json& epoch : c.at("epochs")) {
            json header = epoch;
            header.erase("microbatches");
            header["num_microbatches"] = epoch.at("microbatches").size();
            std::string text = header.dump() + "\n";
            for (json microbatch : epoch.at("microbatches")) {
                microbatch["packs"] = nullptr;
                text += microbatch.dump() + "\n";
            }
            write_file(folder / ("epoch_" + epoch.at("epoch").dump() + ".jsonl"), text);
        }

        const LazarusImport imported = import_lazarus(folder, inputs, 1);
        EXPECT_EQ(imported.fingerprint, c.at("plan_fingerprint").get<std::string>());
        EXPECT_TRUE(imported.reproduced);
        if (imported.drop_last) ++drops;
        validate_plan(imported.plan, views(inputs));
        validate_plan(imported.plan, std::span<const SourceLengths>{});

        const LazarusExport exported =
            export_lazarus(imported.plan, inputs, directory_ / "back", Overwrite::yes);
        EXPECT_EQ(exported.epochs, c.at("num_epochs").get<std::uint64_t>());
        const LazarusImport again = import_lazarus(directory_ / "back", inputs, 1);
        EXPECT_EQ(again.plan, imported.plan);
        EXPECT_EQ(again.fingerprint, exported.fingerprint);

        save_plan(directory_ / "plan", imported.plan, plan_stats(imported.plan), inputs,
                  WriteJsonl::automatic, Overwrite::yes);
        EXPECT_EQ(load_plan(directory_ / "plan", PlanCheck::content), imported.plan);
    }
    EXPECT_EQ(drops, 2);
}

TEST_F(LazarusFilesTest, TakesAnOrderThatTheLengthsDoNotGive) {
    const fs::path folder = golden_folder();
    std::string text = read_file(folder / "epoch_0.jsonl");
    text.replace(text.find("\"s5\", \"s4\""), 10, "\"s4\", \"s5\"");
    write_file(folder / "epoch_0.jsonl", text);
    const LazarusImport imported = import_lazarus(folder, {golden_lengths()}, 1);
    EXPECT_FALSE(imported.reproduced);
    EXPECT_EQ(imported.plan.segment_sample.front(), 4U);
}

class LazarusDamageTest : public LazarusFilesTest {
  protected:
    LazarusDamageTest() : folder_(golden_folder()) {}

    /// Replaces `from` in a file of the golden folder and expects the import to refuse it.
    void refused(const std::string& file, const std::string& from, const std::string& to,
                 const std::string& noun, ErrorCode code = ErrorCode::corrupt_data) {
        golden_folder();
        std::string text = read_file(folder_ / file);
        const std::size_t at = text.find(from);
        ASSERT_NE(at, std::string::npos) << from;
        write_file(folder_ / file, text.replace(at, from.size(), to));
        expect_error(code, noun, [&] { import_lazarus(folder_, {golden_lengths()}, 1); });
    }
    void line_refused(const std::string& from, const std::string& to, const std::string& noun) {
        refused("epoch_0.jsonl", from, to, noun);
    }
    void meta_refused(const std::string& from, const std::string& to, const std::string& noun) {
        refused("meta.json", from, to, noun);
    }

    fs::path folder_;
};

TEST_F(LazarusDamageTest, NamesTheLine) {
    line_refused("\"s5\", \"s4\"", "\"s5\", \"x\"", "epoch_0.jsonl:2: sample 'x' is not in the lengths");
    line_refused("\"s5\", \"s4\"", "\"s5\", \"s5\"", ":2: sample 's5' comes twice");
    line_refused("\"s5\", \"s4\"", "\"s5\", 4", ":2: 'samples' must hold strings");
    line_refused("[\"s5\", \"s4\"]", "[]", ":2: 0 samples");
    line_refused("[\"s5\", \"s4\"]", "\"s5\"", ":2: 'samples' must be a list");
    line_refused("[\"s3\"]", "[\"s3\", \"s0\"]", ":4: sample 's0' comes twice");
    line_refused("[\"s1\", \"s0\", \"s2\"]", "[\"s1\", \"s0\", \"s3\"]", ":3: sample 's3' has 130 tokens");
    line_refused("[\"s5\", \"s4\"]", "[\"s5\", \"s4\", \"s3\"]", ":2: 3 samples; a batch of bucket 1");
    line_refused("\"s5\", \"s4\"", "\"s5\"", ":4: a batch of bucket 1 after its short one");
    line_refused("[\"s1\", \"s0\", \"s2\"]", "[\"s1\", \"s0\"]", ":1: 'total_samples' is 6");
    line_refused("\"max_len\": 256", "\"max_len\": 200", ":2: 'max_len' is 200; bucket 1 pads to 256");
    line_refused("\"bucket_id\": 0", "\"bucket_id\": 5", ":3: 'bucket_id' is 5");
    line_refused("\"bucket_id\": 0", "\"bucket_id\": -1", ":3: 'bucket_id' must be an integer");
    line_refused("\"index\": 1", "\"index\": 2", ":3: 'index' is 2; expected 1");
    line_refused("\"packs\": null", "\"packs\": [[\"s5\"]]", ":2: 'packs' is not null");
    line_refused("\"packs\": null, ", "", ":2: no 'packs'");
    line_refused("\"packs\": null", "\"packs\": null, \"x\": 1", ":2: unknown field 'x'");
    line_refused("{\"samples\": [\"s3\"]", "\n{\"samples\": [\"s3\"]", ":4: not one JSON object");
    line_refused("\"index\": 2}", "\"index\": 2", ":4: not one JSON object");
}

TEST_F(LazarusDamageTest, NamesTheHeader) {
    line_refused("\"epoch\": 0", "\"epoch\": 1", ":1: 'epoch' is 1");
    line_refused("\"seed\": 42", "\"seed\": 43", ":1: 'seed' is 43");
    line_refused("\"total_tokens\": 750", "\"total_tokens\": 751", ":1: 'total_tokens' is 751");
    line_refused("\"num_microbatches\": 3", "\"num_microbatches\": 4", ":1: 'num_microbatches' is 4");
    line_refused("\"total_samples\": 6", "\"total_samples\": 6.5", ":1: 'total_samples' must be an integer");
    write_file(folder_ / "epoch_0.jsonl", "");
    expect_error(ErrorCode::corrupt_data, "is empty",
                 [&] { import_lazarus(folder_, {golden_lengths()}, 1); });
}

TEST_F(LazarusDamageTest, NamesTheMetadata) {
    meta_refused("\"token_budget\": 512", "\"token_budget\": 0", "meta.json:1: the token budget is 0");
    meta_refused("128,", "-128,", "meta.json:1: 'bucket_edges'");
    meta_refused("128,", "256,", "meta.json:1: bucket edges must ascend");
    meta_refused("\"overflow_max\": 2048", "\"overflow_max\": 1024", "overflow");
    meta_refused("pad_to_max", "pad_to_min", "'pad_to_min'");
    meta_refused("\"num_epochs\": 1", "\"num_epochs\": 0", "epochs is 0");
    meta_refused("\"num_epochs\": 1", "\"num_epochs\": 2", "epoch_1.jsonl' is missing; meta.json says 2");
    meta_refused("\"base_seed\": 42", "\"base_seed\": -42", "'base_seed'");
    meta_refused("\"tokenizer_hash\"", "\"tokenizer\"", "no 'tokenizer_hash'");
    refused("meta.json", "\"1.0\"", "\"2.0\"", "version \"2.0\"", ErrorCode::incompatible_version);
}

TEST_F(LazarusDamageTest, RefusesFilesOfAnEarlierPlan) {
    const auto import = [&] { import_lazarus(folder_, {golden_lengths()}, 1); };
    write_file(folder_ / "epoch_1.jsonl", read_file(folder_ / "epoch_0.jsonl"));
    expect_error(ErrorCode::corrupt_data, "epoch_1.jsonl' is not an epoch of this plan", import);
    fs::remove(folder_ / "epoch_1.jsonl");
    fs::rename(folder_ / "epoch_0.jsonl", folder_ / "epoch_00.jsonl");
    expect_error(ErrorCode::corrupt_data, "epoch_00.jsonl' is not an epoch of this plan", import);
    fs::remove(folder_ / "epoch_00.jsonl");
    expect_error(ErrorCode::corrupt_data, "epoch_0.jsonl' is missing", import);
    fs::remove(folder_ / "meta.json");
    expect_error(ErrorCode::not_found, "meta.json", import);
    expect_error(ErrorCode::not_found, "does not exist",
                 [&] { import_lazarus(directory_ / "nowhere", {golden_lengths()}, 1); });
}

TEST_F(LazarusDamageTest, EveryCutOfAnEpochFileIsRefused) {
    const std::string text = read_file(folder_ / "epoch_0.jsonl");
    const std::vector<PlanInput> inputs{golden_lengths()};
    for (std::size_t bytes = 0; bytes + 1 < text.size(); ++bytes) {
        write_file(folder_ / "epoch_0.jsonl", text.substr(0, bytes));
        EXPECT_THROW(import_lazarus(folder_, inputs, 1), Error) << bytes;
    }
    // Without its last line end it is whole.
    write_file(folder_ / "epoch_0.jsonl", text.substr(0, text.size() - 1));
    EXPECT_NO_THROW(import_lazarus(folder_, inputs, 1));
}

TEST_F(LazarusDamageTest, RefusesASampleThatIsMissing) {
    // Consistent counts, but no tail that drop_last would leave out: bucket 0 holds up to four.
    std::string text = read_file(folder_ / "epoch_0.jsonl");
    const auto replace = [&](const std::string& from, const std::string& to) {
        text.replace(text.find(from), from.size(), to);
    };
    replace("\"s1\", \"s0\", \"s2\"", "\"s1\", \"s0\"");
    replace("\"total_samples\": 6", "\"total_samples\": 5");
    replace("\"total_tokens\": 750", "\"total_tokens\": 630");
    write_file(folder_ / "epoch_0.jsonl", text);
    expect_error(ErrorCode::corrupt_data, "1 samples of bucket 0 are missing",
                 [&] { import_lazarus(folder_, {golden_lengths()}, 1); });
}

TEST_F(LazarusDamageTest, RefusesLengthsOfAnotherTokenizer) {
    expect_error(ErrorCode::fingerprint_mismatch, "'tok_v2'",
                 [&] { import_lazarus(folder_, {golden_lengths("tok_v2")}, 1); });
    EXPECT_NO_THROW(import_lazarus(folder_, {golden_lengths("unknown")}, 1));
    expect_error(ErrorCode::invalid_argument, "-l FILE", [&] { import_lazarus(folder_, {}, 1); });
    expect_error(ErrorCode::invalid_argument, "packs per step",
                 [&] { import_lazarus(folder_, {golden_lengths()}, 0); });
}

}  // namespace
}  // namespace lockstep
