#include "launch/cli/invocation.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "io/base/error.h"

namespace lockstep {

void Invocation::say(const std::string& line) const {
    std::FILE* stream = json ? stderr : stdout;
    std::fputs((line + "\n").c_str(), stream);
    std::fflush(stream);
}

void Invocation::give(const nlohmann::ordered_json& object) const {
    if (!json) return;
    const std::string text =
        object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
    if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
        throw Error(ErrorCode::io_failure, "cannot write the result to standard output");
    }
}

CLI::App* add_verb(CLI::App& parent, Invocation& invocation, const std::string& name,
                   const std::string& description, const std::string& examples, std::function<int()> action) {
    CLI::App* verb = parent.add_subcommand(name, description + "\n\nExamples:\n" + examples);
    verb->add_flag("--json", invocation.json, "One JSON object on standard output, text on standard error");
    verb->callback([&invocation, action = std::move(action)] { invocation.action = action; });
    return verb;
}

void require_one_rank(const std::string& verb) {
    // srun with PMIx tells the size in Slurm's own variable; without a PMIx rank that only describes the
    // allocation.
    const char* slurm = std::getenv("PMIX_RANK") != nullptr ? "SLURM_NTASKS" : "PMI_SIZE";
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", slurm}) {
        const char* size = std::getenv(name);
        if (size != nullptr && std::atoi(size) > 1) {
            throw Error(ErrorCode::invalid_argument, "'" + verb + "' works on one rank, this is a world of " +
                                                         size + "; run it without mpirun");
        }
    }
}

std::string with_commas(std::uint64_t value) {
    std::string text = std::to_string(value);
    for (std::size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
    return text;
}

std::string fixed(double value, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

std::string bytes_text(std::uint64_t bytes) {
    const char* units[] = {"B", "kB", "MB", "GB", "TB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1000 && unit + 1 < std::size(units)) {
        value /= 1000;
        ++unit;
    }
    return fixed(value, unit == 0 ? 0 : 1) + " " + units[unit];
}

std::string duration_text(double seconds) {
    if (!(seconds >= 0) || seconds > 1e9) return "?";
    const auto total = static_cast<long>(std::lround(seconds));
    char text[64];
    if (total >= 3600) {
        std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", total / 3600, total / 60 % 60, total % 60);
    } else {
        std::snprintf(text, sizeof text, "%ld:%02ld", total / 60, total % 60);
    }
    return text;
}

std::string rate_text(double per_second) {
    if (per_second >= 1e12) return fixed(per_second / 1e12, 2) + "T";
    if (per_second >= 1e9) return fixed(per_second / 1e9, 2) + "G";
    if (per_second >= 1e6) return fixed(per_second / 1e6, 2) + "M";
    if (per_second >= 1e4) return fixed(per_second / 1e3, 1) + "k";
    return fixed(per_second, 0);
}

std::pair<std::string, std::string> split_named(const std::string& argument) {
    const std::size_t equals = argument.find('=');
    const std::size_t slash = argument.find('/');
    if (equals == std::string::npos || equals == 0 || (slash != std::string::npos && slash < equals)) {
        return {"", argument};
    }
    return {argument.substr(0, equals), argument.substr(equals + 1)};
}

}  // namespace lockstep
