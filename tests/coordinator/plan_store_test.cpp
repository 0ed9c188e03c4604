#include "coordinator/plan_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "coordinator/plan_file.h"
#include "coordinator/plan_writer.h"
#include "io/files/atomic_file.h"
#include "io/files/sealed_json.h"
#include "tests/coordinator/small_plan.h"
#include "tests/support/error_of.h"
#include "tests/support/failing_calls.h"
#include "tests/support/forwarding_files.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::set<std::string> names_in(const fs::path& directory) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory))
        names.insert(entry.path().filename().string());
    return names;
}

/// Everything `validate` checks without the inputs.
void check(const fs::path& directory) {
    const PlanFile plan = PlanFile::open(directory);
    plan.validate({});
    check_plan_files(plan);
}

class PlanStoreTest : public testing::Test {
  protected:
    PlanStoreTest() : small_(directory_.path()) {}

    SavedPlan save(const fs::path& target, WriteJsonl jsonl = WriteJsonl::automatic,
                   Overwrite overwrite = Overwrite::no) {
        return save(target, small_.plan, small_.inputs, jsonl, overwrite);
    }
    static SavedPlan save(const fs::path& target, const BatchPlan& plan, const std::vector<PlanInput>& inputs,
                          WriteJsonl jsonl = WriteJsonl::automatic, Overwrite overwrite = Overwrite::no) {
        return save_plan(target, plan, plan_stats(plan), inputs, jsonl, overwrite);
    }

    PlanInput corpus(const std::string& file, const std::vector<SmallSample>& samples,
                     const std::string& tokenizer = "test-tokenizer") {
        return PlanInput::open(write_small_corpus(directory_ / file, samples, small_tokenizer(tokenizer)),
                               "");
    }
    /// The lengths of an input's corpus, as a file.
    PlanInput lengths(const std::string& file, const PlanInput& of) {
        write_lengths_jsonl(directory_ / file, lengths_of(*of.corpus()), Overwrite::yes);
        return PlanInput::open(directory_ / file, of.name());
    }

    TemporaryDirectory directory_;
    SmallPlan small_;
};

// ----------------------------------------------------------- what is written

TEST_F(PlanStoreTest, APlanComesBackAsItWasSaved) {
    EXPECT_TRUE(save(directory_ / "plan").wrote_jsonl);
    EXPECT_THAT(names_in(directory_ / "plan"), UnorderedElementsAre("plan.h5", "plan.jsonl", "metadata.json",
                                                                    "fingerprints.json", "stats.json"));
    EXPECT_TRUE(load_plan(directory_ / "plan", PlanCheck::content) == small_.plan);
    EXPECT_TRUE(load_plan(directory_ / "plan", PlanCheck::files) == small_.plan);
    check(directory_ / "plan");
}

TEST_F(PlanStoreTest, EveryKindOfPlanComesBack) {
    PlanOptions bucket = small_options();
    bucket.mode = PlanMode::bucket;
    bucket.token_budget = 80;
    bucket.bucket_edges = {8, 16, 24};
    bucket.bucket_overflow_max = 80;
    PlanOptions predictable = small_options();
    predictable.predictable = true;
    int number = 0;
    for (const PlanOptions& options : {bucket, predictable}) {
        const BatchPlan plan = plan_of(options, small_.inputs);
        const fs::path target = directory_ / ("plan-" + std::to_string(number++));
        save(target, plan, small_.inputs);
        EXPECT_TRUE(load_plan(target, PlanCheck::content) == plan);
        check(target);
    }
}

TEST_F(PlanStoreTest, EqualPlansAreEqualFiles) {
    save(directory_ / "a");
    save(directory_ / "b");
    for (const char* file : {"plan.h5", "plan.jsonl", "fingerprints.json", "stats.json"}) {
        EXPECT_EQ(read_file(directory_ / "a" / file), read_file(directory_ / "b" / file)) << file;
    }
}

TEST_F(PlanStoreTest, JsonLinesAgreeWithTheColumns) {
    save(directory_ / "plan");
    const BatchPlan& plan = small_.plan;
    std::istringstream lines(directory_.read("plan/plan.jsonl"));
    const std::vector<SmallSample> answered = answered_samples();
    std::string line;
    std::uint64_t pack = 0;
    for (; std::getline(lines, line); ++pack) {
        ASSERT_LT(pack, plan.num_packs());
        const json object = json::parse(line);
        const std::uint64_t step = step_of_pack(plan, pack);
        EXPECT_EQ(object["pack"], pack);
        EXPECT_EQ(object["step"], step);
        EXPECT_EQ(object["epoch"], plan.epoch_of(step));
        EXPECT_EQ(object["tokens"], plan.pack_tokens(pack));
        json samples = json::array(), packing = json::array(), offsets = json::array(), keys = json::array();
        bool any_offset = false, any_key = false;
        std::uint64_t at = 0;
        for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s) {
            const std::uint64_t sample = plan.segment_sample[s];
            samples.push_back(sample);
            packing.push_back({at, at + plan.segment_tokens[s]});
            at += plan.segment_tokens[s];
            offsets.push_back(plan.segment_offset[s]);
            any_offset = any_offset || plan.segment_offset[s] > 0;
            const std::uint64_t base = plan.sources[1].sample_base;
            keys.push_back(sample < base ? "" : answered[sample - base].key);
            any_key = any_key || sample >= base;
        }
        EXPECT_EQ(object["samples"], samples);
        EXPECT_EQ(object["packing"], packing);
        EXPECT_EQ(object.value("offsets", json()), any_offset ? offsets : json()) << line;
        EXPECT_EQ(object.value("keys", json()), any_key ? keys : json()) << line;
    }
    EXPECT_EQ(pack, plan.num_packs());
}

TEST_F(PlanStoreTest, JsonLinesAreWrittenWhenAskedFor) {
    EXPECT_FALSE(save(directory_ / "never", WriteJsonl::never).wrote_jsonl);
    EXPECT_FALSE(fs::exists(directory_ / "never" / "plan.jsonl"));
    check(directory_ / "never");
    EXPECT_TRUE(save(directory_ / "always", WriteJsonl::always).wrote_jsonl);
    check(directory_ / "always");
    EXPECT_TRUE(save(directory_ / "auto", WriteJsonl::automatic).wrote_jsonl);
    EXPECT_EQ(parse_write_jsonl("never"), WriteJsonl::never);
    EXPECT_EQ(parse_write_jsonl("always"), WriteJsonl::always);
    EXPECT_EQ(parse_write_jsonl("auto"), WriteJsonl::automatic);
    const Error error = error_of([] { parse_write_jsonl("maybe"); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("maybe"));
}

TEST_F(PlanStoreTest, MetadataAndFingerprintsSayWhatThePlanIs) {
    save(directory_ / "plan");
    const json metadata = json::parse(directory_.read("plan/metadata.json"));
    EXPECT_EQ(metadata["counts"]["packs"], small_.plan.num_packs());
    EXPECT_EQ(metadata["counts"]["steps"], small_.plan.num_steps());
    EXPECT_EQ(metadata["options"]["token_budget"], small_budget);
    EXPECT_EQ(metadata["seed"], small_.plan.options.seed);
    const json prints = json::parse(directory_.read("plan/fingerprints.json"));
    EXPECT_EQ(prints["plan"], small_.plan.fingerprints.plan.hex());
    EXPECT_EQ(prints["corpus"],
              json({small_.plan.sources[0].corpus.hex(), small_.plan.sources[1].corpus.hex()}));
    EXPECT_EQ(prints["epochs"].size(), small_.plan.num_epochs());
    const json stats = json::parse(directory_.read("plan/stats.json"));
    EXPECT_EQ(stats["packs"], small_.plan.num_packs());
    EXPECT_EQ(stats["dispositions"]["split"], 1);
}

// ----------------------------------------------------------- what is replaced

TEST_F(PlanStoreTest, AnExistingPlanIsReplacedOnlyWhenToldTo) {
    save(directory_ / "plan");
    const std::string before = directory_.read("plan/plan.h5");
    PlanOptions options = small_options();
    options.seed = 43;
    const BatchPlan other = plan_of(options, small_.inputs);
    EXPECT_EQ(error_of([&] { save(directory_ / "plan", other, small_.inputs); }).code(),
              ErrorCode::output_exists);
    EXPECT_EQ(directory_.read("plan/plan.h5"), before);
    EXPECT_TRUE(load_plan(directory_ / "plan", PlanCheck::content) == small_.plan);

    save(directory_ / "plan", other, small_.inputs, WriteJsonl::never, Overwrite::yes);
    EXPECT_TRUE(load_plan(directory_ / "plan", PlanCheck::content) == other);
    EXPECT_FALSE(fs::exists(directory_ / "plan" / "plan.jsonl")) << "nothing of the old one is left";
    EXPECT_THAT(names_in(directory_.path()), UnorderedElementsAre("plain.h5", "answered.h5", "plan"));
}

TEST_F(PlanStoreTest, ForceReplacesOnlyPlans) {
    directory_.write("thesis/chapter1.tex", "years of work");
    EXPECT_EQ(error_of([&] { save(directory_ / "thesis", WriteJsonl::never, Overwrite::yes); }).code(),
              ErrorCode::output_exists);
    EXPECT_EQ(directory_.read("thesis/chapter1.tex"), "years of work");
}

TEST_F(PlanStoreTest, ForceTakesAnEmptyFolder) {
    fs::create_directory(directory_ / "plan");
    EXPECT_EQ(error_of([&] { save(directory_ / "plan"); }).code(), ErrorCode::output_exists);
    save(directory_ / "plan", WriteJsonl::never, Overwrite::yes);
    check(directory_ / "plan");
}

TEST_F(PlanStoreTest, NothingIsLeftOfAPlanThatCannotBeWritten) {
    const auto before = names_in(directory_.path());
    directory_.write("file", "no folder");
    const Error below = error_of([&] { save(directory_ / "file" / "plan"); });
    EXPECT_THAT(below.what(), HasSubstr("cannot create the directory"));
    fs::remove(directory_ / "file");
    {
        // Lines are written by plain writes, columns are not.
        const FailingCalls full(FileCall::write, ENOSPC);
        const Error error = error_of([&] { save(directory_ / "plan", WriteJsonl::always); });
        EXPECT_EQ(error.code(), ErrorCode::io_failure);
        EXPECT_THAT(error.what(), HasSubstr("plan.jsonl"));
        EXPECT_THAT(error.what(), HasSubstr("No space left on device; free some space"));
    }
    EXPECT_EQ(names_in(directory_.path()), before);
    save(directory_ / "plan", WriteJsonl::always);
    check(directory_ / "plan");
}

TEST_F(PlanStoreTest, WhatAnInterruptedSaveLeftIsReplaced) {
    save(directory_ / "plan", WriteJsonl::always);
    fs::rename(directory_ / "plan", directory_ / "plan.tmp");
    save(directory_ / "plan", WriteJsonl::always);
    check(directory_ / "plan");
    EXPECT_FALSE(fs::exists(directory_ / "plan.tmp"));
}

TEST_F(PlanStoreTest, ATrailingSlashIsTheSameFolder) {
    save((directory_ / "plan").string() + "/");
    check(directory_ / "plan");
    EXPECT_EQ(error_of([&] { save((directory_ / "plan").string() + "/"); }).code(), ErrorCode::output_exists);
}

// ----------------------------------------------------------- what is found

TEST_F(PlanStoreTest, AnyFlippedByteIsFound) {
    const fs::path plan = directory_ / "plan";
    save(plan);
    for (const auto& [file, stride] : std::vector<std::pair<std::string, std::size_t>>{
             {"plan.h5", 61}, {"fingerprints.json", 7}, {"metadata.json", 7}, {"plan.jsonl", 67}}) {
        const std::string bytes = read_file(plan / file);
        std::size_t unnoticed = 0;
        for (std::size_t position = 0; position < bytes.size(); position += stride) {
            std::string altered = bytes;
            altered[position] =
                static_cast<char>(static_cast<unsigned char>(altered[position]) ^ (1U << (position % 8)));
            write_file(plan / file, altered);
            try {
                check(plan);
                ++unnoticed;
                ADD_FAILURE() << file << ", byte " << position;
            } catch (const Error&) {
            }
        }
        write_file(plan / file, bytes);
        EXPECT_EQ(unnoticed, 0U) << file;
    }
    check(plan);
}

TEST_F(PlanStoreTest, AMissingFileIsFound) {
    for (const char* file : {"plan.h5", "fingerprints.json", "metadata.json", "plan.jsonl"}) {
        const fs::path plan = directory_ / (std::string("without-") + file);
        save(plan);
        fs::remove(plan / file);
        EXPECT_THAT(error_of([&] { check(plan); }).what(), HasSubstr(file));
    }
    EXPECT_EQ(error_of([&] { load_plan(directory_ / "nowhere", PlanCheck::files); }).code(),
              ErrorCode::not_found);
}

TEST_F(PlanStoreTest, AForeignFileIsFound) {
    PlanOptions options = small_options();
    options.seed = 43;
    const BatchPlan other = plan_of(options, small_.inputs);
    save(directory_ / "other", other, small_.inputs);
    for (const char* file : {"plan.h5", "fingerprints.json", "plan.jsonl", "metadata.json"}) {
        const fs::path plan = directory_ / (std::string("with-foreign-") + file);
        save(plan);
        fs::copy_file(directory_ / "other" / file, plan / file, fs::copy_options::overwrite_existing);
        const Error error = error_of([&] { check(plan); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << error.what();
    }
    const fs::path plan = directory_ / "plan";
    save(plan);
    write_file(plan / "notes.txt", "mine");
    EXPECT_THAT(error_of([&] { check(plan); }).what(), HasSubstr("notes.txt"));
}

TEST_F(PlanStoreTest, RecordsOfTokenizersAreWholeOrNone) {
    const fs::path plan = directory_ / "plan";
    save(plan);
    const json sound = json::parse(unseal_json(directory_.read("plan/metadata.json"), "metadata.json"));
    ASSERT_EQ(sound.at("tokenizers").size(), 2U);
    const auto with = [&](const json& metadata) {
        write_file(plan / "metadata.json", seal_json(metadata.dump()));
        check(plan);
    };
    json older = sound;
    older.erase("tokenizers");
    with(older);
    json none = sound;
    none["tokenizers"] = json::array();
    with(none);
    with(sound);
    json fewer = sound;
    fewer["tokenizers"].erase(0);
    EXPECT_THAT(error_of([&] { with(fewer); }).what(), HasSubstr("'tokenizers'"));
    json nameless = sound;
    nameless["tokenizers"][1] = json::array({{{"digest", "0"}, {"count", 1}}});
    EXPECT_THAT(error_of([&] { with(nameless); }).what(), HasSubstr("'tokenizers[1]'"));
}

TEST_F(PlanStoreTest, TheRecordOfFilesIsOneOfTexts) {
    const fs::path plan = directory_ / "plan";
    save(plan);
    const json sound =
        json::parse(unseal_json(directory_.read("plan/fingerprints.json"), "fingerprints.json"));
    const auto refused = [&](const json& files, const std::string& noun) {
        json other = sound;
        other["files"] = files;
        write_file(plan / "fingerprints.json", seal_json(other.dump()));
        const Error error = error_of([&] { check(plan); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        EXPECT_THAT(error.what(), HasSubstr(noun));
    };
    refused(json::array({"plan.h5"}), "field 'files' is not an object");
    refused(json({{"plan.h5", 7}}), "field 'files.plan.h5' is no text");
    refused(json::object(), "it belongs to another plan.h5");
    write_file(plan / "fingerprints.json", seal_json(sound.dump()));
    check(plan);
}

TEST_F(PlanStoreTest, LinesThatDoNotBelongToThePlanAreFound) {
    save(directory_ / "plan", WriteJsonl::never);
    directory_.write("plan/plan.jsonl", "{}\n");
    EXPECT_THAT(error_of([&] { check(directory_ / "plan"); }).what(), HasSubstr("plan.jsonl"));
}

TEST_F(PlanStoreTest, ContentThatDoesNotMatchItsFingerprintIsFound) {
    // Sound digests throughout: only the recomputed tree can tell.
    BatchPlan altered = small_.plan;
    std::swap(altered.segment_sample[0], altered.segment_sample[1]);
    save(directory_ / "plan", altered, small_.inputs);
    load_plan(directory_ / "plan", PlanCheck::files);
    const Error error = error_of([&] { load_plan(directory_ / "plan", PlanCheck::content); });
    EXPECT_TRUE(error.code() == ErrorCode::corrupt_data || error.code() == ErrorCode::fingerprint_mismatch);
    EXPECT_THAT(error.what(), HasSubstr("plan.h5"));
}

// ----------------------------------------------------------- plan and corpora

TEST_F(PlanStoreTest, BindsToTheCorporaItWasBuiltFrom) {
    EXPECT_EQ(bind_sources(small_.plan, small_.inputs), small_.plan.sources);
}

TEST_F(PlanStoreTest, RefusesOtherCorpora) {
    const auto refused = [&](const std::vector<PlanInput>& inputs, ErrorCode code, const std::string& text) {
        const Error error = error_of([&] { bind_sources(small_.plan, inputs); });
        EXPECT_EQ(error.code(), code) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(text));
    };
    const PlanInput& plain = small_.inputs[0];
    const PlanInput& answered = small_.inputs[1];
    refused({plain}, ErrorCode::invalid_argument, "2 source(s), 1");
    refused({answered, plain}, ErrorCode::fingerprint_mismatch, "source 'plain'");
    refused({plain, corpus("other-tokenizer.h5", answered_samples(), "another")},
            ErrorCode::fingerprint_mismatch, "tokenizer");
    auto samples = answered_samples();
    samples[3].tokens.push_back(1);
    refused({plain, corpus("other-lengths.h5", samples)}, ErrorCode::fingerprint_mismatch, "sample lengths");
    samples = answered_samples();
    samples[3].tokens[0] ^= 1U;
    refused({plain, corpus("other-tokens.h5", samples)}, ErrorCode::fingerprint_mismatch, "corpus content");
    samples = answered_samples();
    samples[3].spans = std::vector<LossSpan>{{1, 2}};
    refused({plain, corpus("other-spans.h5", samples)}, ErrorCode::fingerprint_mismatch, "corpus content");
    refused({plain, lengths("lengths.jsonl", answered)}, ErrorCode::invalid_argument,
            "training needs, a corpus");
}

TEST_F(PlanStoreTest, APlanFromLengthsAloneIsBoundAndItsTargetsCounted) {
    const std::vector<PlanInput> from = {lengths("plain.jsonl", small_.inputs[0]),
                                         lengths("answered.jsonl", small_.inputs[1])};
    ASSERT_EQ(from[0].corpus(), nullptr);
    EXPECT_EQ(from[1].key(2), "answer-2");
    const BatchPlan built = plan_of(small_options(), from);
    ASSERT_TRUE(built.pack_targets.empty());
    save(directory_ / "plan", built, from);
    const BatchPlan plan = load_plan(directory_ / "plan", PlanCheck::content);
    ASSERT_TRUE(plan == built);

    const std::vector<PlanSource> bound = bind_sources(plan, small_.inputs);
    ASSERT_EQ(bound.size(), 2U);
    for (std::size_t i = 0; i < bound.size(); ++i) {
        EXPECT_EQ(bound[i].corpus, small_.inputs[i].corpus()->content_fingerprint());
        EXPECT_TRUE(plan.sources[i].corpus.empty());
    }
    // Lengths that do not say whose tokens they counted fit any tokenizer.
    BatchPlan silent = built;
    for (PlanSource& source : silent.sources) source.tokenizer_hash.clear();
    EXPECT_EQ(bind_sources(silent, small_.inputs)[1].tokenizer, bound[1].tokenizer);
    // The order does not depend on what is trained, so the plan from the corpora holds the same packs.
    ASSERT_EQ(plan.segment_sample, small_.plan.segment_sample);
    const TargetCount targets(plan.sources, small_.inputs);
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
        std::uint32_t count = 0;
        for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s)
            count += targets(plan.segment_sample[s], plan.segment_offset[s], plan.segment_tokens[s]);
        EXPECT_EQ(count, small_.plan.pack_targets[pack]) << "pack " << pack;
    }
}

TEST_F(PlanStoreTest, APlanFromLengthsAloneRefusesOtherLengthsAndTokenizers) {
    const std::vector<PlanInput> from = {lengths("answered.jsonl", small_.inputs[1])};
    const BatchPlan built = plan_of(small_options(), from);
    auto samples = answered_samples();
    samples[3].tokens.push_back(1);
    for (const PlanInput& other :
         {corpus("other-lengths.h5", samples), corpus("other-tokenizer.h5", answered_samples(), "another")}) {
        EXPECT_EQ(error_of([&] { bind_sources(built, {other}); }).code(), ErrorCode::fingerprint_mismatch);
    }
}

/// Room for a kilobyte.
class FullDisk : public ForwardingFiles {
  public:
    int free_bytes(const char*, std::uint64_t& bytes) override {
        bytes = 1000;
        return 0;
    }
};

TEST_F(PlanStoreTest, APlanLargerThanTheDiskIsNotBegun) {
    const EqualLengths equal(2500, 4);
    PlanOptions options;
    options.token_budget = 4;
    const BatchPlan plan = build_plan(options, equal.sources());
    const FullDisk full;
    expect_error(ErrorCode::io_failure, "bytes, the disk has 1000 free",
                 [&] { save(directory_ / "large", plan, {}, WriteJsonl::never); });
    EXPECT_FALSE(std::filesystem::exists(directory_ / "large"));
}

// A folder is written chunk by chunk; what is numbered through the plan must not begin anew with a chunk.
TEST_F(PlanStoreTest, PlansOfSeveralChunksAndEpochsAreNumberedThrough) {
    const EqualLengths equal(2500, 4);
    PlanOptions options;
    options.token_budget = 4;
    options.packs_per_step = 2;
    options.epochs = 2;
    const std::span<const SourceLengths> sources = equal.sources();
    const BatchPlan plan = build_plan(options, sources);
    ASSERT_GT(plan.fingerprints.chunks.size(), 3U);
    save(directory_ / "value", plan, {}, WriteJsonl::always);
    const BuiltPlanFolder built = build_plan_folder(directory_ / "streamed", options, {}, sources,
                                                    WriteJsonl::always, Overwrite::no, 2);
    EXPECT_EQ(built.head.fingerprints, plan.fingerprints);
    for (const char* name : {"plan.h5", "plan.jsonl", "fingerprints.json", "stats.json"}) {
        EXPECT_EQ(directory_.read(std::string("value/") + name),
                  directory_.read(std::string("streamed/") + name))
            << name;
    }
    EXPECT_EQ(load_plan(directory_ / "streamed", PlanCheck::content), plan);
    check(directory_ / "streamed");
    std::istringstream lines(directory_.read("streamed/plan.jsonl"));
    std::uint64_t pack = 0;
    for (std::string line; std::getline(lines, line); ++pack) {
        const json object = json::parse(line);
        ASSERT_EQ(object["pack"], pack);
        ASSERT_EQ(object["step"], pack / 2);
    }
    EXPECT_EQ(pack, 5000U);
}

TEST_F(PlanStoreTest, LongPlansGetLinesOnlyWhenAskedFor) {
    const std::vector<std::uint32_t> lengths(jsonl_segments_max + 1, 1);
    SourceLengths source;
    source.source.name = "long";
    source.source.lengths.bytes[0] = 1;
    source.sample_tokens = lengths;
    source.lengths_only = true;
    PlanOptions options;
    options.token_budget = 4096;
    const BuiltPlanFolder built = build_plan_folder(directory_ / "long", options, {}, {&source, 1},
                                                    WriteJsonl::automatic, Overwrite::no, 1);
    EXPECT_FALSE(built.saved.wrote_jsonl);
    EXPECT_FALSE(fs::exists(directory_ / "long" / "plan.jsonl"));
    EXPECT_EQ(PlanFile::open(directory_ / "long").num_segments(), lengths.size());
}

TEST_F(PlanStoreTest, ReplacingAPlanLeavesNothingBeside) {
    save(directory_ / "plan");
    const auto before = names_in(directory_.path());
    save(directory_ / "plan", WriteJsonl::never, Overwrite::yes);
    EXPECT_EQ(names_in(directory_.path()), before);
    EXPECT_FALSE(fs::exists(directory_ / "plan" / "plan.jsonl"));
    check(directory_ / "plan");
}

}  // namespace
}  // namespace lockstep
