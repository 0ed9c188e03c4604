// How long does a plan of N samples take to build, to fingerprint and to validate,
// and how far is that from merely copying its bytes?
//
// Usage: plan_bench [samples = 1000000] [token budget = 4096] [epochs = 1]
// Lengths are log-normal (mean 600 before clipping, sigma 1.2), clipped to [1, budget].

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <numbers>
#include <string>
#include <vector>

#include "io/base/philox.h"
#include "plan/balance.h"
#include "plan/batch_plan.h"
#include "plan/dispositions.h"
#include "plan/packing.h"

namespace {

using namespace lockstep;

std::vector<std::uint32_t> log_normal_lengths(std::uint64_t num_samples, double longest) {
    const Philox philox(1234, "bench-lengths");
    const double sigma = 1.2;
    const double mu = std::log(600.0) - sigma * sigma / 2;
    std::vector<std::uint32_t> lengths(num_samples);
    for (std::uint64_t i = 0; i < num_samples; ++i) {
        const PhiloxCounter words = philox.block(i);
        const double u = (words[0] + 0.5) / 4294967296.0;
        const double v = (words[1] + 0.5) / 4294967296.0;
        const double normal = std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
        lengths[i] = static_cast<std::uint32_t>(std::clamp(std::exp(mu + sigma * normal), 1.0, longest));
    }
    return lengths;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Best of three.
template <class Work>
double best_seconds(Work work) {
    double best = 1e300;
    for (int repeat = 0; repeat < 3; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        work();
        best = std::min(best, seconds_since(start));
    }
    return best;
}

std::uint64_t plan_bytes(const BatchPlan& plan) {
    return plan.num_segments() * 16 + plan.num_packs() * 20 + plan.num_steps() * 8;
}

double memcpy_seconds(std::uint64_t bytes) {
    const std::vector<char> from(bytes, 1);
    std::vector<char> to(bytes, 0);
    return best_seconds([&] {
        std::memcpy(to.data(), from.data(), bytes);
        if (to[bytes / 2] != 1) std::abort();
    });
}

void run(std::uint64_t num_samples, std::uint32_t token_budget, std::uint64_t epochs) {
    const auto lengths = log_normal_lengths(num_samples, token_budget);
    SourceLengths source;
    source.source.name = "log-normal";
    source.sample_tokens = lengths;
    const std::vector<SourceLengths> sources = {source};
    PlanOptions options;
    options.token_budget = token_budget;
    options.epochs = epochs;

    const double fates = best_seconds([&] { decide_fates(options, sources); });
    const Fates cut = decide_fates(options, sources);
    const double packing = best_seconds([&] {
        const LengthClasses classes = classify_lengths(cut.segments.tokens);
        best_fit_decreasing(classes.tokens, classes.sizes(), token_budget);
    });
    BatchPlan plan;
    const double build = best_seconds([&] {
        plan = BatchPlan();
        plan = build_plan(options, sources);
    });
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const double fingerprint = best_seconds([&] { fingerprint_plan(plan); });
    const double validate = best_seconds([&] { validate_plan(plan, sources); });
    const double stats_seconds = best_seconds([&] { plan_stats(plan, sources); });
    const double copy = memcpy_seconds(plan_bytes(plan));
    const PlanStats stats = plan_stats(plan, sources);

    std::printf(
        "samples %llu, budget %u, epochs %llu: %llu packs (%llu in an epoch, bound %llu), utilization %.6f\n",
        static_cast<unsigned long long>(num_samples), token_budget, static_cast<unsigned long long>(epochs),
        static_cast<unsigned long long>(stats.packs),
        static_cast<unsigned long long>(stats.packs_first_epoch),
        static_cast<unsigned long long>(stats.packs_lower_bound), stats.utilization);
    std::printf("plan %llu bytes, %s, peak memory after building %ld MB\n",
                static_cast<unsigned long long>(plan_bytes(plan)), plan.fingerprints.plan.brief().c_str(),
                usage.ru_maxrss / 1024);
    const auto line = [&](const char* what, double seconds) {
        std::printf("%-36s %9.4f s %8.1f x memcpy\n", what, seconds, seconds / copy);
    };
    line("memcpy of the plan's bytes", copy);
    line("decide fates", fates);
    line("classify and pack", packing);
    line("build (all, fingerprint included)", build);
    line("fingerprint", fingerprint);
    line("validate with lengths", validate);
    line("statistics", stats_seconds);
    for (const auto& balance : stats.balance) {
        std::printf("balance, %2llu ranks: slowest over mean %.4f\n",
                    static_cast<unsigned long long>(balance.world_size), balance.slowest_over_mean);
    }
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const std::uint64_t num_samples = argc > 1 ? std::stoull(argv[1]) : 1'000'000;
        const auto token_budget = static_cast<std::uint32_t>(argc > 2 ? std::stoul(argv[2]) : 4096);
        run(num_samples, token_budget, argc > 3 ? std::stoull(argv[3]) : 1);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "plan_bench: %s\n", error.what());
        return 2;
    }
}
