#include "worker/checkpoint_schedule.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr double default_failure_seconds = 4 * 3600.0;
/// Until a generation has shown what it costs.
constexpr double first_interval_seconds = 30;
/// A generation is never written for more than half of the time.
constexpr double writes_per_interval = 2;

[[noreturn]] void refuse(std::string_view text) {
    throw Error(ErrorCode::invalid_argument,
                "--checkpoint-every is '" + std::string(text) +
                    "', expected steps as 100, a time as 30s, 10m or 2h, or auto, or auto:8h with the mean "
                    "time between failures");
}

/// "30s", "2.5h"; above 0, at most ten years.
double parse_seconds(std::string_view duration, std::string_view whole) {
    constexpr std::string_view units = "smhd";
    constexpr double unit_seconds[] = {1, 60, 3600, 86400};
    const std::size_t unit = duration.empty() ? std::string_view::npos : units.find(duration.back());
    if (unit == std::string_view::npos) refuse(whole);
    double value = 0;
    const char* const last = duration.data() + duration.size() - 1;
    const auto [end, failure] = std::from_chars(duration.data(), last, value, std::chars_format::fixed);
    const double seconds = value * unit_seconds[unit];
    if (failure != std::errc() || end != last || !(seconds > 0) || seconds > 3650 * 86400.0) refuse(whole);
    return seconds;
}

}  // namespace

CheckpointInterval parse_checkpoint_interval(std::string_view text) {
    CheckpointInterval interval;
    constexpr std::string_view automatic = "auto";
    if (text.starts_with(automatic)) {
        const std::string_view rest = text.substr(automatic.size());
        if (!rest.empty() && rest.front() != ':') refuse(text);
        interval.kind = CheckpointInterval::Kind::automatic;
        interval.seconds = rest.empty() ? default_failure_seconds : parse_seconds(rest.substr(1), text);
        return interval;
    }
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), interval.steps);
    if (failure == std::errc() && end == text.data() + text.size()) return interval;
    interval = {};
    interval.kind = CheckpointInterval::Kind::seconds;
    interval.seconds = parse_seconds(text, text);
    return interval;
}

CheckpointSchedule::CheckpointSchedule(const CheckpointInterval& interval, int threads, double now)
    : interval_(interval), threads_(std::max(threads, 1)), last_(now) {
    if (interval.kind == CheckpointInterval::Kind::seconds) seconds_ = interval.seconds;
    if (interval.kind == CheckpointInterval::Kind::automatic) seconds_ = first_interval_seconds;
}

bool CheckpointSchedule::due_after(std::uint64_t steps_done) const {
    return interval_.kind == CheckpointInterval::Kind::steps && interval_.steps > 0 &&
           steps_done % interval_.steps == 0;
}

bool CheckpointSchedule::due_at(double now) const {
    return interval_.kind != CheckpointInterval::Kind::steps && now - last_ >= seconds_;
}

void CheckpointSchedule::learned(const GenerationCost& cost) {
    if (interval_.kind != CheckpointInterval::Kind::automatic) return;
    // What the run loses by a generation: the stall, and the processor time its other threads do without.
    const double lost = cost.stall_seconds + cost.processor_seconds / threads_;
    seconds_ = std::max(std::sqrt(2 * lost * interval_.seconds), writes_per_interval * cost.durable_seconds);
}

}  // namespace lockstep
