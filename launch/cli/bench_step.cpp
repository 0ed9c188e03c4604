// `lockstep bench step`: whole training steps on one rank, as a share of what plain
// sgemm does on the same layers' shapes in between.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <thread>

#include "io/base/error.h"
#include "kernels/cross_entropy.h"
#include "kernels/speed_probe.h"
#include "launch/cli/bench_measure.h"
#include "launch/cli/world.h"
#include "worker/model/transformer.h"
#include "worker/step_rate.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

struct BenchStepArguments {
    std::vector<std::string> cases = {"gpt2-124m:4x256", "gpt2-124m:4x64", "gpt2-124m:1x1024",
                                      "small:4x256",     "small:4x64",     "small:mix4096"};
    std::size_t packs = 1;
    std::size_t vocabulary = 257;
    std::optional<int> threads;
    double seconds = 8;
    std::string gemm = "auto";
    BenchOutput output;
};

/// "gpt2-124m:4x256" or "small:mix4096".
struct StepCase {
    std::string name, model;
    std::vector<std::size_t> segment_tokens;
};

constexpr std::size_t case_tokens_max = 1U << 20U;

/// Documents as they come: log-normal, one after the other until the pack is full; the last is cut to fit.
std::vector<std::size_t> mixed_segments(std::size_t tokens) {
    std::vector<std::size_t> segments;
    std::size_t left = tokens;
    for (const std::uint32_t length : log_normal_lengths(7, tokens, 300, 0.8, 1024)) {
        if (left == 0) break;
        segments.push_back(std::min<std::size_t>(length, left));
        left -= segments.back();
    }
    return segments;
}

StepCase parse_case(const std::string& text) {
    const auto refuse = [&] {
        return Error(ErrorCode::invalid_argument,
                     "--case is '" + text +
                         "'; expected MODEL:SEGMENTSxTOKENS, such as gpt2-124m:4x256, or "
                         "MODEL:mixTOKENS, such as small:mix4096");
    };
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0) throw refuse();
    const auto number = [&](std::string_view digits) {
        std::size_t value = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        if (error != std::errc() || end != digits.data() + digits.size() || value < 1 ||
            value > case_tokens_max) {
            throw refuse();
        }
        return value;
    };
    StepCase result{text, text.substr(0, colon), {}};
    const std::string_view packing = std::string_view(text).substr(colon + 1);
    if (packing.starts_with("mix")) {
        result.segment_tokens = mixed_segments(number(packing.substr(3)));
        return result;
    }
    const std::size_t times = packing.find('x');
    if (times == std::string_view::npos) throw refuse();
    const std::size_t segments = number(packing.substr(0, times));
    const std::size_t tokens = number(packing.substr(times + 1));
    if (segments * tokens > case_tokens_max) throw refuse();
    result.segment_tokens.assign(segments, tokens);
    return result;
}

/// The matrix products of a pack as plain sgemm, on the layers' own shapes.
class SgemmProbe {
  public:
    SgemmProbe(const ModelConfig& config, std::size_t tokens, ThreadPool& pool)
        : pool_(pool), shapes_(gemm_shapes(config, tokens)), products_(shapes_) {
        // The head's shapes are of one tile; the others are of one layer.
        const std::size_t head_tokens = std::min(tokens, head_tile_tokens);
        for (const GemmShape& s : shapes_) {
            const bool is_head = std::max({s.m, s.n, s.k}) == config.vocabulary;
            counts_.push_back(is_head ? static_cast<double>(tokens) / static_cast<double>(head_tokens)
                                      : static_cast<double>(config.layers));
        }
    }

    /// Rate over all products of a step, each timed once after a call that brings its operands close
    /// [flop/s].
    double run(SgemmSplit split) {
        double flop = 0, seconds = 0;
        for (std::size_t i = 0; i < shapes_.size(); ++i) {
            const auto work = [&] { products_.sgemm(pool_, shapes_[i], split); };
            work();
            flop += counts_[i] * flop_of(shapes_[i]);
            seconds += counts_[i] * seconds_of(work);
        }
        return flop / seconds;
    }

  private:
    ThreadPool& pool_;
    std::vector<GemmShape> shapes_;
    std::vector<double> counts_;
    ProductProbe products_;
};

/// OpenBLAS' threads spin before they sleep; nothing of ours may run beside them.
void let_threads_sleep(SgemmSplit split) {
    if (split == SgemmSplit::openblas) std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

class StepBench {
  public:
    StepBench(const Invocation& invocation, const BenchStepArguments& arguments)
        : invocation_(invocation), a_(arguments), report_(invocation, "step", arguments.output) {}

    int run() {
        std::vector<StepCase> cases;
        for (const std::string& text : a_.cases) cases.push_back(parse_case(text));
        ThreadPool pool(a_.threads.value_or(default_threads(World{})));
        report_.data() = {{"cases", a_.cases}, {"packs", a_.packs}, {"threads", pool.size()}};
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
        const std::size_t tokens = sum_of(c.segment_tokens);
        const Gemm gemm(pool, parse_gemm_backend(a_.gemm), gemm_shapes(config, tokens));
        MeasuredStep step(config, gemm, c.segment_tokens, a_.packs);
        SgemmProbe probe(config, tokens, pool);
        step.run();  // Warms up.
        const SgemmSplit split = faster_split(probe, pool);

        // Probe, step, probe, step: a change of the machine's speed meets both.
        std::vector<double> forward_backward, exact_sum, update, totals, probes = {probe.run(split)}, shares;
        double spent = 0;
        while (totals.size() < 3 || (spent < a_.seconds && totals.size() < 200)) {
            let_threads_sleep(split);
            const StepSeconds seconds = step.run();
            forward_backward.push_back(seconds.forward_backward);
            exact_sum.push_back(seconds.exact_sum);
            update.push_back(seconds.update);
            totals.push_back(seconds.total());
            probes.push_back(probe.run(split));
            const double probe_rate = (probes[probes.size() - 2] + probes.back()) / 2;
            shares.push_back(step.flop() / seconds.total() / probe_rate);
            spent += 2 * seconds.total();
        }
        const double forward = median_seconds(3, [&] { step.run_forward(); });
        const double total = median_of(totals);
        const double rate = step.flop() / total;
        const auto token_rate = static_cast<double>(step.tokens()) / total;
        const ordered_json figures = {
            {"segments", c.segment_tokens.size()},
            {"tokens", step.tokens()},
            {"seconds", total},
            {"best_seconds", *std::ranges::min_element(totals)},
            {"steps_timed", totals.size()},
            {"forward_seconds", forward},
            {"forward_backward_seconds", median_of(forward_backward)},
            {"exact_sum_seconds", median_of(exact_sum)},
            {"update_seconds", median_of(update)},
            {"tokens_per_second", token_rate},
            {"flop", step.flop()},
            {"flop_per_second", rate},
            {"probe_split", split == SgemmSplit::our_pool ? "our pool" : "openblas"},
            {"probe_flop_per_second", median_of(probes)},
            {"sgemm_share", median_of(shares)},
            {"fma_share", rate / fma_rate_},
            {"gemm", gemm.describe()},
            {"workspace_bytes", step.workspace_bytes()},
        };
        report_.row(c.name, figures,
                    fixed(1e3 * total, 1) + " ms, " + rate_text(token_rate) + " tokens/s, " +
                        fixed(rate / 1e9, 1) + " GFLOP/s = " + fixed(median_of(shares), 3) + " of sgemm's " +
                        fixed(median_of(probes) / 1e9, 1));
        invocation_.say("    forward and backward " + fixed(1e3 * median_of(forward_backward), 1) +
                        " ms (forward alone " + fixed(1e3 * forward * static_cast<double>(a_.packs), 1) +
                        "), exact sum " + fixed(1e3 * median_of(exact_sum), 1) + ", update " +
                        fixed(1e3 * median_of(update), 1) + "; " + fixed(rate / fma_rate_, 3) +
                        " of multiply-adds in registers; " + std::to_string(totals.size()) + " steps");
    }

    static std::size_t sum_of(const std::vector<std::size_t>& values) {
        std::size_t sum = 0;
        for (const std::size_t value : values) sum += value;
        return sum;
    }

    /// The stricter probe: whichever way plain sgemm is faster here.
    SgemmSplit faster_split(SgemmProbe& probe, const ThreadPool& pool) const {
        if (pool.size() == 1) return SgemmSplit::our_pool;
        std::vector<double> ours, theirs;
        for (int i = 0; i < 3; ++i) {
            ours.push_back(probe.run(SgemmSplit::our_pool));
            theirs.push_back(probe.run(SgemmSplit::openblas));
            let_threads_sleep(SgemmSplit::openblas);
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
    double fma_rate_ = 0;
};

int run_bench_step(const Invocation& invocation, const BenchStepArguments& arguments) {
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
                 "  lockstep bench step -o step.json && lockstep bench step --compare step.json",
                 [&invocation, a] { return run_bench_step(invocation, *a); });
    verb->add_option("-c,--case", a->cases,
                     "MODEL:SEGMENTSxTOKENS or MODEL:mixTOKENS, repeatable (six of gpt2-124m and small)");
    verb->add_option("--packs", a->packs, "Packs of a step (1)")->check(CLI::Range(1, 1 << 16));
    verb->add_option("--threads", a->threads, "Threads (all cores)")->check(CLI::Range(1, 1024));
    verb->add_option("--seconds", a->seconds, "How long to measure a case, about (8)")
        ->check(CLI::Range(0.0, 3600.0));
    verb->add_option("--gemm", a->gemm, "auto, openblas, own or reference");
    add_bench_output(*verb, a->output);
}

}  // namespace lockstep
