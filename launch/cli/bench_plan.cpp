// `lockstep bench plan`: the planner against the numbers it promises, each as a
// multiple of copying or durably writing the same bytes in the same run.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "coordinator/plan_file.h"
#include "coordinator/plan_writer.h"
#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/base/process_memory.h"
#include "io/length_cache.h"
#include "io/posix_file.h"
#include "kernels/scalar_math.h"
#include "launch/cli/bench_measure.h"
#include "launch/cli/length_report.h"
#include "launch/cli/world.h"
#include "plan/bucket_edges.h"
#include "plan/epoch_order.h"
#include "plan/packing.h"
#include "plan/plan_diff.h"

namespace lockstep {

namespace {

struct BenchPlanArguments {
    std::uint64_t samples = 1'000'000;
    std::uint32_t budget = 4096;
    int repeats = 3;
    int threads = 0;  ///< Of builds; 0: all cores.
    std::string folder;
    bool examples = true;
    BenchOutput output;
};

std::vector<std::uint32_t> lengths_by(std::uint64_t samples,
                                      const std::function<double(std::uint64_t)>& length) {
    std::vector<std::uint32_t> lengths(samples);
    for (std::uint64_t i = 0; i < samples; ++i) {
        lengths[i] = static_cast<std::uint32_t>(std::clamp(std::round(length(i)), 1.0, 4096.0));
    }
    return lengths;
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
        : invocation_(invocation), a_(arguments), report_(invocation, "plan", arguments.output) {
        report_.data() = {{"samples", a_.samples}, {"token_budget", a_.budget}};
    }

    int run() {
        const std::vector<std::uint32_t> lengths = log_normal_lengths(1234, a_.samples, 600, 1.2, 4096);
        invocation_.say(with_commas(a_.samples) +
                        " log-normal lengths (mean 600 before clipping, sigma 1.2, 1 to "
                        "4096), budget " +
                        with_commas(a_.budget) + "; medians of " + std::to_string(a_.repeats));
        order(lengths);
        folder(lengths);
        bucket_edges();
        if (a_.examples) {
            patterns();
            balance(lengths);
        }
        return report_.finish();
    }

  private:
    int threads() const { return a_.threads > 0 ? a_.threads : default_threads({}); }
    double median(const std::function<void()>& work) const { return median_seconds(a_.repeats, work); }
    double copying(std::uint64_t bytes) const { return memcpy_seconds(a_.repeats, bytes); }

    void peak_row(const std::string& where) {
        report_.row("peak memory " + where, {{"bytes", peak_resident_bytes()}},
                    bytes_text(peak_resident_bytes()));
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
        report_.time_row("pack and order in memory, no balance", seconds, {{"memcpy", copying(bytes)}});
        peak_row("after packing");
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
                                      Overwrite::yes, threads());
        });
        const std::uint64_t bytes = std::filesystem::file_size(scratch / "plan" / "plan.h5");
        const double raw = median([&] { write_raw(scratch / "raw", bytes); });
        const double copy = copying(bytes);
        report_.time_row("raw durable write of the plan's bytes", raw, {{"memcpy", copy}});
        report_.time_row("build a durable plan from lengths.h5", build,
                         {{"raw_write", raw}, {"memcpy", copy}});
        report_.row("plan", {{"bytes_count", bytes}}, bytes_text(bytes));
        peak_row("after building");
        report_.row(
            "packs and their lower bound",
            {{"packs_count", built.stats.packs_first_epoch}, {"lower_bound", built.stats.packs_lower_bound}},
            with_commas(built.stats.packs_first_epoch) + ", " + with_commas(built.stats.packs_lower_bound));
        report_.time_row("validate --strict", median([&] {
                             const BatchPlan plan = load_plan(scratch / "plan", PlanCheck::content);
                             check_plan_files(scratch / "plan", plan);
                         }),
                         {{"memcpy", copy}});
        queries(scratch, options, copy);
        text_lengths(scratch, made);
    }

    void queries(const ScratchFolder& scratch, PlanOptions options, double copy) {
        report_.time_row("where", median([&] {
                             const PlanFile plan = PlanFile::open(scratch / "plan");
                             if (plan.find_sample(a_.samples / 2).empty())
                                 throw Error(ErrorCode::bug, "a sample is nowhere");
                         }),
                         {{"memcpy", copy}});
        report_.time_row("step", median([&] {
                             const PlanFile plan = PlanFile::open(scratch / "plan");
                             plan.chunk(plan.chunk_of_step(plan.num_steps() / 2));
                         }),
                         {{"memcpy", copy}});
        options.seed = 43;
        const std::vector<PlanInput> inputs = {PlanInput::open(scratch / "lengths.h5", "lengths")};
        const std::vector<SourceLengths> sources = {inputs[0].lengths()};
        build_plan_folder(scratch / "other", options, inputs, sources, WriteJsonl::never, Overwrite::yes,
                          threads());
        report_.time_row("diff of two plans", median([&] {
                             const PlanFile a = PlanFile::open(scratch / "plan");
                             const PlanFile b = PlanFile::open(scratch / "other");
                             first_difference(a.view(), b.view());
                         }),
                         {{"memcpy", copy}});
    }

    void text_lengths(const ScratchFolder& scratch, const LengthCache& made) {
        write_lengths_jsonl(scratch / "lengths.jsonl", made, Overwrite::no);
        const std::uint64_t bytes = std::filesystem::file_size(scratch / "lengths.jsonl");
        const double seconds = median([&] { read_lengths_jsonl(scratch / "lengths.jsonl"); });
        report_.time_row("parse lengths.jsonl", seconds, {{"memcpy", copying(bytes)}});
        const double rate = static_cast<double>(bytes) / seconds;
        report_.row("lengths.jsonl", {{"bytes_per_second", rate}}, fixed(rate / 1e9, 2) + " GB/s");
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

    /// The case of the planner's promise: 100,000 lengths, log-normal with mu 5.3 and sigma 0.9, 1 to 2048.
    void bucket_edges() {
        constexpr std::uint32_t longest = 2048;
        const double mean = exact_exp(5.3 + 0.9 * 0.9 / 2);
        const std::vector<std::uint32_t> samples = log_normal_lengths(42, 100'000, mean, 0.9, longest);
        const double copy = copying(4 * samples.size());
        for (const std::uint32_t num_buckets : {4U, 5U, 8U}) {
            BucketEdges best;
            const double seconds =
                median([&] { best = optimal_bucket_edges(count_lengths(samples), num_buckets, longest); });
            const std::string what = "suggested edges, " + std::to_string(num_buckets) + " buckets";
            report_.time_row(what, seconds, {{"memcpy", copy}});
            report_.row(what + ": efficiency",
                        {{"edges", best.edges}, {"bucket_efficiency", best.efficiency()}},
                        fixed(best.efficiency(), 3));
        }
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
            const double saved = 1 - static_cast<double>(patterns) / static_cast<double>(best_fit);
            report_.row(name + ": packs by best fit, auto",
                        {{"best_fit", best_fit}, {"auto_count", patterns}, {"saved", saved}},
                        with_commas(best_fit) + ", " + with_commas(patterns) + ", saved " + percent(saved));
            report_.time_row(name + ": auto packing", seconds, {{"memcpy", copying(4 * lengths.size())}});
        };
        compare("normal(1500, 350)", lengths_by(1'000'000, [&](std::uint64_t i) {
                    return 1500.0 + 350.0 * static_cast<double>(standard_normal(5, 0, i));
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
            const double slowest = stats.balance.back().slowest_over_mean;
            report_.row("attention-only, 64 ranks x " + std::to_string(packs_per_rank) + ": slowest/mean",
                        {{"slowest_over_mean", slowest}, {"balance_efficiency", 1 / slowest}},
                        fixed(slowest, 4));
        }
    }

    const Invocation& invocation_;
    const BenchPlanArguments& a_;
    BenchReport report_;
};

int run_bench_plan(const Invocation& invocation, const BenchPlanArguments& arguments) {
    require_one_rank("bench plan");
    if (arguments.samples < 1 || arguments.repeats < 1) {
        throw Error(ErrorCode::invalid_argument, "--samples and --repeats must be at least 1");
    }
    return PlanBench(invocation, arguments).run();
}

}  // namespace

void add_bench_plan(CLI::App& bench, Invocation& invocation) {
    auto a = std::make_shared<BenchPlanArguments>();
    CLI::App* verb =
        add_verb(bench, invocation, "plan", "The planner, as multiples of memcpy and of a raw write",
                 "  lockstep bench plan\n"
                 "  lockstep bench plan -o plan.json && lockstep bench plan --compare plan.json\n"
                 "  lockstep bench plan --samples 100000000 --repeats 1",
                 [&invocation, a] { return run_bench_plan(invocation, *a); });
    verb->add_option("--samples", a->samples, "Samples (1000000)");
    verb->add_option("-b,--token-budget", a->budget, "Most tokens a pack may hold (4096)");
    verb->add_option("--repeats", a->repeats, "Runs of which the median is shown (3)");
    verb->add_option("--threads", a->threads, "Threads of builds (cores)")->check(CLI::Range(1, 1024));
    verb->add_option("--folder", a->folder, "Where to write and read (the system's temporary folder)");
    verb->add_flag("!--no-examples", a->examples, "Leave out patterns and balance");
    add_bench_output(*verb, a->output);
}

}  // namespace lockstep
