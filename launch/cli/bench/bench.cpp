// `lockstep bench`: the whole way from lengths to a plan, measured.

#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/base/process_memory.h"
#include "io/corpus/length_cache.h"
#include "io/files/atomic_file.h"
#include "launch/cli/bench/bench_measure.h"
#include "launch/cli/data/length_report.h"
#include "plan/batch_plan.h"
#include "plan/plan_stats.h"
#include "plan/validate_plan.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t bench_version = 2;

struct BenchArguments {
    std::string lengths;
    std::uint64_t samples = 100'000;
    std::string distribution = "log-normal";
    std::uint64_t seed = 42;
    std::uint32_t budget = 4096;
    BucketArguments buckets;
    std::string markdown;
    BenchOutput output;
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
    if (!uniform) return log_normal_lengths(a.seed, a.samples, 600, 1.2, 4096);
    const Philox random(a.seed, "bench-lengths");
    std::vector<std::uint32_t> lengths(a.samples);
    for (std::uint64_t i = 0; i < a.samples; ++i) {
        lengths[i] = static_cast<std::uint32_t>(32 + random.below(i, 2048 - 32 + 1));
    }
    return lengths;
}

constexpr int repeats = 3;

/// A plan of these options and how long it took.
struct BuiltBench {
    PlanStats stats;
    double seconds = 0, validate_seconds = 0;
};

BuiltBench bench_plan(const PlanOptions& options, const SourceLengths& source) {
    const std::span<const SourceLengths> sources(&source, 1);
    BuiltBench built;
    BatchPlan plan;
    built.seconds = best_seconds(repeats, [&] { plan = build_plan(options, sources); });
    built.validate_seconds = best_seconds(repeats, [&] { validate_plan(plan, sources); });
    built.stats = plan_stats(plan);
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

    const double copy_seconds = memcpy_seconds(repeats, samples.size_bytes());
    std::vector<LengthCount> lengths;
    ordered_json stages;
    const double counting = best_seconds(repeats, [&] { lengths = count_lengths(samples); });
    stages["count_lengths"] = stage(counting, copy_seconds, samples.size());
    const LengthSummary summary = summarize_lengths(lengths);
    const std::vector<LengthCount> pieces =
        cut_long_samples(lengths, std::min(a.buckets.overflow_max, a.budget));
    const BucketUses uses = use_of_buckets(pieces, a.buckets.edges, a.buckets.overflow_max);
    const WasteComparison waste = compare_waste(lengths, a.buckets.edges, a.buckets.overflow_max, a.budget);
    say_summary(invocation, summary);
    object["summary"] = summary_json(summary);
    object["histogram"] = say_histogram(invocation, equal_bins(lengths, 10), 50);
    object["bucketing"] = say_buckets(invocation, uses, samples_above(lengths, a.buckets.overflow_max));
    const auto num_buckets =
        static_cast<std::uint32_t>(std::min<std::size_t>(a.buckets.edges.size() + 1, bucket_count_max));
    BucketEdges best;
    const double edges = best_seconds(
        repeats, [&] { best = optimal_bucket_edges(pieces, num_buckets, a.buckets.overflow_max); });
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
    const std::uint64_t peak = peak_resident_bytes();
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

void compare(const ordered_json& now, const ordered_json& old, const BenchArguments& a, Regressions& worse) {
    ordered_json data = now["data"];
    data.erase("source");  // The fingerprint says which lengths these are, wherever they lie.
    require_same_data(data, old["data"], a.output.compare);
    for (const auto& [name, value] : now["measures"].items()) {
        const bool more_is_better =
            name.ends_with("efficiency") || name == "utilization" || name == "packing_ratio";
        worse.check(name, old["measures"].value(name, ordered_json()), value, more_is_better,
                    a.output.tolerance);
    }
    for (const auto& [name, row] : now["stages"].items()) {
        const ordered_json before = old["stages"].value(name, ordered_json::object());
        worse.check(name + " (x memcpy)",
                    before.is_object() ? before.value("memcpy_ratio", ordered_json()) : ordered_json(),
                    row["memcpy_ratio"], false, a.output.time_tolerance);
    }
    worse.check("peak_bytes", old.value("peak_bytes", ordered_json()), now["peak_bytes"], false,
                a.output.time_tolerance);
}

int run_bench(const Invocation& invocation, const BenchArguments& a) {
    require_one_rank("bench");
    const BenchOutput& output = a.output;
    check_bench_output(output);
    if (!a.markdown.empty()) require_writable_output(a.markdown, output.overwrite());
    const ordered_json old =
        output.compare.empty()
            ? ordered_json()
            : read_bench(output.compare, "lockstep-bench", bench_version, {"data", "measures", "stages"});
    ordered_json object = measure(invocation, a);
    Regressions worse(output);
    if (!output.compare.empty()) {
        compare(object, old, a, worse);
        object["regressions"] = worse.say(invocation);
    }
    if (!output.file.empty()) write_file_atomically(output.file, object.dump(2) + "\n", output.overwrite());
    if (!a.markdown.empty()) write_file_atomically(a.markdown, markdown_of(object), output.overwrite());
    invocation.give(object);
    return worse.any() ? 1 : 0;
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
    verb->add_option("--markdown", a->markdown, "Markdown file to write");
    add_bench_output(*verb, a->output);
    // Alone it is the pipeline; with a verb behind it, that one.
    verb->callback([&invocation, a, verb] {
        if (verb->get_subcommands().empty())
            invocation.action = [&invocation, a] { return run_bench(invocation, *a); };
    });
    add_bench_plan(*verb, invocation);
    add_bench_gemm(*verb, invocation);
    add_bench_step(*verb, invocation);
    add_bench_attention(*verb, invocation);
    add_bench_allreduce(*verb, invocation);
}

}  // namespace lockstep
