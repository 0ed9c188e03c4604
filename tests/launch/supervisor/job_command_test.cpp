#include "launch/supervisor/job_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "io/base/error.h"

namespace lockstep {
namespace {

std::vector<std::string> split(const std::string& text) {
    std::istringstream stream(text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
    return text;
}

JobCommand parse(const std::string& text, const std::string& run = "") {
    return parse_job_command(split(text), run);
}

TEST(JobCommandTest, TheRunFolderIsFoundHoweverItIsWritten) {
    EXPECT_EQ(parse("mpirun -n 4 lockstep train -p plan -o run/x").run, "run/x");
    EXPECT_EQ(parse("lockstep train --output=run/x").run, "run/x");
    EXPECT_EQ(parse("/usr/bin/lockstep resume run/x --quiet").run, "run/x");
    EXPECT_EQ(parse("lockstep resume --quiet --steps 5 run/x").run, "run/x");
    EXPECT_EQ(parse("lockstep resume --steps=5 run/x").run, "run/x");
    EXPECT_EQ(parse("./job.sh", "run/x").run, "run/x");
}

TEST(JobCommandTest, ACommandWithoutARunIsRefused) {
    for (const std::string& text :
         {std::string(), std::string("sleep 5"), std::string("lockstep train -p plan"),
          std::string("lockstep resume"), std::string("lockstep train -o")}) {
        EXPECT_THROW(parse(text), Error) << text;
    }
}

TEST(JobCommandTest, TrainIsToldToContinueOnce) {
    EXPECT_EQ(joined(words_of(parse("mpirun -n 4 lockstep train -o r"), {})),
              "mpirun -n 4 lockstep train --continue -o r");
    EXPECT_EQ(joined(words_of(parse("lockstep train -o r --continue"), {})),
              "lockstep train -o r --continue");
    EXPECT_EQ(joined(words_of(parse("lockstep resume r"), {})), "lockstep resume r");
    EXPECT_EQ(joined(words_of(parse("./job.sh a b", "r"), {})), "./job.sh a b");
}

TEST(JobCommandTest, RanksAndHostsReplaceWhatWasTyped) {
    JobStart start;
    start.ranks = 3;
    EXPECT_EQ(joined(words_of(parse("mpirun -n 4 --bind-to none lockstep resume r"), start)),
              "mpirun -n 3 --bind-to none lockstep resume r");
    EXPECT_EQ(joined(words_of(parse("mpirun lockstep resume r"), start)), "mpirun -n 3 lockstep resume r");
    EXPECT_EQ(joined(words_of(parse("lockstep resume r -n 9"), start)), "lockstep resume r -n 9");
    start.hosts = "h1:2,h2:1";
    EXPECT_EQ(joined(words_of(parse("mpirun -np 8 --host h1:4,h2:4 lockstep train -o r"), start)),
              "mpirun --host h1:2,h2:1 -n 3 lockstep train --continue -o r");
}

TEST(JobCommandTest, TheTimeoutIsHandedOnUnlessThereIsOne) {
    JobStart start;
    start.hang_timeout = 20;
    EXPECT_EQ(joined(words_of(parse("lockstep resume r"), start)),
              "lockstep resume --hang-timeout=20.000000 r");
    const JobCommand own = parse("lockstep resume r --hang-timeout 7");
    EXPECT_EQ(own.hang_timeout, 7);
    EXPECT_EQ(joined(words_of(own, start)), "lockstep resume r --hang-timeout 7");
}

TEST(JobCommandTest, VariablesAreHandedOnByTheLauncherAlone) {
    JobStart start;
    start.ranks = 2;
    start.handed_on = {"A", "B"};
    EXPECT_EQ(joined(words_of(parse("mpirun -n 4 lockstep resume r"), start)),
              "mpirun -n 2 -x A -x B lockstep resume r");
    EXPECT_EQ(joined(words_of(parse("lockstep resume r"), start)), "lockstep resume r");
}

TEST(JobCommandTest, OptionsOfProgramsBetweenLauncherAndLockstepAreTheirOwn) {
    JobStart start;
    start.ranks = 3;
    start.hosts = "h1:3";
    EXPECT_EQ(parse("mpirun taskset -c 0-3 lockstep resume r").ranks, std::nullopt);
    EXPECT_EQ(joined(words_of(parse("mpirun -n 4 taskset -c 0-3 lockstep resume r"), start)),
              "mpirun --host h1:3 -n 3 taskset -c 0-3 lockstep resume r");
    EXPECT_EQ(joined(words_of(parse("mpirun -n 4 nice -n 10 lockstep resume r"), start)),
              "mpirun --host h1:3 -n 3 nice -n 10 lockstep resume r");
    EXPECT_EQ(joined(words_of(parse("mpirun -n 4 ./job.sh --host a -n 9", "r"), start)),
              "mpirun --host h1:3 -n 3 ./job.sh --host a -n 9");
    // Values of mpirun's other options are no programs.
    EXPECT_EQ(
        parse("mpirun -x A --mca btl tcp,self --map-by slot --oversubscribe -n 4 lockstep resume r").ranks,
        4);
}

TEST(JobCommandTest, TheLaunchersRanksAreKnown) {
    EXPECT_EQ(parse("mpirun --oversubscribe -n 4 lockstep train -o r").ranks, 4);
    EXPECT_EQ(parse("mpirun --n 4 lockstep train -o r").ranks, 4);
    JobStart start;
    start.hosts = "h1:2";
    EXPECT_EQ(joined(words_of(parse("mpirun --machinefile all --n 2 lockstep resume r"), start)),
              "mpirun --host h1:2 --n 2 lockstep resume r");
    for (const char* text : {"mpirun -n 0 lockstep resume r", "mpirun -n x lockstep resume r",
                             "mpirun -np -2 lockstep resume r", "mpirun -n 4x lockstep resume r"}) {
        EXPECT_THROW(parse(text), Error) << text;
    }
    EXPECT_FALSE(parse("lockstep train -o r -n 4").ranks.has_value());
}

}  // namespace
}  // namespace lockstep
