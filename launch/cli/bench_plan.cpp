// `lockstep bench plan`: the planner against the numbers it promises, each as a
// multiple of copying or durably writing the same bytes in the same run.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <numbers>
#include <string>
#include <vector>

#include "coordinator/plan_file.h"
#include "coordinator/plan_writer.h"
#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/length_cache.h"
#include "io/posix_file.h"
#include "launch/cli/invocation.h"
#include "plan/bucket_edges.h"
#include "plan/epoch_order.h"
#include "plan/packing.h"
#include "plan/plan_diff.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

struct BenchPlanArguments {
    std::uint64_t samples = 1'000'000;
    std::uint32_t budget = 4096;
    int repeats = 3;
    std::string folder;
    bool examples = true;
};

double standard_normal(const Philox& philox, std::uint64_t index) {
    const PhiloxCounter words = philox.block(index);
    const double u = (words[0] + 0.5) / 4294967296.0;
    const double v = (words[1] + 0.5) / 4294967296.0;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

std::vector<std::uint32_t> lengths_by(std::uint64_t samples,
                                      const std::function<double(std::uint64_t)>& length) {
    std::vector<std::uint32_t> lengths(samples);
    for (std::uint64_t i = 0; i < samples; ++i) {
        lengths[i] = static_cast<std::uint32_t>(std::clamp(std::round(length(i)), 1.0, 4096.0));
    }
    return lengths;
}

std::vector<std::uint32_t> log_normal_lengths(std::uint64_t samples) {
    const Philox philox(1234, "bench-lengths");
    const double sigma = 1.2;
    const double mu = std::log(600.0) - sigma * sigma / 2;
    return lengths_by(samples,
                      [&](std::uint64_t i) { return std::exp(mu + sigma * standard_normal(philox, i)); });
}

double seconds_of(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A folder that goes with its owner.
class ScratchFolder {
  public:
    explicit ScratchFolder(const std::filesystem::path& parent)
        : path_(parent / ("lockstep-bench-" + std::to_string(getpid()))) {
        std::filesystem::create_directories(path_);
    }
    ~ScratchFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

class PlanBench {
  public:
    PlanBench(const Invocation& invocation, const BenchPlanArguments& arguments)
        : invocation_(invocation), a_(arguments) {}

    ordered_json run() {
        const std::vector<std::uint32_t> lengths = log_normal_lengths(a_.samples);
        invocation_.say(with_commas(a_.samples) +
                        " log-normal lengths (mean 600 before clipping, sigma 1.2, 1 to "
                        "4096), budget " +
                        with_commas(a_.budget) + "; medians of " + std::to_string(a_.repeats));
        order(lengths);
        folder(lengths);
        if (a_.examples) {
            patterns();
            balance(lengths);
        }
        return {{"samples", a_.samples}, {"token_budget", a_.budget}, {"rows", rows_}};
    }

  private:
    double median(const std::function<void()>& work) const {
        std::vector<double> times;
        for (int i = 0; i < a_.repeats; ++i) times.push_back(seconds_of(work));
        std::ranges::sort(times);
        return times[times.size() / 2];
    }

    void row(const std::string& what, double seconds, double probe, const std::string& probe_name) {
        invocation_.say("  " + what + std::string(what.size() < 46 ? 46 - what.size() : 1, ' ') +
                        fixed(seconds, 4) + " s   " + fixed(seconds / probe, 2) + " x " + probe_name);
        rows_.push_back({{"what", what}, {"seconds", seconds}, {probe_name + "_ratio", seconds / probe}});
    }
    void fact(const std::string& what, const ordered_json& value) {
        invocation_.say("  " + what + std::string(what.size() < 46 ? 46 - what.size() : 1, ' ') +
                        value.dump());
        rows_.push_back({{"what", what}, {"value", value}});
    }

    double memcpy_seconds(std::uint64_t bytes) const {
        const std::vector<char> from(bytes, 1);
        std::vector<char> to(bytes, 0);
        return median([&] { std::memcpy(to.data(), from.data(), bytes); });
    }
    static std::uint64_t peak_megabytes() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        return static_cast<std::uint64_t>(usage.ru_maxrss) / 1024;
    }

    void order(std::span<const std::uint32_t> lengths) {
        PlanOptions options;
        options.token_budget = a_.budget;
        options.balance = false;
        options = effective_options(options);
        SegmentTable table;
        table.tokens = lengths;
        EpochOrder made;
        const double seconds = median([&] {
            made = EpochOrder();
            make_epochs(options, table, {})->make(0, made);
        });
        const std::uint64_t bytes = 4 * (made.segments.size() + made.pack_begin.size());
        row("pack and order in memory, no balance", seconds, memcpy_seconds(bytes), "memcpy");
        fact("peak memory so far [MB]", peak_megabytes());
    }

    void folder(const std::vector<std::uint32_t>& lengths) {
        const ScratchFolder scratch(a_.folder.empty() ? std::filesystem::temp_directory_path()
                                                      : std::filesystem::path(a_.folder));
        LengthColumns columns;
        columns.sample_tokens.assign(lengths.begin(), lengths.end());
        const LengthCache made(std::move(columns));
        write_lengths_columns(scratch / "lengths.h5", made, Overwrite::no);
        PlanOptions options;
        options.token_budget = a_.budget;
        BuiltPlanFolder built;
        const double build = median([&] {
            const std::vector<PlanInput> inputs = {PlanInput::open(scratch / "lengths.h5", "lengths")};
            const std::vector<SourceLengths> sources = {inputs[0].lengths()};
            built = build_plan_folder(scratch / "plan", options, inputs, sources, WriteJsonl::never,
                                      Overwrite::yes, 1);
        });
        const std::uint64_t bytes = std::filesystem::file_size(scratch / "plan" / "plan.h5");
        const double raw = median([&] { write_raw(scratch / "raw", bytes); });
        row("raw durable write of the plan's bytes", raw, raw, "raw write");
        row("build a durable plan from lengths.h5", build, raw, "raw write");
        fact("plan bytes", bytes);
        fact("peak memory so far [MB]", peak_megabytes());
        fact("packs, lower bound", {built.stats.packs_first_epoch, built.stats.packs_lower_bound});
        const double copy = memcpy_seconds(bytes);
        row("validate --strict", median([&] {
                const BatchPlan plan = load_plan(scratch / "plan", PlanCheck::content);
                check_plan_files(scratch / "plan", plan);
            }),
            copy, "memcpy");
        queries(scratch, options, copy);
        text_lengths(scratch, made);
    }

    void queries(const ScratchFolder& scratch, PlanOptions options, double copy) {
        row("where", median([&] {
                const PlanFile plan = PlanFile::open(scratch / "plan");
                if (plan.find_sample(a_.samples / 2).empty())
                    throw Error(ErrorCode::bug, "a sample is nowhere");
            }),
            copy, "memcpy");
        row("step", median([&] {
                const PlanFile plan = PlanFile::open(scratch / "plan");
                plan.chunk(plan.chunk_of_step(plan.num_steps() / 2));
            }),
            copy, "memcpy");
        options.seed = 43;
        const std::vector<PlanInput> inputs = {PlanInput::open(scratch / "lengths.h5", "lengths")};
        const std::vector<SourceLengths> sources = {inputs[0].lengths()};
        build_plan_folder(scratch / "other", options, inputs, sources, WriteJsonl::never, Overwrite::yes, 1);
        row("diff of two plans", median([&] {
                const PlanFile a = PlanFile::open(scratch / "plan");
                const PlanFile b = PlanFile::open(scratch / "other");
                first_difference(a.view(), b.view());
            }),
            copy, "memcpy");
    }

    void text_lengths(const ScratchFolder& scratch, const LengthCache& made) {
        write_lengths_jsonl(scratch / "lengths.jsonl", made, Overwrite::no);
        const std::uint64_t bytes = std::filesystem::file_size(scratch / "lengths.jsonl");
        const double seconds = median([&] { read_lengths_jsonl(scratch / "lengths.jsonl"); });
        row("parse lengths.jsonl", seconds, memcpy_seconds(bytes), "memcpy");
        fact("lengths.jsonl [GB/s]", static_cast<double>(bytes) / seconds / 1e9);
    }

    static void write_raw(const std::filesystem::path& path, std::uint64_t bytes) {
        const std::vector<std::byte> block(1U << 20U, std::byte{7});
        PosixFile file(path, O_RDWR | O_CREAT | O_TRUNC);
        for (std::uint64_t at = 0; at < bytes; at += block.size()) {
            file.write_at(at, std::span(block).first(std::min<std::uint64_t>(block.size(), bytes - at)));
        }
        file.sync();
        file.close();
    }

    void patterns() {
        const Philox philox(5, "bench-examples");
        const auto compare = [&](const std::string& name, const std::vector<std::uint32_t>& lengths) {
            const LengthClasses classes = classify_lengths(lengths);
            const std::vector<std::uint64_t> sizes = classes.sizes();
            const std::uint64_t best_fit = best_fit_decreasing(classes.tokens, sizes, {4096}).num_packs();
            std::uint64_t patterns = 0;
            const double seconds =
                median([&] { patterns = pack_automatically(classes.tokens, sizes, {4096}).num_packs(); });
            fact(name + ": best fit, auto, saved [%]",
                 {best_fit, patterns,
                  std::round(1e4 * (1 - static_cast<double>(patterns) / static_cast<double>(best_fit))) /
                      100});
            row(name + ": auto packing", seconds, memcpy_seconds(4 * lengths.size()), "memcpy");
        };
        compare("normal(1500, 350)", lengths_by(1'000'000, [&](std::uint64_t i) {
                    return 1500 + 350 * standard_normal(philox, i);
                }));
        compare("uniform 1100..2299", lengths_by(1'000'000, [&](std::uint64_t i) {
                    return 1100.0 + static_cast<double>(philox.below(i, 1200));
                }));
    }

    void balance(std::span<const std::uint32_t> lengths) {
        for (const std::uint32_t packs_per_rank : {1U, 4U}) {
            SourceLengths source;
            source.source.name = "bench";
            source.sample_tokens = lengths;
            source.lengths_only = true;
            PlanOptions options;
            options.token_budget = a_.budget;
            options.cost = {0, 1};
            options.packs_per_step = 64 * packs_per_rank;
            const std::span<const SourceLengths> sources(&source, 1);
            const PlanStats stats = plan_stats(build_plan(options, sources), sources);
            fact("attention-only, 64 ranks x " + std::to_string(packs_per_rank) + ": slowest/mean",
                 std::round(1e4 * stats.balance.back().slowest_over_mean) / 1e4);
        }
    }

    const Invocation& invocation_;
    const BenchPlanArguments& a_;
    ordered_json rows_ = ordered_json::array();
};

int run_bench_plan(const Invocation& invocation, const BenchPlanArguments& arguments) {
    require_one_rank("bench plan");
    if (arguments.samples < 1 || arguments.repeats < 1) {
        throw Error(ErrorCode::invalid_argument, "--samples and --repeats must be at least 1");
    }
    invocation.give(PlanBench(invocation, arguments).run());
    return 0;
}

}  // namespace

void add_bench_plan(CLI::App& bench, Invocation& invocation) {
    auto a = std::make_shared<BenchPlanArguments>();
    CLI::App* verb =
        add_verb(bench, invocation, "plan", "The planner, as multiples of memcpy and of a raw write",
                 "  lockstep bench plan\n"
                 "  lockstep bench plan --samples 100000000 --repeats 1",
                 [&invocation, a] { return run_bench_plan(invocation, *a); });
    verb->add_option("--samples", a->samples, "Samples (1000000)");
    verb->add_option("-b,--token-budget", a->budget, "Most tokens a pack may hold (4096)");
    verb->add_option("--repeats", a->repeats, "Runs of which the median is shown (3)");
    verb->add_option("--folder", a->folder, "Where to write and read (the system's temporary folder)");
    verb->add_flag("!--no-examples", a->examples, "Leave out patterns and balance");
}

}  // namespace lockstep
