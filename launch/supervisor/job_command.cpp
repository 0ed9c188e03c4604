#include "launch/supervisor/job_command.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr std::array<std::string_view, 5> launchers = {"mpirun", "mpiexec", "orterun", "mpirun.openmpi",
                                                       "mpiexec.openmpi"};
/// Options of train and resume without a value; only these may stand before resume's folder.
constexpr std::array<std::string_view, 3> flags = {"--json", "--quiet", "--recompute"};
constexpr std::array<std::string_view, 4> rank_options = {"-n", "-np", "--np", "-c"};

template <class List>
bool is_one_of(const List& list, std::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
}

std::string base_name(const std::string& word) {
    return std::filesystem::path(word).filename().string();
}

/// The value of an option at `index`: the next word, or what follows "=".
std::optional<std::string> option_value(const std::vector<std::string>& words, std::size_t index,
                                        std::string_view name) {
    const std::string& word = words[index];
    if (word == name) return index + 1 < words.size() ? std::optional(words[index + 1]) : std::nullopt;
    if (name.starts_with("--") && word.starts_with(std::string(name) + "="))
        return word.substr(name.size() + 1);
    return std::nullopt;
}

std::optional<std::string> find_option(const JobCommand& command, std::initializer_list<const char*> names) {
    for (std::size_t i = command.verb + 1; i < command.words.size(); ++i) {
        for (const char* name : names) {
            if (auto value = option_value(command.words, i, name)) return value;
        }
    }
    return std::nullopt;
}

std::string resumed_folder(const JobCommand& command) {
    for (std::size_t i = command.verb + 1; i < command.words.size(); ++i) {
        const std::string& word = command.words[i];
        if (!word.starts_with("-")) return word;
        if (!is_one_of(flags, word) && word.find('=') == std::string::npos) ++i;
    }
    return {};
}

/// Where mpirun's own options end: at the program.
std::size_t program_index(const JobCommand& command) {
    return command.verb < command.words.size() ? command.verb - 1 : command.words.size();
}

}  // namespace

JobCommand parse_job_command(std::vector<std::string> words, const std::string& run) {
    if (words.empty()) {
        throw Error(
            ErrorCode::invalid_argument,
            "no command to run; write it after --, as in lockstep run -- mpirun -n 4 lockstep train …");
    }
    JobCommand command;
    command.words = std::move(words);
    const auto& all = command.words;
    command.verb = all.size();
    for (std::size_t i = 0; i < all.size() && command.verb == all.size(); ++i) {
        if (is_one_of(launchers, base_name(all[i])) && !command.launcher) command.launcher = i;
        const bool ours = i > 0 && base_name(all[i - 1]).starts_with("lockstep");
        if (ours && (all[i] == "train" || all[i] == "resume")) command.verb = i;
    }
    if (command.verb < all.size()) {
        const std::string folder = all[command.verb] == "train"
                                       ? find_option(command, {"-o", "--output"}).value_or("")
                                       : resumed_folder(command);
        command.run = run.empty() ? folder : run;
        if (const auto timeout = find_option(command, {"--hang-timeout"})) {
            command.hang_timeout = std::atof(timeout->c_str());
        }
    } else {
        command.run = run;
    }
    if (command.run.empty()) {
        throw Error(
            ErrorCode::invalid_argument,
            "the command names no run folder (lockstep train -o RUN, or lockstep resume RUN); name it "
            "with --run RUN");
    }
    if (command.launcher) {
        for (std::size_t i = *command.launcher + 1; i + 1 < program_index(command); ++i) {
            if (is_one_of(rank_options, all[i])) command.ranks = std::atoi(all[i + 1].c_str());
        }
    }
    return command;
}

JobCommand moved_to(const JobCommand& command, const std::filesystem::path& run) {
    JobCommand moved = command;
    const std::string old = command.run.string();
    for (std::size_t i = command.verb + 1; i < moved.words.size(); ++i) {
        std::string& word = moved.words[i];
        const bool is_value = moved.words[i - 1] == "-o" || moved.words[i - 1] == "--output" ||
                              moved.words[command.verb] == "resume";
        if (word == old && is_value) word = run.string();
        if (word == "--output=" + old) word = "--output=" + run.string();
    }
    moved.run = run;
    return moved;
}

std::vector<std::string> words_of(const JobCommand& command, const JobStart& start) {
    std::vector<std::string> words;
    const std::size_t program = program_index(command);
    for (std::size_t i = 0; i < command.words.size(); ++i) {
        const std::string& word = command.words[i];
        const bool to_launcher = command.launcher && i > *command.launcher && i < program;
        if (to_launcher && start.ranks && is_one_of(rank_options, word)) {
            ++i;
            continue;
        }
        if (to_launcher && !start.hosts.empty() &&
            (word == "--host" || word == "-host" || word == "-H" || word == "--hostfile" ||
             word == "-hostfile")) {
            ++i;
            continue;
        }
        words.push_back(word);
        if (command.launcher && i == *command.launcher) {
            if (!start.hosts.empty()) words.insert(words.end(), {"--host", start.hosts});
            if (start.ranks) words.insert(words.end(), {"-n", std::to_string(*start.ranks)});
        }
        if (i != command.verb) continue;
        const auto rest = command.words.begin() + static_cast<std::ptrdiff_t>(i) + 1;
        if (word == "train" && std::find(rest, command.words.end(), "--continue") == command.words.end()) {
            words.emplace_back("--continue");
        }
        if (start.hang_timeout && !command.hang_timeout) {
            words.push_back("--hang-timeout=" + std::to_string(*start.hang_timeout));
        }
    }
    return words;
}

}  // namespace lockstep
