#include "launch/supervisor/run_report.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/files/atomic_file.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

/// A year.
constexpr double step_seconds_max = 3.2e7;

std::string seconds_text(double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f s", seconds);
    return text;
}

ordered_json to_object(const Attempt& attempt) {
    ordered_json object = {{"started", attempt.started},     {"trained", nullptr},
                           {"ended", attempt.ended},         {"ranks", nullptr},
                           {"first_step", nullptr},          {"last_step", nullptr},
                           {"exit_code", attempt.exit_code}, {"hung", attempt.hung},
                           {"verdict", attempt.verdict}};
    if (attempt.trained) object["trained"] = *attempt.trained;
    if (attempt.ranks) object["ranks"] = *attempt.ranks;
    if (attempt.first_step) object["first_step"] = *attempt.first_step;
    if (attempt.last_step) object["last_step"] = *attempt.last_step;
    return object;
}

}  // namespace

double RunReport::effective_share() const {
    return outcome.seconds > 0 ? std::clamp(productive_seconds / outcome.seconds, 0.0, 1.0) : 0;
}

double RunReport::starting_seconds() const {
    double seconds = 0;
    for (const Attempt& a : outcome.attempts) seconds += a.trained.value_or(a.ended) - a.started;
    return seconds;
}

double RunReport::waiting_seconds() const {
    double seconds = 0;
    double last_end = 0;
    for (const Attempt& a : outcome.attempts) {
        seconds += a.started - last_end;
        last_end = a.ended;
    }
    // A stop request can come while hosts or a pause are waited for.
    return seconds + std::max(0.0, outcome.seconds - last_end);
}

double RunReport::other_lost_seconds() const {
    return std::max(0.0, lost_seconds() - starting_seconds() - waiting_seconds());
}

double productive_seconds(const std::filesystem::path& run, std::uint64_t first_step) {
    std::ifstream file(run / "metrics.jsonl");
    double seconds = 0;
    for (std::string line; std::getline(file, line);) {
        const auto object = ordered_json::parse(line, nullptr, false);
        if (!object.is_object() || !object.contains("step") || !object["step"].is_number_unsigned()) continue;
        if (object["step"].get<std::uint64_t>() < first_step) continue;
        if (!object.contains("seconds") || !object["seconds"].is_number()) continue;
        const auto took = object["seconds"].get<double>();
        // A line that was damaged must not make the report say infinity.
        if (took >= 0 && took < step_seconds_max) seconds += took;
    }
    return seconds;
}

std::string to_json(const RunReport& report) {
    ordered_json object = {{"command", report.command},
                           {"exit_code", report.outcome.exit_code},
                           {"seconds", report.outcome.seconds},
                           {"productive_seconds", report.productive_seconds},
                           {"effective_share", report.effective_share()},
                           {"lost_seconds", report.lost_seconds()},
                           {"lost_starting", report.starting_seconds()},
                           {"lost_waiting", report.waiting_seconds()},
                           {"lost_otherwise", report.other_lost_seconds()},
                           {"restarts", report.restarts()},
                           {"quarantined", report.outcome.quarantined},
                           {"attempts", ordered_json::array()}};
    for (const Attempt& attempt : report.outcome.attempts) object["attempts"].push_back(to_object(attempt));
    return object.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

std::string to_text(const RunReport& report) {
    char share[32];
    std::snprintf(share, sizeof share, "%.1f %%", 100 * report.effective_share());
    return "effective training time " + std::string(share) + ": " + seconds_text(report.productive_seconds) +
           " of " + seconds_text(report.outcome.seconds) + ", " + std::to_string(report.restarts()) +
           " restart(s); lost " + seconds_text(report.starting_seconds()) + " starting, " +
           seconds_text(report.waiting_seconds()) + " waiting, " + seconds_text(report.other_lost_seconds()) +
           " in steps done again, commits and ends";
}

void write_run_report(const std::filesystem::path& run, const RunReport& report) {
    try {
        write_file_atomically(run / "supervisor.json", to_json(report) + "\n", Overwrite::yes);
    } catch (const Error&) {
        return;
    }
}

}  // namespace lockstep
