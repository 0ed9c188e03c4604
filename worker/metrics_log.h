// worker/metrics_log.h
//
// metrics.jsonl and generations.jsonl: what people and plots watch. Without
// authority: nothing is ever decided from them.

#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "worker/generation_cost.h"

namespace lockstep {

struct StepMetrics {
    std::uint64_t step = 0;
    std::optional<double> loss;  ///< Mean over the step's targets [nat]; none without targets.
    double gradient_norm = 0;
    double learning_rate = 0;
    std::uint64_t tokens = 0;
    std::uint64_t targets = 0;
    double seconds = 0;
    bool skipped = false;                    ///< Not finite: no update.
    std::optional<bool> cross_check_agreed;  ///< Where a pack was checked: at once, or only once repeated.
};

/// 16 hexadecimal digits: the bits of a double.
std::string double_hex(double value);

/// One line of metrics.jsonl, or of generations.jsonl, without the line end.
std::string to_json(const StepMetrics& metrics);
std::string to_json(const GenerationCost& cost);

class MetricsLog {
  public:
    /// Opens run/metrics.jsonl for appending, after cutting it back to the steps before `next_step`.
    /// @throws Error{io_failure}.
    MetricsLog(const std::filesystem::path& run, std::uint64_t next_step);

    /// Append a line and pass it to the system. @throws Error{io_failure}.
    void append(const StepMetrics& metrics);
    /// Append to run/generations.jsonl, which is never cut back. @throws Error{io_failure}.
    void append(const GenerationCost& cost);

  private:
    void append_line(std::ofstream& file, const char* name, const std::string& line);

    std::filesystem::path run_;
    std::ofstream lines_, generations_;
};

}  // namespace lockstep
