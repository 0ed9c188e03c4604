// `lockstep bench`: the whole way from lengths to a plan, measured.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>

#include "io/atomic_file.h"
#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/length_cache.h"
#include "kernels/scalar_math.h"
#include "launch/cli/length_report.h"
#include "plan/batch_plan.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t bench_version = 1;

struct BenchArguments {
    std::string lengths;
    std::uint64_t samples = 100'000;
    std::string distribution = "log-normal";
    std::uint64_t seed = 42;
    std::uint32_t budget = 4096;
    BucketArguments buckets;
    std::string output, markdown, compare;
    double tolerance = 0.01;
    double time_tolerance = 1.0;
    bool force = false;
};

std::vector<std::uint32_t> synthetic_lengths(const BenchArguments& a) {
    const bool uniform = a.distribution == "uniform";
    if (!uniform && a.distribution != "log-normal") {
        throw Error(ErrorCode::invalid_argument, "--distribution is '" + a.distribution +
                                                     "'; expected log-normal (mean 600, up to 4096) or "
                                                     "uniform (32 to 2048)");
    }
    if (a.samples < 1 || a.samples > 100'000'000)
        throw Error(ErrorCode::invalid_argument,
                    "--samples is " + std::to_string(a.samples) + "; expected 1 to 100,000,000");
    const Philox random(a.seed, "bench-lengths");
    const double sigma = 1.2;
    const double mu = exact_log(600.0) - sigma * sigma / 2;
    std::vector<std::uint32_t> lengths(a.samples);
    for (std::uint64_t i = 0; i < a.samples; ++i) {
        if (uniform) {
            lengths[i] = static_cast<std::uint32_t>(32 + random.below(i, 2048 - 32 + 1));
        } else {
            const double length = exact_exp(mu + sigma * static_cast<double>(standard_normal(a.seed, 0, i)));
            lengths[i] = static_cast<std::uint32_t>(std::clamp(length, 1.0, 4096.0));
        }
    }
    return lengths;
}

/// Best of three [s].
double seconds_of(const std::function<void()>& work) {
    double best = 1e300;
    for (int repeat = 0; repeat < 3; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        work();
        best =
            std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

std::uint64_t peak_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

/// A plan of these options and how long it took.
struct BuiltBench {
    PlanStats stats;
    double seconds = 0, validate_seconds = 0;
};

BuiltBench bench_plan(const PlanOptions& options, const SourceLengths& source) {
    const std::span<const SourceLengths> sources(&source, 1);
    BuiltBench built;
    BatchPlan plan;
    built.seconds = seconds_of([&] { plan = build_plan(options, sources); });
    built.validate_seconds = seconds_of([&] { validate_plan(plan, sources); });
    built.stats = plan_stats(plan, sources);
    return built;
}

/// One stage: seconds, and as a multiple of copying the lengths, which machines share.
ordered_json stage(double seconds, double copy_seconds, std::uint64_t samples) {
    return {{"seconds", seconds},
            {"samples_per_second", static_cast<double>(samples) / seconds},
            {"memcpy_ratio", seconds / copy_seconds}};
}

ordered_json measure(const Invocation& invocation, const BenchArguments& a) {
    LengthColumns columns;
    if (a.lengths.empty()) columns.sample_tokens = synthetic_lengths(a);
    const LengthCache cache = a.lengths.empty() ? LengthCache(std::move(columns)) : open_lengths(a.lengths);
    const std::span<const std::uint32_t> samples = cache.sample_tokens();
    if (samples.empty()) throw Error(ErrorCode::invalid_argument, "'" + a.lengths + "' holds no samples");
    ordered_json object = {{"format", "lockstep-bench"}, {"version", bench_version}};
    object["data"] = {{"source", a.lengths.empty() ? "synthetic " + a.distribution : a.lengths},
                      {"lengths_fingerprint", cache.lengths_fingerprint().hex()},
                      {"token_budget", a.budget},
                      {"bucket_edges", a.buckets.edges},
                      {"bucket_overflow_max", a.buckets.overflow_max}};

    // Many copies: one of a small input is too short to time.
    std::vector<std::uint32_t> copy(samples.size());
    const int copies = static_cast<int>(std::max<std::size_t>(1, (std::size_t{1} << 22U) / samples.size()));
    const double copy_seconds = seconds_of([&] {
                                    for (int i = 0; i < copies; ++i) {
                                        std::memcpy(copy.data(), samples.data(), samples.size_bytes());
                                        asm volatile("" : : "r"(copy.data()) : "memory");
                                    }
                                }) /
                                copies;
    std::vector<LengthCount> lengths;
    ordered_json stages;
    const double counting = seconds_of([&] { lengths = count_lengths(samples); });
    stages["count_lengths"] = stage(counting, copy_seconds, samples.size());
    const LengthSummary summary = summarize_lengths(lengths);
    const BucketUses uses = use_of_buckets(lengths, a.buckets.edges, a.buckets.overflow_max);
    const WasteComparison waste = compare_waste(lengths, a.buckets.edges, a.buckets.overflow_max, a.budget);
    say_summary(invocation, summary);
    object["summary"] = summary_json(summary);
    object["histogram"] = say_histogram(invocation, equal_bins(lengths, 10), 50);
    object["bucketing"] = say_buckets(invocation, uses);
    const auto num_buckets =
        static_cast<std::uint32_t>(std::min<std::size_t>(a.buckets.edges.size() + 1, bucket_count_max));
    BucketEdges best;
    const double edges =
        seconds_of([&] { best = optimal_bucket_edges(lengths, num_buckets, a.buckets.overflow_max); });
    stages["optimal_edges"] = stage(edges, copy_seconds, samples.size());
    object["optimal_edges"] = {{"edges", best.edges}, {"efficiency", best.efficiency()}};
    object["waste"] = say_waste(invocation, waste);

    PlanOptions options;
    options.token_budget = a.budget;
    options.seed = a.seed;
    options.long_policy = LongPolicy::split;
    SourceLengths source;
    source.source.name = "bench";
    source.source.lengths = cache.lengths_fingerprint();
    source.sample_tokens = samples;
    source.lengths_only = true;
    const BuiltBench packed = bench_plan(options, source);
    stages["build_packed"] = stage(packed.seconds, copy_seconds, samples.size());
    stages["validate_packed"] = stage(packed.validate_seconds, copy_seconds, samples.size());
    options.mode = PlanMode::bucket;
    options.bucket_edges = a.buckets.edges;
    // Buckets beyond the budget cannot be built; what is longer is split.
    std::erase_if(options.bucket_edges, [&](std::uint32_t edge) { return edge >= a.budget; });
    options.bucket_overflow_max = std::min(a.buckets.overflow_max, a.budget);
    const bool can_bucket = !options.bucket_edges.empty();
    BuiltBench bucketed;
    if (can_bucket) {
        bucketed = bench_plan(options, source);
        stages["build_bucketed"] = stage(bucketed.seconds, copy_seconds, samples.size());
    }
    object["stages"] = stages;
    invocation.say("throughput (best of three, and as a multiple of copying the lengths):");
    for (const auto& [name, row] : stages.items()) {
        invocation.say("  " + name + "  " + fixed(1000 * row["seconds"].get<double>(), 3) + " ms, " +
                       rate_text(row["samples_per_second"]) + " samples/s, " +
                       fixed(row["memcpy_ratio"].get<double>(), 1) + " x memcpy");
    }
    const double tokens_rate = static_cast<double>(packed.stats.planned_tokens) / packed.seconds;
    const std::uint64_t peak = peak_bytes();
    invocation.say("planned " + rate_text(tokens_rate) + " tokens/s; peak memory " + bytes_text(peak));
    object["planned_tokens_per_second"] = tokens_rate;
    object["peak_bytes"] = peak;
    // What is compared: counts and ratios, with the direction that is worse.
    object["measures"] = {{"bucket_efficiency", uses.efficiency()},
                          {"optimal_bucket_efficiency", best.efficiency()},
                          {"utilization", packed.stats.utilization},
                          {"packing_ratio", packed.stats.packing_ratio},
                          {"packs", packed.stats.packs},
                          {"steps", packed.stats.steps},
                          {"overlap_tokens", packed.stats.overlap_tokens},
                          {"bucketed_packs", bucketed.stats.packs}};
    object["recommendations"] =
        say_advice(invocation, advise_on_lengths(lengths, a.buckets.edges, a.buckets.overflow_max, a.budget));
    return object;
}

std::string markdown_of(const ordered_json& object) {
    std::string text = "# Pipeline bench\n\n" + object["data"]["source"].get<std::string>() + ", " +
                       with_commas(object["summary"]["samples"]) + " samples, " +
                       with_commas(object["summary"]["tokens"]) + " tokens, budget " +
                       with_commas(object["data"]["token_budget"]) + "\n\n| Measure | Value |\n|---|---|\n";
    for (const auto& [name, value] : object["measures"].items()) {
        text += "| " + name + " | " +
                (value.is_number_float() ? fixed(value.get<double>(), 4) : with_commas(value)) + " |\n";
    }
    text += "| peak memory | " + bytes_text(object["peak_bytes"]) + " |\n\n";
    text += "| Stage | ms | samples/s | x memcpy |\n|---|---|---|---|\n";
    for (const auto& [name, row] : object["stages"].items()) {
        text += "| " + name + " | " + fixed(1000 * row["seconds"].get<double>(), 3) + " | " +
                rate_text(row["samples_per_second"]) + " | " + fixed(row["memcpy_ratio"].get<double>(), 1) +
                " |\n";
    }
    text += "\n| Lengths | Samples |\n|---|---|\n";
    for (const auto& bin : object["histogram"]) {
        text +=
            "| " + bin["from"].dump() + "-" + bin["to"].dump() + " | " + with_commas(bin["samples"]) + " |\n";
    }
    text += "\n";
    for (const auto& item : object["recommendations"]) text += "- " + item["text"].get<std::string>() + "\n";
    return text;
}

ordered_json read_old(const std::string& path) {
    const auto old = ordered_json::parse(read_file(path), nullptr, false);
    const bool sound = old.is_object() && old.value("format", "") == "lockstep-bench" &&
                       old.contains("data") && old.contains("measures") && old.contains("stages") &&
                       old["data"].is_object() && old["measures"].is_object() && old["stages"].is_object();
    if (!sound) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + path + "' is not what `lockstep bench -o` writes; expected format lockstep-bench");
    }
    return old;
}

/// What became worse by more than its tolerance, in words.
std::vector<std::string> regressions(const ordered_json& now, const ordered_json& old,
                                     const BenchArguments& a) {
    for (const char* field : {"lengths_fingerprint", "token_budget", "bucket_edges", "bucket_overflow_max"}) {
        if (now["data"][field] != old["data"].value(field, ordered_json())) {
            throw Error(ErrorCode::invalid_argument, "'" + a.compare + "' has another " + field + " (" +
                                                         old["data"].value(field, ordered_json()).dump() +
                                                         ", here " + now["data"][field].dump() +
                                                         "); only benches of one input can be compared");
        }
    }
    std::vector<std::string> worse;
    const auto check = [&](const std::string& name, const ordered_json& before, const ordered_json& after,
                           bool more_is_better, double tolerance) {
        if (!before.is_number()) {
            throw Error(ErrorCode::corrupt_data, "'" + a.compare + "' has no number '" + name + "'");
        }
        const double from = before.get<double>();
        const double to = after.get<double>();
        const bool is_worse = more_is_better ? to < from * (1 - tolerance) : to > from * (1 + tolerance);
        if (is_worse)
            worse.push_back(name + " went from " + fixed(from, 4) + " to " + fixed(to, 4) +
                            ", more than the tolerance of " + percent(tolerance));
    };
    for (const auto& [name, value] : now["measures"].items()) {
        const bool more_is_better =
            name.ends_with("efficiency") || name == "utilization" || name == "packing_ratio";
        check(name, old["measures"].value(name, ordered_json()), value, more_is_better, a.tolerance);
    }
    for (const auto& [name, row] : now["stages"].items()) {
        const ordered_json before = old["stages"].value(name, ordered_json::object());
        check(name + " (x memcpy)",
              before.is_object() ? before.value("memcpy_ratio", ordered_json()) : ordered_json(),
              row["memcpy_ratio"], false, a.time_tolerance);
    }
    check("peak_bytes", old.value("peak_bytes", ordered_json()), now["peak_bytes"], false, a.time_tolerance);
    return worse;
}

int run_bench(const Invocation& invocation, const BenchArguments& a) {
    require_one_rank("bench");
    if (!(a.tolerance >= 0) || !(a.time_tolerance >= 0))
        throw Error(ErrorCode::invalid_argument, "tolerances are shares of 0 or more");
    const Overwrite overwrite = a.force ? Overwrite::yes : Overwrite::no;
    if (!a.output.empty()) require_writable_output(a.output, overwrite);
    if (!a.markdown.empty()) require_writable_output(a.markdown, overwrite);
    const ordered_json old = a.compare.empty() ? ordered_json() : read_old(a.compare);
    ordered_json object = measure(invocation, a);
    std::vector<std::string> worse;
    if (!a.compare.empty()) {
        worse = regressions(object, old, a);
        for (const std::string& line : worse) invocation.say("REGRESSION: " + line);
        if (worse.empty()) {
            invocation.say("no regression against " + a.compare + " (counts and ratios within " +
                           percent(a.tolerance) + ", times as multiples of memcpy and memory within " +
                           percent(a.time_tolerance) + ")");
        }
        object["regressions"] = worse;
    }
    if (!a.output.empty()) write_file_atomically(a.output, object.dump(2) + "\n", overwrite);
    if (!a.markdown.empty()) write_file_atomically(a.markdown, markdown_of(object), overwrite);
    invocation.give(object);
    return worse.empty() ? 0 : 1;
}

}  // namespace

void add_bench(CLI::App& app, Invocation& invocation) {
    auto a = std::make_shared<BenchArguments>();
    CLI::App* verb = add_verb(app, invocation, "bench", "From lengths to a plan, measured",
                              "  lockstep bench\n"
                              "  lockstep bench -l corpus.h5 -o bench.json --markdown bench.md\n"
                              "  lockstep bench --compare bench.json",
                              [&invocation, a] { return run_bench(invocation, *a); });
    verb->add_option("-l,--lengths", a->lengths, "A corpus or a lengths file; without it, synthetic lengths");
    verb->add_option("--samples", a->samples, "Synthetic samples (100000)");
    verb->add_option("--distribution", a->distribution, "Synthetic lengths: log-normal or uniform");
    verb->add_option("--seed", a->seed, "Seed of lengths and plan (42)");
    verb->add_option("-b,--token-budget", a->budget, "Most tokens a pack may hold (4096)");
    add_bucket_options(*verb, a->buckets);
    verb->add_option("-o,--output", a->output, "JSON file to write");
    verb->add_option("--markdown", a->markdown, "Markdown file to write");
    verb->add_option("--compare", a->compare, "Earlier JSON: exit 1 if something became worse");
    verb->add_option("--tolerance", a->tolerance, "Of counts and ratios, as a share (0.01)");
    verb->add_option("--time-tolerance", a->time_tolerance,
                     "Of times as multiples of memcpy, and of memory, as a share (1.0)");
    verb->add_flag("--force", a->force, "Replace existing files");
    // Alone it is the pipeline; with a verb behind it, that one.
    verb->callback([&invocation, a, verb] {
        if (verb->get_subcommands().empty())
            invocation.action = [&invocation, a] { return run_bench(invocation, *a); };
    });
    add_bench_plan(*verb, invocation);
    add_bench_gemm(*verb, invocation);
    add_bench_step(*verb, invocation);
}

}  // namespace lockstep
