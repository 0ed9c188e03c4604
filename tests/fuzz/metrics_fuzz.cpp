// metrics.jsonl as a killed run left it: what the supervisor counts of it, and what a start cuts off.

#include <cmath>
#include <fstream>
#include <stdexcept>

#include "io/files/atomic_file.h"
#include "launch/supervisor/run_report.h"
#include "tests/fuzz/support/fuzz_target.h"
#include "worker/metrics_log.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    constexpr std::uint64_t next_step = 7;
    const auto file = fuzz::memory_file("metrics.jsonl", fuzz::text_of(data, size));
    fuzz::read_or_refuse([&] {
        const double seconds = productive_seconds(fuzz::memory_folder(), 2);
        if (!std::isfinite(seconds) || seconds < 0) throw std::logic_error("no time at all");
        MetricsLog log(fuzz::memory_folder(), next_step);
        StepMetrics metrics;
        metrics.step = next_step;
        log.append(metrics);
        const std::string text = read_file(file);
        if (text.empty() || text.back() != '\n') throw std::logic_error("a torn line is left");
        const MetricsLog again(fuzz::memory_folder(), next_step + 1);
        if (read_file(file) != text) throw std::logic_error("cut back twice");
    });
    return 0;
}
