#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "io/base/error.h"
#include "io/run/checkpoint.h"
#include "io/run/manifest_check.h"
#include "tests/io/run/damage.h"
#include "tests/io/run/manifest_edit.h"
#include "tests/io/run/small_run.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ManifestTest : public testing::Test {
  protected:
    ManifestTest() {
        SmallRun run(directory_.path());
        run.commit(2, 1);
        manifest_ = run.commit(4, 3);
        json_ = to_json(manifest_);
    }

    static Error error_for(const std::string& json) {
        return error_of([&] { manifest_from_json(json, "a/manifest.json"); });
    }

    /// The field at `pointer` set to `value` must be refused, with `noun` in the message.
    void expect_refused(const std::string& pointer, const std::string& value, const std::string& noun) const {
        const Error error = error_for(with_value(json_, pointer, value));
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << pointer << " = " << value;
        EXPECT_THAT(error.what(), HasSubstr(noun));
    }

    TemporaryDirectory directory_;
    Manifest manifest_;
    std::string json_;
};

TEST_F(ManifestTest, ComesBackAsItWasWritten) {
    const Manifest read = manifest_from_json(json_, "here");
    EXPECT_EQ(to_json(read), json_);
    EXPECT_EQ(read.cursor, manifest_.cursor);
    EXPECT_EQ(read.parent_step, 2U);
    EXPECT_EQ(read.ledger_head, manifest_.ledger_head);
    EXPECT_EQ(read.shards.size(), 3U);
}

TEST_F(ManifestTest, OfTheStartHasNeitherLedgerNorParent) {
    SmallRun start(directory_ / "start");
    const std::string json = to_json(start.commit(0, 1));
    EXPECT_THAT(json, HasSubstr("\"ledger_head\": null"));
    EXPECT_THAT(json, HasSubstr("\"parent_step\": null"));
    EXPECT_FALSE(manifest_from_json(json, "here").ledger_head.has_value());
}

TEST_F(ManifestTest, AScaleMayBeBelowOne) {
    manifest_.cursor.scale_exponent = -17;
    EXPECT_EQ(manifest_from_json(to_json(manifest_), "here").cursor.scale_exponent, -17);
}

TEST_F(ManifestTest, HasSortedKeysAndItsOwnDigest) {
    EXPECT_THAT(json_, HasSubstr("\"digest\": \"" + digest_of_manifest(json_) + "\""));
    // Any JSON library that sorts keys writes the same document.
    EXPECT_EQ(with_value(json_, "/step", "4"), json_);
    EXPECT_THAT(json_, HasSubstr("\"format\": \"lockstep-manifest\""));
    EXPECT_THAT(json_, HasSubstr("\"format_version\": 1"));
}

TEST_F(ManifestTest, NoticesEveryFlippedBitAndEveryCut) {
    const fs::path file = directory_.write("copy.json", json_);
    const auto read = [&] { manifest_from_json(read_file(file), file.string()); };
    EXPECT_EQ(unnoticed_bit_flips(file, read), 0U);
    EXPECT_EQ(unnoticed_truncations(file, read), 0U);
}

TEST_F(ManifestTest, NamesTheMissingField) {
    std::size_t fields = 0;
    for (const std::string& pointer : pointers_of(json_)) {
        const std::string key = pointer.substr(pointer.rfind('/') + 1);
        if (key.find_first_not_of("0123456789") == std::string::npos) continue;  // An element of `shards`.
        const Error error = error_for(without_member(json_, pointer));
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << pointer;
        EXPECT_THAT(error.what(), HasSubstr(key));
        EXPECT_THAT(error.what(), HasSubstr("a/manifest.json"));
        ++fields;
    }
    EXPECT_EQ(fields, 9U + 10U + 3U * 5U + 2U);
}

TEST_F(ManifestTest, NamesTheMistypedField) {
    const std::set<std::string> counters = {"epoch", "targets_seen", "clean_steps", "skipped_in_a_row",
                                            "file_bytes"};
    for (const std::string& pointer : pointers_of(json_)) {
        const std::string key = pointer.substr(pointer.rfind('/') + 1);
        for (const std::string value :
             {"true", "\"text\"", "-1", "1.5", "[]", "{}", "18446744073709551615", "18446744073709551616"}) {
            // A counter may be large, s negative, and a name any name: these are sound.
            if (value == "18446744073709551615" && counters.contains(key)) continue;
            if (value == "-1" && key == "scale_exponent") continue;
            if (value == "\"text\"" && key == "numerics") continue;
            const Error error = error_for(with_value(json_, pointer, value));
            EXPECT_EQ(exit_code_of(error.code()), 65) << pointer << " = " << value;
            EXPECT_THAT(error.what(), HasSubstr(key));
        }
    }
}

TEST_F(ManifestTest, NamesTheUnknownField) {
    for (const std::string parent : {"", "/cursor", "/shards/1", "/ledger_head"}) {
        expect_refused(parent + "/extra", "1", "extra' is unknown");
    }
}

TEST_F(ManifestTest, RefusesANewerVersionByNumber) {
    const std::string newer =
        with_value(with_value(json_, "/something_new", "[1, 2]"), "/format_version", "2");
    const Error error = error_for(newer);
    EXPECT_EQ(error.code(), ErrorCode::incompatible_version);
    EXPECT_THAT(error.what(), HasSubstr("is 2, this build reads up to 1"));
}

TEST_F(ManifestTest, RefusesSlicesWithGapsOverlapsOrStrangeNames) {
    expect_refused("/shards/1/slice_begin", "9", "shards[1].slice_begin");  // A gap.
    expect_refused("/shards/1/slice_begin", "7", "shards[1].slice_begin");  // An overlap.
    expect_refused("/shards/0/slice_begin", "1", "shards[0].slice_begin");  // The beginning is missing.
    expect_refused("/shards/2/slice_end", "22", "state_elements");          // The end is missing.
    expect_refused("/shards/2/slice_end", "24", "shards[2].slice_end");
    expect_refused("/shards/2/slice_end", "3", "shards[2].slice_end");  // Backwards.
    expect_refused("/shards/1/file", "\"shard-00000-of-00003.h5\"", "shards[1].file");
    expect_refused("/shards/1/file", "\"../../other/shard-00001-of-00003.h5\"", "shards[1].file");
    expect_refused("/shards/1/digest", "\"12\"", "shards[1].digest");
    expect_refused("/shards", "[]", "empty");
}

TEST_F(ManifestTest, RefusesStepsThatDoNotAgree) {
    expect_refused("/cursor/next_step", "5", "next_step");
    expect_refused("/step", "5", "next_step");
    expect_refused("/parent_step", "4", "parent_step");
    expect_refused("/ledger_head", "null", "ledger_head");
    expect_refused("/ledger_head/file", "\"steps-00000002-00000005-1a2b3c4d.h5\"", "ledger_head.file");
    expect_refused("/ledger_head/file", "\"../x\"", "ledger_head.file");
    expect_refused("/cursor/numerics", "\"fma 256\\n\"", "numerics");
    expect_refused("/cursor/numerics", "\"\"", "numerics");
    expect_refused("/cursor/numerics", '"' + std::string(65, 'x') + '"', "numerics");
    // What a terminal would act on is not passed on.
    expect_refused("/cursor/numerics", "\"fma\x7f\"", "'fma?'");
    SmallRun start(directory_ / "start");
    const Error early =
        error_for(with_value(to_json(start.commit(0, 1)), "/ledger_head",
                             R"({"file": "steps-00000000-00000002-1a2b3c4d.h5", "digest": ""})"));
    EXPECT_EQ(early.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(early.what(), HasSubstr("names a segment before the first step"));
    expect_refused("/ledger_head/digest", "\"12\"", "ledger_head.digest");
}

TEST_F(ManifestTest, RefusesItsOwnContentInAnotherSpelling) {
    std::string twice = json_;
    twice.replace(0, 1, "{\n  \"step\": 99,");
    std::string upper = json_;
    upper.replace(upper.find_first_of("abcdef", upper.find("\"ledger_root\": \"") + 16), 1, "A");
    std::string spaced = json_;
    spaced.replace(spaced.find(": "), 2, ":  ");
    for (const std::string& text : {json_ + "\n", " " + json_, json_ + "x", twice, upper, spaced}) {
        EXPECT_EQ(error_for(text).code(), ErrorCode::corrupt_data) << text;
    }
}

TEST_F(ManifestTest, RefusesAnyOtherText) {
    std::string deep_objects;
    for (int i = 0; i < 100000; ++i) deep_objects += "{\"a\":";
    const std::string deep_value = std::string(100000, '[') + std::string(100000, ']');
    const std::string numerics = "\"numerics\": \"fma256\"";
    const std::string version = "\"format_version\": 1";
    std::string nested = json_;
    nested.replace(nested.find(numerics), numerics.size(), "\"numerics\": " + deep_value);
    std::string nested_newer = nested;
    nested_newer.replace(nested_newer.find(version), version.size(), "\"format_version\": 9");
    const std::string format = "{\"format\":\"lockstep-manifest\"";
    for (const std::string& text :
         {std::string(), std::string("null"), std::string("[]"), std::string("{}"),
          std::string("\0\xff\xfe", 3), std::string(200000, '['), deep_objects, nested, nested_newer,
          format + "}", format + ",\"format_version\":1e400}", format + ",\"format_version\":0}"}) {
        EXPECT_EQ(exit_code_of(error_for(text).code()), 65) << text.substr(0, 100);
    }
}

// Asked about manifests of newer versions, whose fields we do not know.
TEST_F(ManifestTest, ADigestHoldsWhateverTheFieldsAre) {
    EXPECT_TRUE(manifest_digest_holds(json_));
    EXPECT_TRUE(manifest_digest_holds(with_value(json_, "/something_new", R"([1, {"a": 2}])")));
    std::string other = json_;
    other.replace(other.find("\"step\": 4"), 9, "\"step\": 5");
    for (const std::string& text :
         {other, std::string("7"), std::string("{\"digest\": 7}"), std::string("{\"step\": 4}"),
          std::string("{"),
          "{\"a\": " + std::string(17, '[') + std::string(17, ']') + ", \"digest\": \"0\"}"}) {
        EXPECT_FALSE(manifest_digest_holds(text)) << text;
    }
}

}  // namespace
}  // namespace lockstep
