// Whole training steps on one rank, as a share of what plain sgemm does on the same
// layers' shapes in between.

#include "launch/cli/bench/bench_step.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "io/base/error.h"
#include "kernels/speed_probe.h"
#include "launch/cli/bench/step_case.h"
#include "launch/cli/world.h"
#include "worker/model/transformer.h"
#include "worker/step_rate.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// One of the steps that a round measures: a case under a numerical contract, or what a mix is compared with.
struct StepVariant {
    std::string name;
    MeasuredStep* step;
    const Gemm* gemm;
    std::vector<std::size_t> segment_tokens;

    double flop = 0;                        ///< Useful, of a step.
    std::vector<StepSeconds> seconds = {};  ///< A round each, as sgemm_shares.
    std::vector<double> sgemm_shares = {};

    std::vector<double> totals() const {
        std::vector<double> totals;
        for (const StepSeconds& s : seconds) totals.push_back(s.total());
        return totals;
    }
};

/// A row for the rate of one variant over that of another.
struct RateShare {
    std::string name;
    std::size_t over, under;
};

/// A model's state under one numerical contract.
struct StepSubject {
    Gemm gemm;
    MeasuredStep step;

    StepSubject(const ModelConfig& config, const StepCase& c, GemmNumerics numerics,
                const BenchStepArguments& a, ThreadPool& pool)
        : gemm(pool, parse_gemm_backend(a.gemm), gemm_shapes(config, c.tokens()), numerics),
          step(config, gemm, c.segment_tokens, a.packs) {}
};

class StepBench {
  public:
    StepBench(const Invocation& invocation, const BenchStepArguments& arguments)
        : invocation_(invocation), a_(arguments), report_(invocation, "step", arguments.output) {}

    int run() {
        std::vector<StepCase> cases;
        const std::vector<std::string> names =
            a_.cases.empty()
                ? std::vector<std::string>{"gpt2-124m:4x256", "gpt2-124m:4x64", "gpt2-124m:1x1024",
                                           "small:4x256",     "small:4x64",     "gpt2-124m:mix4096",
                                           "small:mix4096"}
                : a_.cases;
        for (const std::string& text : names) cases.push_back(parse_step_case(text));
        for (const std::string& name : a_.numerics) {
            const GemmNumerics numerics = parse_gemm_numerics(name);
            if (std::ranges::find(numerics_, numerics) != numerics_.end())
                throw Error(ErrorCode::invalid_argument, "--numerics names '" + name + "' twice");
            numerics_.push_back(numerics);
        }
        ThreadPool pool(a_.threads.value_or(default_threads(World{})));
        report_.data() = {
            {"cases", names}, {"packs", a_.packs}, {"threads", pool.size()}, {"numerics", a_.numerics}};
        fma_rate_ = measure_fma_rate(pool, kernel_isa(), 0.3);
        report_.machine()["fma_flop_per_second"] = fma_rate_;
        invocation_.say(std::to_string(pool.size()) + " thread(s), " + std::to_string(a_.packs) +
                        " pack(s) a step; multiply-adds in registers, " + name_of(kernel_isa()) + ": " +
                        fixed(fma_rate_ / 1e9, 1) + " GFLOP/s");
        for (const StepCase& c : cases) measure(c, pool);
        return report_.finish();
    }

  private:
    void measure(const StepCase& c, ThreadPool& pool) {
        const ModelConfig config = load_model_config(c.model, a_.vocabulary).config;
        std::vector<std::unique_ptr<StepSubject>> subjects;
        for (const GemmNumerics numerics : numerics_) {
            subjects.push_back(std::make_unique<StepSubject>(config, c, numerics, a_, pool));
        }
        std::vector<StepVariant> variants;
        std::vector<RateShare> shares;
        choose_variants(c, subjects, variants, shares);
        SgemmProbe probe(config, c.tokens(), pool);
        for (StepVariant& variant : variants) {
            variant.step->use_segments(variant.segment_tokens);
            variant.flop = variant.step->flop();
            variant.step->run();  // Warms up.
        }
        const SgemmSplit split = faster_split(probe, pool);

        // Probe, step, probe, step: a change of the machine's speed meets both.
        std::vector<double> probes = {probe.run(split)};
        const auto start = Clock::now();
        const double seconds_wanted = a_.seconds * static_cast<double>(variants.size());
        for (std::size_t round = 0; round < 3 || (round < 200 && seconds_since(start) < seconds_wanted);
             ++round) {
            for (StepVariant& variant : variants) {
                variant.step->use_segments(variant.segment_tokens);
                settle(*variant.step);
                const StepSeconds seconds = variant.step->run();
                variant.seconds.push_back(seconds);
                probes.push_back(probe.run(split));
                const double probe_rate = (probes[probes.size() - 2] + probes.back()) / 2;
                variant.sgemm_shares.push_back(variant.flop / seconds.total() / probe_rate);
            }
        }
        for (const StepVariant& variant : variants) say_variant(variant, median_of(probes), split);
        for (const RateShare& share : shares) {
            say_share(share.name, variants[share.over], variants[share.under]);
        }
    }

    /// A step comes after a step, as in training: what follows the probe finds the probe's operands in the
    /// caches, and for some tens of milliseconds both threads on one core, since the scheduler still counts
    /// OpenBLAS' thread on the other.
    static void settle(MeasuredStep& step) {
        constexpr double enough = 0.2;
        wait_until_idle();
        const auto start = Clock::now();
        do {
            step.run();
        } while (seconds_since(start) < enough);
    }

    /// A mix stands beside equal lengths under the same contract, other contracts beside the first.
    static void choose_variants(const StepCase& c, const std::vector<std::unique_ptr<StepSubject>>& subjects,
                                std::vector<StepVariant>& variants, std::vector<RateShare>& shares) {
        const auto contract = [](const StepSubject& subject) {
            return std::string(name_of(subject.gemm.numerics()));
        };
        for (const auto& subject : subjects) {
            const bool is_default = subject->gemm.numerics() == GemmNumerics::fma256;
            const std::string name = c.name + (is_default ? "" : " " + contract(*subject));
            const std::size_t here = variants.size();
            variants.push_back({name, &subject->step, &subject->gemm, c.segment_tokens});
            if (here > 0) shares.push_back({name + " over " + contract(*subjects.front()), here, 0});
            if (!c.is_mix) continue;
            const std::vector<std::size_t> equal = equal_segments_of_same_work(c.segment_tokens);
            variants.push_back({name + " as " + std::to_string(equal.size()) + " equal segments",
                                &subject->step, &subject->gemm, equal});
            shares.push_back({name + " over equal segments", here, here + 1});
        }
    }

    void say_variant(const StepVariant& variant, double probe_rate, SgemmSplit split) {
        const auto median = [&](double StepSeconds::*part) {
            std::vector<double> values;
            for (const StepSeconds& s : variant.seconds) values.push_back(s.*part);
            return median_of(std::move(values));
        };
        MeasuredStep& step = *variant.step;
        step.use_segments(variant.segment_tokens);
        settle(step);
        const double forward = median_seconds(3, [&] { step.run_forward(); });
        const std::vector<double> totals = variant.totals();
        const double total = median_of(totals);
        const double rate = variant.flop / total;
        const auto token_rate = static_cast<double>(step.tokens()) / total;
        const double share = median_of(variant.sgemm_shares);
        const ordered_json figures = {
            {"segments", variant.segment_tokens.size()},
            {"tokens", step.tokens()},
            {"seconds", total},
            {"best_seconds", *std::ranges::min_element(totals)},
            {"steps_timed", totals.size()},
            {"forward_seconds", forward},
            {"forward_backward_seconds", median(&StepSeconds::forward_backward)},
            {"exact_sum_seconds", median(&StepSeconds::exact_sum)},
            {"update_seconds", median(&StepSeconds::update)},
            {"tokens_per_second", token_rate},
            {"flop", variant.flop},
            {"flop_per_second", rate},
            {"probe_split", split == SgemmSplit::our_pool ? "our pool" : "openblas"},
            {"probe_flop_per_second", probe_rate},
            {"sgemm_share", share},
            {"fma_share", rate / fma_rate_},
            {"gemm", variant.gemm->describe()},
            {"workspace_bytes", step.workspace_bytes()},
        };
        report_.row(variant.name, figures,
                    fixed(1e3 * total, 1) + " ms, " + rate_text(token_rate) + " tokens/s, " +
                        fixed(rate / 1e9, 1) + " GFLOP/s = " + fixed(share, 3) + " of sgemm's " +
                        fixed(probe_rate / 1e9, 1));
        invocation_.say("    forward and backward " + fixed(1e3 * median(&StepSeconds::forward_backward), 1) +
                        " ms (forward alone " + fixed(1e3 * forward * static_cast<double>(a_.packs), 1) +
                        "), exact sum " + fixed(1e3 * median(&StepSeconds::exact_sum), 1) + ", update " +
                        fixed(1e3 * median(&StepSeconds::update), 1) + "; " + fixed(rate / fma_rate_, 3) +
                        " of multiply-adds in registers; " + std::to_string(totals.size()) + " steps");
    }

    /// Rates of useful operations within a round, one over the other.
    void say_share(const std::string& name, const StepVariant& over, const StepVariant& under) {
        std::vector<double> shares;
        for (std::size_t i = 0; i < over.seconds.size(); ++i) {
            shares.push_back(over.flop / over.seconds[i].total() / (under.flop / under.seconds[i].total()));
        }
        const double share = median_of(shares);
        report_.row(name, {{"rate_share", share}, {"flop", over.flop}, {"flop_of_other", under.flop}},
                    fixed(share, 3) + " of its useful FLOP/s");
    }

    /// The stricter probe: whichever way plain sgemm is faster here.
    SgemmSplit faster_split(SgemmProbe& probe, const ThreadPool& pool) const {
        if (pool.size() == 1) return SgemmSplit::our_pool;
        std::vector<double> ours, theirs;
        for (int i = 0; i < 3; ++i) {
            ours.push_back(probe.run(SgemmSplit::our_pool));
            theirs.push_back(probe.run(SgemmSplit::openblas));
            wait_until_idle();
        }
        const double our_rate = median_of(ours);
        const double their_rate = median_of(theirs);
        const bool ours_it_is = our_rate >= their_rate;
        invocation_.say("  sgemm over the layers' shapes: " + fixed(our_rate / 1e9, 1) +
                        " GFLOP/s in shards by our pool, " + fixed(their_rate / 1e9, 1) +
                        " by OpenBLAS' threads; the probe is " + (ours_it_is ? "the former" : "the latter"));
        return ours_it_is ? SgemmSplit::our_pool : SgemmSplit::openblas;
    }

    const Invocation& invocation_;
    const BenchStepArguments& a_;
    BenchReport report_;
    std::vector<GemmNumerics> numerics_;
    double fma_rate_ = 0;
};

int run_bench_step(const Invocation& invocation, const BenchStepArguments& arguments) {
    if (arguments.weak_scaling) return run_weak_scaling(invocation, arguments);
    require_one_rank("bench step");
    return StepBench(invocation, arguments).run();
}

}  // namespace

void add_bench_step(CLI::App& bench, Invocation& invocation) {
    auto a = std::make_shared<BenchStepArguments>();
    a->output.time_tolerance = 0.15;
    CLI::App* verb =
        add_verb(bench, invocation, "step", "Whole training steps, as a share of plain sgemm in between",
                 "  lockstep bench step\n"
                 "  lockstep bench step --case small:4x256 --case small:mix4096 --seconds 3\n"
                 "  lockstep bench step --case gpt2-124m:4x256 --numerics fma256,bf16\n"
                 "  mpirun -n 2 lockstep bench step --weak-scaling --case gpt2-124m:4x256\n"
                 "  lockstep bench step -o step.json && lockstep bench step --compare step.json",
                 [&invocation, a] { return run_bench_step(invocation, *a); });
    verb->add_option("-c,--case", a->cases,
                     "MODEL:SEGMENTSxTOKENS or MODEL:mixTOKENS, repeatable (seven of gpt2-124m and small)");
    verb->add_option("--packs", a->packs, "Packs of a rank in a step (1)")->check(CLI::Range(1, 1 << 16));
    verb->add_option("--threads", a->threads, "Threads of a rank (its share of the cores)")
        ->check(CLI::Range(1, 1024));
    verb->add_option("--seconds", a->seconds, "How long to measure a case, about (8)")
        ->check(CLI::Range(0.0, 3600.0));
    verb->add_option("--gemm", a->gemm, "auto, openblas, own or reference");
    verb->add_option("--numerics", a->numerics, "fma256 or bf16, or both in turns: fma256,bf16 (fma256)")
        ->delimiter(',');
    verb->add_flag("--weak-scaling", a->weak_scaling,
                   "Under mpirun: a step of one rank and of all, beside the scaling of plain sgemm");
    add_bench_output(*verb, a->output);
}

}  // namespace lockstep
