#include "launch/chaos/error_clarity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace lockstep {
namespace {

using ::testing::StartsWith;

TEST(ErrorClarityTest, TakesWhatReadersSay) {
    for (const char* text : {
             "'run/run.json' is not a JSON object (17 bytes), expected one with its digest; restore it from "
             "a copy",
             "generation 120 of 'run': manifest 'run/checkpoints/step-00000120/manifest.json': field "
             "'digest' is "
             "1f2e…, expected 9a8b… of its content; the file was altered, use another generation",
             "'a plan/plan.h5' is a file of format 'lockstep-corpus', expected 'lockstep-plan'",
             "'plan': field 'format_version' is 9, this build reads up to 3; use the Lockstep that wrote it",
             "'shard-00001.h5' has 4096 bytes, expected 8192",
             "manifest 'step-00000018/manifest.json' is of step 2, expected 18 as its folder is named",
             "source 'a': 'answered.h5' is a lengths file, expected what training needs, a corpus",
             "generation 18 of 'run' belongs to plan 2c97…, expected 0576… as run.json and revisions.json "
             "say",
             "'lengths.h5' is empty (0 bytes); expected a corpus, a length cache or lengths as JSONL",
             "'plan.jsonl': it ends before step 10, pack 29; its digest is bad85ad0…, expected 5dc2cf54… as "
             "fingerprints.json says; build the plan again or restore the folder from a copy",
             "'lengths.jsonl' holds lengths 1f2e…, expected 9a8b…",
         }) {
        EXPECT_EQ(why_unclear(text), "") << text;
    }
}

TEST(ErrorClarityTest, RefusesWhatNobodyCanActOn) {
    const struct {
        std::string text, why;
    } cases[] = {
        {"'plan.h5' has 3 columns,\nexpected 4", "an error of several lines"},
        {"no", "an error nobody can use"},
        {"'plan.h5' has 3 columns, expected 4" + std::string(2000, '.'), "an error nobody can use"},
        {"'plan.h5' is not what it was, expected more", "an error that does not name what"},
        // The words in a path say nothing of what is wrong.
        {"'my lengths/column/digest.h5' is not what it was, expected more",
         "an error that does not name what"},
        {"/lengths/column/digest.h5 is not what it was, expected more", "an error that does not name what"},
        {"'plan.h5' has 3 columns; restore it from a copy", "an error without what was expected"},
        {"'found has/expected 4' has 3 columns", "an error without what was expected"},
        {"'plan.h5': expected 4 columns", "an error without what was found"},
        {"'plan.h5': a column is wrong, expected another", "an error without what was found"},
        {"'plan.h5': a column is damaged, the digest is invalid, expected another",
         "an error without what was found"},
        {"'plan.h5': the digest is bad, expected another", "an error without what was found"},
        {"'plan.h5': expected 4 columns; it has 3", "an error without what was found"},
        {"'it has/3' expected 4 columns", "an error without what was found"},
    };
    for (const auto& [text, why] : cases) EXPECT_THAT(why_unclear(text), StartsWith(why)) << text;
}

}  // namespace
}  // namespace lockstep
