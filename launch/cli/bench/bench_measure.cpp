#include "launch/cli/bench/bench_measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <sstream>

#include "coordinator/version.h"
#include "io/base/error.h"
#include "io/base/process_memory.h"
#include "kernels/blas_runtime.h"
#include "kernels/scalar_math.h"
#include "launch/cli/data/length_report.h"

namespace lockstep {

using nlohmann::ordered_json;

double seconds_of(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double best_seconds(int repeats, const std::function<void()>& work) {
    double best = seconds_of(work);
    for (int repeat = 1; repeat < repeats; ++repeat) best = std::min(best, seconds_of(work));
    return best;
}

double median_seconds(int repeats, const std::function<void()>& work) {
    std::vector<double> times;
    for (int repeat = 0; repeat < std::max(1, repeats); ++repeat) times.push_back(seconds_of(work));
    return median_of(std::move(times));
}

double median_of(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

double memcpy_seconds(int repeats, std::uint64_t bytes) {
    constexpr std::uint64_t bytes_timed_least = 1U << 24U;
    const std::uint64_t copies =
        std::max<std::uint64_t>(1, bytes_timed_least / std::max<std::uint64_t>(1, bytes));
    const std::vector<char> from(bytes, 1);
    std::vector<char> to(bytes, 0);
    const double seconds = median_seconds(repeats, [&] {
        for (std::uint64_t i = 0; i < copies; ++i) {
            std::memcpy(to.data(), from.data(), bytes);
            asm volatile("" : : "r"(to.data()) : "memory");
        }
    });
    return seconds / static_cast<double>(copies);
}

std::vector<std::uint32_t> log_normal_lengths(std::uint64_t seed, std::uint64_t samples, double mean,
                                              double sigma, std::uint32_t most) {
    const double mu = exact_log(mean) - sigma * sigma / 2;
    std::vector<std::uint32_t> lengths(samples);
    for (std::uint64_t i = 0; i < samples; ++i) {
        const double length = exact_exp(mu + sigma * static_cast<double>(standard_normal(seed, 0, i)));
        lengths[i] = static_cast<std::uint32_t>(std::clamp(length, 1.0, static_cast<double>(most)));
    }
    return lengths;
}

std::string limit_text(double limit) {
    if (limit == 0) return "";
    std::ostringstream text;
    text << " (limit " << limit << ')';
    return text.str();
}

void check_bench_output(const BenchOutput& output) {
    if (!(output.tolerance >= 0) || !(output.time_tolerance >= 0)) {
        throw Error(ErrorCode::invalid_argument, "tolerances are shares of 0 or more");
    }
    if (output.file.empty()) return;
    require_parent(output.file);
    require_writable_output(output.file, output.overwrite());
}

void add_bench_output(CLI::App& verb, BenchOutput& output) {
    verb.add_option("-o,--output", output.file, "JSON file to write");
    verb.add_option("--compare", output.compare, "Earlier JSON: exit 1 if something became worse");
    verb.add_option("--tolerance", output.tolerance,
                    "Of counts and ratios, as a share (" + fixed(output.tolerance, 2) + ")");
    verb.add_option(
        "--time-tolerance", output.time_tolerance,
        "Of times beside their probe, and of memory, as a share (" + fixed(output.time_tolerance, 2) + ")");
    verb.add_flag("--force", output.force, "Replace existing files");
}

void Regressions::check(const std::string& figure, const std::string& name, const ordered_json& before,
                        const ordered_json& now) {
    if (name.ends_with("_ratio")) check(figure, before, now, false, output_.time_tolerance);
    if (name.ends_with("_share")) check(figure, before, now, true, output_.time_tolerance);
    if (name.ends_with("_efficiency")) check(figure, before, now, true, output_.tolerance);
    if (name.ends_with("_count")) check(figure, before, now, false, output_.tolerance);
}

void Regressions::check(const std::string& figure, const ordered_json& before, const ordered_json& now,
                        bool more_is_better, double tolerance) {
    if (!before.is_number()) {
        throw Error(ErrorCode::corrupt_data, "'" + output_.compare + "' has no number '" + figure + "'");
    }
    const double from = before.get<double>();
    const double to = now.get<double>();
    // Twice the time is half the rate: one tolerance means the same in either direction.
    const bool is_worse = more_is_better ? to * (1 + tolerance) < from : to > from * (1 + tolerance);
    if (is_worse) {
        worse_.push_back(figure + " went from " + fixed(from, 4) + " to " + fixed(to, 4) +
                         ", more than the tolerance of " + percent(tolerance));
    }
}

const std::vector<std::string>& Regressions::say(const Invocation& invocation) const {
    for (const std::string& line : worse_) invocation.say("REGRESSION: " + line);
    if (worse_.empty()) {
        invocation.say("no regression against " + output_.compare + " (counts and ratios within " +
                       percent(output_.tolerance) + ", times beside their probe and memory within " +
                       percent(output_.time_tolerance) + ")");
    }
    return worse_;
}

ordered_json read_bench(const std::string& path, const std::string& format, std::uint64_t version,
                        const std::vector<std::string>& parts) {
    const auto old = ordered_json::parse(read_file(path), nullptr, false);
    const auto is_part = [&](const std::string& part) {
        return old.contains(part) && (old[part].is_object() || old[part].is_array());
    };
    if (!old.is_object() || !old.contains("format") || old["format"] != format ||
        !std::ranges::all_of(parts, is_part)) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + path + "' is not what this bench writes with -o; expected format " + format);
    }
    if (!old.contains("version") || old["version"] != version) {
        throw Error(ErrorCode::incompatible_version,
                    "'" + path + "' has figures of another kind (version " +
                        (old.contains("version") ? old["version"].dump() : "missing") + ", expected " +
                        std::to_string(version) + "); measure it again with -o");
    }
    return old;
}

void require_same_data(const ordered_json& now, const ordered_json& old, const std::string& old_path) {
    for (const auto& [field, value] : now.items()) {
        const ordered_json before = old.value(field, ordered_json());
        if (before == value) continue;
        throw Error(ErrorCode::invalid_argument, "'" + old_path + "' has another " + field + " (" +
                                                     before.dump() + ", here " + value.dump() +
                                                     "); only benches of one input can be compared");
    }
}

BenchReport::BenchReport(const Invocation& invocation, const std::string& verb, const BenchOutput& output,
                         std::uint64_t version)
    : invocation_(invocation), output_(output), regressions_(output) {
    check_bench_output(output);
    object_ = {{"format", "lockstep-bench-" + verb}, {"version", version}};
    if (!output.compare.empty())
        old_ = read_bench(output.compare, object_["format"], version, {"data", "rows"});
    object_["machine"] = {{"version", tool_version},
                          {"instruction_set", name_of(kernel_isa())},
                          {"blas_version", blas_version()},
                          {"blas_core_type", blas_core_type()}};
    object_["data"] = ordered_json::object();
    object_["rows"] = ordered_json::array();
}

void BenchReport::row(const std::string& what, const ordered_json& figures, const std::string& text) {
    constexpr std::size_t name_width = 46;
    invocation_.say("  " + what + std::string(what.size() < name_width ? name_width - what.size() : 1, ' ') +
                    text);
    ordered_json row = {{"what", what}};
    row.update(figures);
    object_["rows"].push_back(std::move(row));
}

void BenchReport::time_row(const std::string& what, double seconds, const std::vector<Probe>& probes,
                           double seconds_limit) {
    ordered_json figures = {{"seconds", seconds}};
    std::string text = fixed(seconds, 4) + " s" + limit_text(seconds_limit);
    if (seconds_limit > 0) figures["seconds_limit"] = seconds_limit;
    for (const Probe& probe : probes) {
        const double ratio = seconds / probe.seconds;
        figures[probe.name + "_ratio"] = ratio;
        text += "   " + fixed(ratio, 2) + " x " + probe.name + limit_text(probe.ratio_limit);
        if (probe.ratio_limit > 0) figures[probe.name + "_limit"] = probe.ratio_limit;
    }
    row(what, figures, text);
}

void BenchReport::compare() {
    require_same_data(object_["data"], old_["data"], output_.compare);
    for (const ordered_json& row : object_["rows"]) {
        const auto same = std::ranges::find_if(old_["rows"], [&](const ordered_json& before) {
            return before.is_object() && before.contains("what") && before["what"] == row["what"];
        });
        const ordered_json before = same == old_["rows"].end() ? ordered_json::object() : *same;
        for (const auto& [name, value] : row.items()) {
            regressions_.check(row["what"].get<std::string>() + ": " + name, name,
                               before.value(name, ordered_json()), value);
        }
    }
    object_["regressions"] = regressions_.say(invocation_);
}

int BenchReport::finish() {
    object_["peak_bytes"] = peak_resident_bytes();
    // First what took time to measure: a comparison may be refused.
    if (!output_.file.empty()) {
        write_file_atomically(output_.file, object_.dump(2) + "\n", output_.overwrite());
    }
    if (!output_.compare.empty()) compare();
    invocation_.give(object_);
    return regressions_.any() ? 1 : 0;
}

}  // namespace lockstep
