// launch/cli/bench/bench_measure.h
//
// What the verbs below `bench` share: times and probes, made-up lengths, rows that
// are a table for people and JSON for machines, and the comparison with an earlier
// run.
//
// A machine's speed differs and drifts, so every time stands beside a probe of the
// same run. What is compared says its direction by the end of its name:
//
//   _ratio       time over a probe's, less is better   (time tolerance)
//   _share       rate over a probe's, more is better   (time tolerance)
//   _efficiency  more is better                        (tolerance)
//   _count       less is better                        (tolerance)
//
// All other fields inform, and are not compared. FIGURE_limit is what was promised of a
// figure: it stands beside it and is not asserted.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/files/atomic_file.h"
#include "launch/cli/invocation.h"

namespace lockstep {

/// Of one call [s].
double seconds_of(const std::function<void()>& work);
double best_seconds(int repeats, const std::function<void()>& work);
double median_seconds(int repeats, const std::function<void()>& work);
/// The upper one of an even number. @pre not empty.
double median_of(std::vector<double> values);

/// Median time of copying so many bytes between two touched buffers [s]. Small ones are copied many times
/// over, for a time that a clock can tell.
double memcpy_seconds(int repeats, std::uint64_t bytes);

/// Log-normal lengths, clipped to [1, most], the same on every machine.
/// @param mean  before clipping.
std::vector<std::uint32_t> log_normal_lengths(std::uint64_t seed, std::uint64_t samples, double mean,
                                              double sigma, std::uint32_t most);

/// " (limit 0.2)", or nothing where nothing was promised (0).
std::string limit_text(double limit);

/// -o, --compare and their company.
struct BenchOutput {
    std::string file, compare;
    double tolerance = 0.01;
    double time_tolerance = 1.0;
    bool force = false;

    Overwrite overwrite() const { return force ? Overwrite::yes : Overwrite::no; }
};
/// What must hold before anything takes time. @throws Error{invalid_argument, output_exists}.
void check_bench_output(const BenchOutput& output);
void add_bench_output(CLI::App& verb, BenchOutput& output);

/// What became worse by more than its tolerance, in words.
class Regressions {
  public:
    explicit Regressions(const BenchOutput& output) : output_(output) {}

    /// One figure by the end of its name; one that says no direction is passed over.
    /// @param figure  `name` with the place it stands in, for people.
    /// @throws Error{corrupt_data} if `before` is no number.
    void check(const std::string& figure, const std::string& name, const nlohmann::ordered_json& before,
               const nlohmann::ordered_json& now);
    void check(const std::string& figure, const nlohmann::ordered_json& before,
               const nlohmann::ordered_json& now, bool more_is_better, double tolerance);

    bool any() const { return !worse_.empty(); }
    /// Say them, or that there are none. @return them.
    const std::vector<std::string>& say(const Invocation& invocation) const;

  private:
    const BenchOutput& output_;
    std::vector<std::string> worse_;
};

/// An earlier result of this format. @throws Error{corrupt_data} if it is another or lacks one of `parts`.
nlohmann::ordered_json read_bench(const std::string& path, const std::string& format, std::uint64_t version,
                                  const std::vector<std::string>& parts);
/// Only benches of one input can be compared. @throws Error{invalid_argument} naming the first field of
/// `data` that differs.
void require_same_data(const nlohmann::ordered_json& now, const nlohmann::ordered_json& old,
                       const std::string& old_path);

/// The result of a bench whose rows are alike: {"format", "version", "machine", "data", "rows"}, a row being
/// {"what", figures…}.
class BenchReport {
  public:
    /// @param verb  "step": the format is lockstep-bench-step.
    /// @param version  of what its figures mean; results of another one are not compared.
    /// Checks the options and reads the earlier result, before anything takes time.
    BenchReport(const Invocation& invocation, const std::string& verb, const BenchOutput& output,
                std::uint64_t version = 1);

    /// What must be equal for a comparison.
    nlohmann::ordered_json& data() { return object_["data"]; }
    /// About the machine: informs.
    nlohmann::ordered_json& machine() { return object_["machine"]; }

    /// One row of figures, said as `text` behind its name.
    void row(const std::string& what, const nlohmann::ordered_json& figures, const std::string& text);
    struct Probe {
        std::string name;
        double seconds;
        double ratio_limit = 0;  ///< Promised of the time over this probe's; 0: nothing.
    };
    /// "what   0.1234 s (limit 0.2)   1.23 x memcpy", with the figures seconds and PROBE_ratio for every
    /// probe, and seconds_limit and PROBE_limit where something was promised.
    /// @param seconds_limit  promised [s]; 0: nothing.
    void time_row(const std::string& what, double seconds, const std::vector<Probe>& probes,
                  double seconds_limit = 0);

    /// Write, compare and give. @return the exit code: 1 if something became worse.
    int finish();

  private:
    void compare();

    const Invocation& invocation_;
    const BenchOutput& output_;
    nlohmann::ordered_json object_, old_;
    Regressions regressions_;
};

}  // namespace lockstep
