// `lockstep run` reads the command it keeps alive; what it takes for flags must be what resume takes for
// flags.

#include <gtest/gtest.h>

#include "launch/cli/invocation.h"
#include "launch/supervisor/job_command.h"

namespace lockstep {
namespace {

TEST(CommandOptionsTest, TheRunFolderIsFoundBehindEveryOptionOfResume) {
    CLI::App app;
    Invocation invocation;
    add_resume(app, invocation);
    int flags = 0, valued = 0;
    for (const CLI::Option* option : app.get_subcommand("resume")->get_options()) {
        if (option->get_positional() || option->check_lname("help")) continue;
        const bool is_flag = option->get_expected_max() == 0;
        ++(is_flag ? flags : valued);
        std::vector<std::string> names;
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
        for (const std::string& name : option->get_snames()) names.push_back("-" + name);
        for (const std::string& name : names) {
            std::vector<std::string> words = {"lockstep", "resume", name};
            if (!is_flag) words.emplace_back("value");
            words.emplace_back("the-run");
            EXPECT_EQ(parse_job_command(words, "").run, "the-run") << name;
        }
    }
    EXPECT_GE(flags, 4);
    EXPECT_GE(valued, 10);
}

}  // namespace
}  // namespace lockstep
