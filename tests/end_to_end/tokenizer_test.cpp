// The tokenizer verbs as a user runs them.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/program.h"

namespace lockstep::test {
namespace {

TEST(TokenizerEncodeTest, OffsetsSayWhereTokensStand) {
    const std::vector<std::string> encode{"tokenizer", "encode", "-t", "bytes", "--text", "a\u00e9"};
    const auto with = [&](std::initializer_list<std::string> more) {
        std::vector<std::string> arguments = encode;
        arguments.insert(arguments.end(), more);
        const ProgramResult result = run_lockstep_program(0, arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result.out;
    };
    EXPECT_EQ(with({"--offsets"}), "0\t1\t97\ta\n1\t3\t195\t\uFFFD\n1\t3\t169\t\uFFFD\n");
    const auto object = nlohmann::json::parse(with({"--offsets", "--json"}));
    EXPECT_EQ(object.at("ids").dump(), "[[97,195,169]]");
    EXPECT_EQ(object.at("offsets").dump(), "[[[0,1],[1,3],[1,3]]]");
    EXPECT_FALSE(nlohmann::json::parse(with({"--json"})).contains("offsets"));
}

}  // namespace
}  // namespace lockstep::test
