#include <filesystem>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/tokenizer/analysis/tokenizer_check.h"
#include "launch/cli/tokenizer/tokenizer_input.h"
#include "launch/cli/tokenizer/tokenizer_verbs.h"

namespace lockstep {

namespace {

struct DoctorArguments {
    TokenizerArguments common;
    bool fix = false;
};

std::string mark_of(FindingLevel level) {
    return level == FindingLevel::good ? "ok     " : level == FindingLevel::advice ? "advice " : "PROBLEM";
}

/// Writes tokenizer_config.json of the folder with what it lacked. tokenizer.json stays as it is.
std::vector<std::string> fix(const Tokenizer& tokenizer, const std::string& name) {
    if (!std::filesystem::is_directory(name)) {
        throw Error(ErrorCode::invalid_argument, "--fix completes the tokenizer_config.json of a folder; '" +
                                                     name + "' is none, put its tokenizer.json into one");
    }
    const std::filesystem::path path = std::filesystem::path(name) / "tokenizer_config.json";
    std::vector<std::string> changes;
    const std::string before = std::filesystem::exists(path) ? read_file(path) : "";
    const std::string after = repaired_config(tokenizer, before, changes);
    if (!changes.empty()) write_file_atomically(path, after, Overwrite::yes);
    return changes;
}

int run_doctor(const Invocation& invocation, const DoctorArguments& arguments) {
    auto tokenizer = open_tokenizer(arguments.common);
    std::vector<std::string> changes;
    if (arguments.fix) {
        changes = fix(*tokenizer, arguments.common.tokenizer);
        tokenizer = open_tokenizer(arguments.common);
    }
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    std::size_t problems = 0;
    for (const std::string& change : changes) invocation.say("fixed    " + change);
    for (const Finding& finding : check_tokenizer(*tokenizer)) {
        problems += finding.level == FindingLevel::problem ? 1U : 0U;
        invocation.say(mark_of(finding.level) + "  " + finding.text);
        const char* const level = finding.level == FindingLevel::good     ? "good"
                                  : finding.level == FindingLevel::advice ? "advice"
                                                                          : "problem";
        list.push_back({{"name", finding.name}, {"level", level}, {"text", finding.text}});
    }
    invocation.give({{"tokenizer", tokenizer->fingerprint().hex()},
                     {"problems", problems},
                     {"fixed", changes},
                     {"findings", list}});
    return problems == 0 ? 0 : exit_code_of(ErrorCode::check_failed);
}

}  // namespace

void add_tokenizer_doctor(CLI::App& tokenizer, Invocation& invocation) {
    auto arguments = std::make_shared<DoctorArguments>();
    CLI::App* verb = add_verb(tokenizer, invocation, "doctor",
                              "What is wrong with a tokenizer; exit code 1 if anything is",
                              "  lockstep tokenizer doctor -t tokenizer.json\n"
                              "  lockstep tokenizer doctor -t model/ --fix",
                              [&invocation, arguments] { return run_doctor(invocation, *arguments); });
    add_tokenizer_options(*verb, arguments->common);
    verb->add_flag("--fix", arguments->fix,
                   "Complete the folder's tokenizer_config.json: BOS, EOS, PAD, chat template");
}

}  // namespace lockstep
