#include <gtest/gtest.h>

#include "io/base/error.h"
#include "launch/lockstep.h"
#include "tests/faults/malformed/malformed_case.h"

namespace lockstep {

namespace {

/// What the program says of a command line, as an Error again.
void parse(std::vector<std::string> words) {
    words.insert(words.begin(), "lockstep");
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    testing::internal::CaptureStderr();
    const int code = check_arguments(static_cast<int>(words.size()), arguments.data());
    std::string said = testing::internal::GetCapturedStderr();
    if (code == 0) return;
    while (said.ends_with('\n')) said.pop_back();
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
    throw Error(code == 2 ? ErrorCode::invalid_argument : ErrorCode::bug, said);
}

}  // namespace

void add_argument_cases(const MalformedWorld&, MalformedCases& cases) {
    const auto add = [&](const std::vector<std::string>& words, const std::string& noun) {
        std::string name = "arguments/lockstep";
        for (const std::string& word : words) name += " " + word;
        cases.push_back({name, 2, {noun}, [words] { parse(words); }});
    };
    const std::vector<std::string> verbs = {"ingest", "lengths", "batchplan", "train",     "resume",
                                            "verify", "inspect", "corpus",    "tokenizer", "checkpoint",
                                            "bench",  "run",     "chaos",     "launch"};
    for (const std::string& verb : verbs) {
        add({verb, "--no-such-option"}, "--no-such-option");
        if (verb != "run") add({verb + "x"}, "did you mean '" + verb + "'");
    }
    for (const char* verb : {"ingest", "resume", "verify", "inspect", "batchplan", "chaos", "run"})
        add({verb}, "");
    add({}, "");
    for (const char* option : {"--steps", "--lr", "--checkpoint-every", "--keep", "--seed"}) {
        const std::string name = option;
        add({"train", "-p", "p", "-d", "c.h5", "-m", "nano", "-o", "r", name}, name);
        add({"train", "-p", "p", "-d", "c.h5", "-m", "nano", "-o", "r", name, "-5"}, name + " is -5");
        add({"train", "-p", "p", "-d", "c.h5", "-m", "nano", "-o", "r", name + "=-5"}, name + " is -5");
    }
    for (const char* option : {"--steps", "--lr", "--keep", "--seed"})
        add({"train", "-p", "p", "-d", "c.h5", "-m", "nano", "-o", "r", option, "many"}, "many");
    for (const char* option : {"-b", "-e", "--packs-per-step", "--seed"}) {
        add({"batchplan", "build", "-l", "c.h5", "-o", "p", option, "many"}, "many");
        add({"batchplan", "build", "-l", "c.h5", "-o", "p", option, "-1"}, "-1");
    }
    add({"chaos", "--kills", "0", "-o", "x", "--", "run"}, "--kills");
    add({"chaos", "--kills", "1", "--power", "1", "-o", "x", "--", "run"}, "--power");
    add({"chaos", "--corrupt", "1", "--power", "1", "-o", "x", "--", "run"}, "--power");
    add({"batchplan", "biuld"}, "did you mean 'build'");
    add({"train", "--chekpoint-every", "5", "-o", "x"}, "did you mean '--checkpoint-every'");
}

}  // namespace lockstep
