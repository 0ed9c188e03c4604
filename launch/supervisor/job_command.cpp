#include "launch/supervisor/job_command.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <system_error>

#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr std::array<std::string_view, 5> launchers = {"mpirun", "mpiexec", "orterun", "mpirun.openmpi",
                                                       "mpiexec.openmpi"};
/// Options of train and resume without a value; only these may stand before resume's folder.
constexpr std::array<std::string_view, 5> flags = {"--json", "--quiet", "--recompute", "--sync-checkpoints",
                                                   "--use-lora"};
constexpr std::array<std::string_view, 5> rank_options = {"-n", "--n", "-np", "--np", "-c"};
constexpr std::array<std::string_view, 7> host_options = {
    "-H", "-host", "--host", "-hostfile", "--hostfile", "-machinefile", "--machinefile"};

/// mpirun's options with a value, without their dashes (Open MPI 4.1, mpirun --help all); those with two.
constexpr std::array<std::string_view, 47> launcher_values = {"am",
                                                              "app",
                                                              "bind-to",
                                                              "c",
                                                              "cartofile",
                                                              "cf",
                                                              "cpu-list",
                                                              "cpu-set",
                                                              "cpus-per-proc",
                                                              "cpus-per-rank",
                                                              "debugger",
                                                              "default-hostfile",
                                                              "H",
                                                              "hnp",
                                                              "host",
                                                              "hostfile",
                                                              "launch-agent",
                                                              "machinefile",
                                                              "map-by",
                                                              "max-restarts",
                                                              "max-vm-size",
                                                              "N",
                                                              "n",
                                                              "np",
                                                              "npernode",
                                                              "npersocket",
                                                              "ompi-server",
                                                              "output-filename",
                                                              "path",
                                                              "personality",
                                                              "ppr",
                                                              "prefix",
                                                              "preload-files",
                                                              "rank-by",
                                                              "rankfile",
                                                              "report-events",
                                                              "report-pid",
                                                              "report-uri",
                                                              "rf",
                                                              "stdin",
                                                              "timeout",
                                                              "tune",
                                                              "wd",
                                                              "wdir",
                                                              "x",
                                                              "xml-file",
                                                              "xterm"};
constexpr std::array<std::string_view, 2> launcher_pairs = {"mca", "gmca"};

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

/// Where mpirun's own options end: at the program, lockstep or one that starts it (taskset, nice).
std::size_t find_program(const JobCommand& command) {
    const auto& all = command.words;
    const std::size_t end = command.verb < all.size() ? command.verb - 1 : all.size();
    std::size_t i = command.launcher ? *command.launcher + 1 : 0;
    while (i < end && all[i].starts_with("-")) {
        const std::string_view name = std::string_view(all[i]).substr(all[i].starts_with("--") ? 2 : 1);
        i += is_one_of(launcher_pairs, name) ? 3U : is_one_of(launcher_values, name) ? 2U : 1U;
    }
    return std::min(i, end);
}

int parse_ranks(const std::string& option, const std::string& text) {
    int ranks = 0;
    const auto [last, failure] = std::from_chars(text.data(), text.data() + text.size(), ranks);
    if (failure != std::errc() || last != text.data() + text.size() || ranks < 1) {
        throw Error(ErrorCode::invalid_argument,
                    "the launcher's " + option + " is '" + text + "'; expected a number of ranks, 1 or more");
    }
    return ranks;
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
            "the command names no run folder; write lockstep train -o RUN or lockstep resume RUN (before a "
            "script, lockstep run takes --run RUN)");
    }
    if (command.launcher) {
        command.program = find_program(command);
        for (std::size_t i = *command.launcher + 1; i + 1 < command.program; ++i) {
            if (is_one_of(rank_options, all[i])) command.ranks = parse_ranks(all[i], all[i + 1]);
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
    for (std::size_t i = 0; i < command.words.size(); ++i) {
        const std::string& word = command.words[i];
        const bool to_launcher = command.launcher && i > *command.launcher && i < command.program;
        if (to_launcher && start.ranks && is_one_of(rank_options, word)) {
            ++i;
            continue;
        }
        if (to_launcher && !start.hosts.empty() && is_one_of(host_options, word)) {
            ++i;
            continue;
        }
        words.push_back(word);
        if (command.launcher && i == *command.launcher) {
            if (!start.hosts.empty()) words.insert(words.end(), {"--host", start.hosts});
            if (start.ranks) words.insert(words.end(), {"-n", std::to_string(*start.ranks)});
            for (const std::string& name : start.handed_on) words.insert(words.end(), {"-x", name});
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
