// Tokenizers as users have them, from their files to corpora, plans and starts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace lockstep::test {
namespace {

using testing::HasSubstr;

class TokenizerTest : public testing::Test {
  protected:
    std::string path(const std::string& name) const { return (directory_ / name).string(); }

    /// @return what it said, with one error in it.
    static std::string refused(const std::vector<std::string>& arguments, int code,
                               const Environment& environment = {}) {
        const ProgramResult result = run_lockstep_program(0, arguments, environment);
        EXPECT_EQ(result.exit_code, code) << result.out << result.err;
        const std::size_t first = result.err.find("error: ");
        EXPECT_NE(first, std::string::npos) << result.err;
        EXPECT_EQ(result.err.find("error: ", first + 1), std::string::npos) << result.err;
        return result.err;
    }

    TemporaryDirectory directory_;
};

TEST_F(TokenizerTest, AFileNestedWithoutEndIsRefused) {
    std::string text = R"({"version":"1.0","normalizer":)";
    for (int i = 0; i < 100'000; ++i) text += R"({"type":"Sequence","normalizers":[)";
    for (int i = 0; i < 100'000; ++i) text += "]}";
    directory_.write("tokenizer.json", text + R"(,"model":{}})");
    const std::string why = refused({"tokenizer", "encode", "-t", path("tokenizer.json"), "--text", "x"}, 65);
    EXPECT_THAT(why, HasSubstr("tokenizer.json"));
    EXPECT_THAT(why, HasSubstr("nested"));
}

}  // namespace
}  // namespace lockstep::test
