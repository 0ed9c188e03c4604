// `lockstep bench plan`: the planner against the numbers it promises, each time as a
// multiple of copying or durably writing the same bytes in the same run. Limits that were
// promised stand beside their figures; they inform.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/plan_file.h"
#include "coordinator/plan_writer.h"
#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/base/process_memory.h"
#include "io/corpus/length_cache.h"
#include "io/files/atomic_file.h"
#include "io/files/posix_file.h"
#include "kernels/scalar_math.h"
#include "launch/cli/bench/bench_measure.h"
#include "launch/cli/data/length_report.h"
#include "launch/cli/world.h"
#include "plan/bucket_edges.h"
#include "plan/epoch_order.h"
#include "plan/packing.h"
#include "plan/plan_diff.h"

namespace lockstep {

namespace {

/// 2: the raw write renames its file and syncs the folder.
constexpr std::uint64_t report_version = 2;

struct BenchPlanArguments {
    std::uint64_t samples = 1'000'000;
    std::uint32_t budget = 4096;
    int repeats = 3;
    int threads = 1;  ///< Of builds.
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
        : invocation_(invocation),
          a_(arguments),
          report_(invocation, "plan", arguments.output, report_version),
          scratch_(arguments.folder.empty() ? std::filesystem::temp_directory_path()
                                            : std::filesystem::path(arguments.folder)) {
        report_.data() = {{"samples", a_.samples}, {"token_budget", a_.budget}, {"threads", a_.threads}};
    }

    int run() {
        invocation_.say(with_commas(a_.samples) +
                        " log-normal lengths (mean 600 before clipping, sigma 1.2, 1 to "
                        "4096), budget " +
                        with_commas(a_.budget) + ", builds on " + std::to_string(a_.threads) +
                        " thread(s); medians of " + std::to_string(a_.repeats));
        make_lengths_and_order();
        build_and_validate();
        text_lengths();
        bucket_edges();
        if (a_.examples) {
            patterns();
            balance();
        }
        return report_.finish();
    }

  private:
    double median(const std::function<void()>& work) const { return median_seconds(a_.repeats, work); }
    double copying(std::uint64_t bytes) const { return memcpy_seconds(a_.repeats, bytes); }

    /// What is promised of 10^6, 10^7 and 10^8 samples at a budget of 4,096 on one core; 0: nothing.
    double promised(double million, double ten_million, double hundred_million) const {
        if (a_.budget != 4096 || a_.threads != 1) return 0;
        if (a_.samples == 1'000'000) return million;
        if (a_.samples == 10'000'000) return ten_million;
        return a_.samples == 100'000'000 ? hundred_million : 0;
    }

    /// A figure, said as `text`, beside its limit (0: none).
    void limit_row(const std::string& what, nlohmann::ordered_json figures, const std::string& figure,
                   double limit, const std::string& text) {
        if (limit > 0) figures[figure + "_limit"] = limit;
        report_.row(what, figures, text + limit_text(limit));
    }

    /// Of the process so far, its own lengths included.
    void peak_row(const std::string& where, double limit_mb) {
        const std::uint64_t bytes = peak_resident_bytes();
        const std::string text = bytes_text(bytes);
        nlohmann::ordered_json figures = {{"bytes", bytes}};
        if (limit_mb > 0) figures["bytes_limit"] = limit_mb * 1e6;
        report_.row("peak memory " + where, figures,
                    limit_mb > 0 ? text + " (limit " + fixed(limit_mb, 0) + " MB)" : text);
    }

    /// Writes lengths.h5, so that the builds' memory is theirs alone.
    void make_lengths_and_order() {
        LengthColumns columns;
        columns.sample_tokens = log_normal_lengths(1234, a_.samples, 600, 1.2, 4096);
        const LengthCache lengths(std::move(columns));
        order(lengths.sample_tokens());
        write_lengths_columns(scratch_ / "lengths.h5", lengths, Overwrite::no);
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
        peak_row("after packing", promised(0, 300, 0));
        report_.time_row("pack and order in memory, no balance", seconds, {{"memcpy", copying(bytes)}},
                         promised(0.012, 0.16, 2));
    }

    BuiltPlanFolder build(const std::string& name, const PlanOptions& options) const {
        const std::vector<PlanInput> inputs = {PlanInput::open(scratch_ / "lengths.h5", "lengths")};
        const std::vector<SourceLengths> sources = {inputs[0].lengths()};
        return build_plan_folder(scratch_ / name, options, inputs, sources, WriteJsonl::never, Overwrite::yes,
                                 a_.threads);
    }

    void build_and_validate() {
        PlanOptions options;
        options.token_budget = a_.budget;
        BuiltPlanFolder built;
        const double seconds = median([&] { built = build("plan", options); });
        peak_row("after building", promised(0, 600, 4000));
        const std::uint64_t bytes = std::filesystem::file_size(scratch_ / "plan" / "plan.h5");
        const double raw = median([&] { write_raw(scratch_ / "raw", bytes); });
        const double synced = median([&] { write_synced(scratch_ / "synced", bytes); });
        const double copy = copying(bytes);
        report_.time_row("raw durable write of the plan's bytes", raw, {{"memcpy", copy}});
        report_.time_row("build a durable plan from lengths.h5", seconds,
                         {{"raw_write", raw, promised(4, 4, 4)}, {"synced_write", synced}, {"memcpy", copy}},
                         promised(0.25, 2, 20));
        report_.row("plan", {{"bytes_count", bytes}}, bytes_text(bytes));
        const std::uint64_t packs = built.stats.packs_first_epoch;
        const std::uint64_t bound = built.stats.packs_lower_bound;
        report_.row("packs and their lower bound", {{"packs_count", packs}, {"lower_bound", bound}},
                    with_commas(packs) + ", " + with_commas(bound));
        limit_row("packs over the lower bound", {{"packs", packs - bound}}, "packs", promised(1, 6, 60),
                  with_commas(packs - bound));
        report_.time_row("validate --strict", median([&] {
                             const PlanFile plan = PlanFile::open(scratch_ / "plan");
                             plan.validate({});
                             check_plan_files(plan);
                         }),
                         {{"memcpy", copy}}, promised(0.15, 1.5, 0));
        queries(options, copy);
    }

    void queries(PlanOptions options, double copy) {
        const double limit = promised(0.05, 0.05, 0);
        report_.time_row("where", median([&] {
                             const PlanFile plan = PlanFile::open(scratch_ / "plan");
                             if (plan.find_sample(a_.samples / 2).empty())
                                 throw Error(ErrorCode::bug, "a sample is nowhere");
                         }),
                         {{"memcpy", copy}}, limit);
        report_.time_row("step", median([&] {
                             const PlanFile plan = PlanFile::open(scratch_ / "plan");
                             plan.chunk(plan.chunk_of_step(plan.num_steps() / 2));
                         }),
                         {{"memcpy", copy}}, limit);
        options.seed = 43;
        build("other", options);
        report_.time_row("diff of two plans", median([&] {
                             const PlanFile a = PlanFile::open(scratch_ / "plan");
                             const PlanFile b = PlanFile::open(scratch_ / "other");
                             first_difference(a.view(), b.view());
                         }),
                         {{"memcpy", copy}}, limit);
    }

    void text_lengths() {
        const std::filesystem::path text = scratch_ / "lengths.jsonl";
        write_lengths_jsonl(text, LengthCache::open_columns(scratch_ / "lengths.h5"), Overwrite::no);
        const std::uint64_t bytes = std::filesystem::file_size(text);
        const double seconds = median([&] { read_lengths_jsonl(text); });
        report_.time_row("parse lengths.jsonl", seconds, {{"memcpy", copying(bytes)}});
        const double rate = static_cast<double>(bytes) / seconds;
        report_.row("lengths.jsonl", {{"bytes_per_second", rate}, {"bytes_per_second_limit", 1e9}},
                    fixed(rate / 1e9, 2) + " GB/s (limit 1)");
    }

    /// Written, synced, renamed, its folder synced: before that no file is sure to be there after a power
    /// cut.
    static void write_raw(const std::filesystem::path& path, std::uint64_t bytes) {
        write_blocks(temporary_path(path), bytes).close();
        publish_file(temporary_path(path), path, Overwrite::yes);
    }

    static void write_synced(const std::filesystem::path& path, std::uint64_t bytes) {
        PosixFile file = write_blocks(path, bytes);
        file.sync();
        file.close();
    }

    static PosixFile write_blocks(const std::filesystem::path& path, std::uint64_t bytes) {
        const std::vector<std::byte> block(1U << 20U, std::byte{7});
        PosixFile file(path, O_RDWR | O_CREAT | O_TRUNC);
        for (std::uint64_t at = 0; at < bytes; at += block.size()) {
            file.write_at(at, std::span(block).first(std::min<std::uint64_t>(block.size(), bytes - at)));
        }
        return file;
    }

    /// The case of the planner's promise: 100,000 lengths, log-normal with mu 5.3 and sigma 0.9, 1 to 2048.
    void bucket_edges() {
        constexpr std::uint32_t longest = 2048;
        const double mean = exact_exp(5.3 + 0.9 * 0.9 / 2);
        const std::vector<std::uint32_t> samples = log_normal_lengths(42, 100'000, mean, 0.9, longest);
        const double copy = copying(4 * samples.size());
        struct Case {
            std::uint32_t num_buckets;
            double limit;
        };
        for (const Case each : {Case{4, 0.641}, Case{5, 0.703}, Case{8, 0.803}}) {
            BucketEdges best;
            const double seconds = median(
                [&] { best = optimal_bucket_edges(count_lengths(samples), each.num_buckets, longest); });
            const std::string what = "suggested edges, " + std::to_string(each.num_buckets) + " buckets";
            report_.time_row(what, seconds, {{"memcpy", copy}});
            limit_row(what + ": efficiency",
                      {{"edges", best.edges}, {"bucket_efficiency", best.efficiency()}}, "bucket_efficiency",
                      each.limit, fixed(best.efficiency(), 3));
        }
    }

    void patterns() {
        const Philox philox(5, "bench-examples");
        const auto compare = [&](const std::string& name, double saved_limit,
                                 const std::vector<std::uint32_t>& lengths) {
            const LengthClasses classes = classify_lengths(lengths);
            const std::vector<std::uint64_t> sizes = classes.sizes();
            const std::uint64_t best_fit = best_fit_decreasing(classes.tokens, sizes, {4096}).num_packs();
            std::uint64_t patterns = 0;
            const double seconds =
                median([&] { patterns = pack_automatically(classes.tokens, sizes, {4096}).num_packs(); });
            const double saved = 1 - static_cast<double>(patterns) / static_cast<double>(best_fit);
            limit_row(name + ": packs by best fit, auto",
                      {{"best_fit", best_fit}, {"auto_count", patterns}, {"saved", saved}}, "saved",
                      saved_limit,
                      with_commas(best_fit) + ", " + with_commas(patterns) + ", saved " + percent(saved));
            report_.time_row(name + ": auto packing", seconds, {{"memcpy", copying(4 * lengths.size())}}, 3);
        };
        compare("normal(1500, 350)", 0.025, lengths_by(1'000'000, [&](std::uint64_t i) {
                    return 1500.0 + 350.0 * static_cast<double>(standard_normal(5, 0, i));
                }));
        compare("uniform 1100..2299", 0.036, lengths_by(1'000'000, [&](std::uint64_t i) {
                    return 1100.0 + static_cast<double>(philox.below(i, 1200));
                }));
    }

    void balance() {
        for (const auto& [packs_per_rank, limit] : {std::pair{1U, 1.09}, std::pair{4U, 1.02}}) {
            PlanOptions options;
            options.token_budget = a_.budget;
            options.cost = {0, 1};
            options.packs_per_step = 64 * packs_per_rank;
            const double slowest = build("balanced", options).stats.balance.back().slowest_over_mean;
            limit_row("attention-only, 64 ranks x " + std::to_string(packs_per_rank) + ": slowest/mean",
                      {{"slowest_over_mean", slowest}, {"balance_efficiency", 1 / slowest}},
                      "slowest_over_mean", limit, fixed(slowest, 4));
        }
    }

    const Invocation& invocation_;
    const BenchPlanArguments& a_;
    BenchReport report_;
    const ScratchFolder scratch_;
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
    verb->add_option("--threads", a->threads, "Threads of builds (1)")->check(CLI::Range(1, 1024));
    verb->add_option("--folder", a->folder, "Where to write and read (the system's temporary folder)");
    verb->add_flag("!--no-examples", a->examples, "Leave out patterns and balance");
    add_bench_output(*verb, a->output);
}

}  // namespace lockstep
