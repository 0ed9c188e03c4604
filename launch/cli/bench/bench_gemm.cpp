// `lockstep bench gemm`: every matrix product of a model's step, by each backend,
// beside plain sgemm and beside multiply-adds that touch no memory.

#include <array>
#include <memory>

#include "io/base/error.h"
#include "kernels/speed_probe.h"
#include "launch/cli/bench/bench_measure.h"
#include "launch/cli/world.h"
#include "worker/model/transformer.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

struct BenchGemmArguments {
    std::string model = "gpt2-124m";
    std::vector<std::size_t> tokens = {1024, 256, 64};
    std::vector<int> threads;
    std::size_t vocabulary = 257;
    double seconds = 0.3;
    BenchOutput output;
};

/// One way to compute a product.
struct Candidate {
    std::string name;
    std::function<void(const GemmShape&)> run;
};

class GemmBench {
  public:
    GemmBench(const Invocation& invocation, const BenchGemmArguments& arguments)
        : invocation_(invocation), a_(arguments), report_(invocation, "gemm", arguments.output) {}

    int run() {
        const ModelConfig config = load_model_config(a_.model, a_.vocabulary).config;
        std::vector<int> threads = a_.threads;
        if (threads.empty()) {
            threads = {1};
            if (default_threads(World{}) > 1) threads.push_back(default_threads(World{}));
        }
        report_.data() = {{"model", a_.model}, {"tokens", a_.tokens}, {"threads", threads}};
        for (const int count : threads) with_threads(config, count);
        return report_.finish();
    }

  private:
    void with_threads(const ModelConfig& config, int threads) {
        ThreadPool pool(threads);
        fma_rate_ = measure_fma_rate(pool, kernel_isa(), a_.seconds);
        invocation_.say(std::to_string(threads) + " thread(s); OpenBLAS core type " + blas_core_type() +
                        "; multiply-adds in registers, " + name_of(kernel_isa()) + ": " +
                        fixed(fma_rate_ / 1e9, 1) + " GFLOP/s");
        report_.machine()["fma_flop_per_second_" + std::to_string(threads)] = fma_rate_;
        for (const std::size_t tokens : a_.tokens) with_tokens(config, pool, tokens);
    }

    void with_tokens(const ModelConfig& config, ThreadPool& pool, std::size_t tokens) {
        const std::vector<GemmShape> shapes = gemm_shapes(config, tokens);
        ProductProbe probe(shapes);
        std::vector<std::unique_ptr<Gemm>> backends;
        std::vector<Candidate> candidates;
        candidates.push_back({"sgemm", [&](const GemmShape& s) { probe.sgemm(pool, s); }});
        for (const GemmBackend backend : {GemmBackend::openblas, GemmBackend::own}) {
            try {
                backends.push_back(std::make_unique<Gemm>(pool, backend, shapes));
            } catch (const Error& error) {
                invocation_.say("  without " + std::string(name_of(backend)) + ": " + error.what());
                continue;
            }
            candidates.push_back(
                {std::string(name_of(backend)),
                 [&probe, gemm = backends.back().get()](const GemmShape& s) { probe.multiply(*gemm, s); }});
        }
        const Gemm* const own = backends.back().get();
        candidates.push_back(
            {"own_laid_out", [&probe, own](const GemmShape& s) { probe.multiply_laid_out(*own, s); }});
        const std::string place =
            std::to_string(tokens) + " tokens, " + std::to_string(pool.size()) + " thread(s)";
        invocation_.say(place + ": GFLOP/s and share of sgemm, sgemm's own of multiply-adds in registers");
        std::vector<double> totals(candidates.size());
        double flop = 0, own_threads_seconds = 0;
        for (const GemmShape& shape : shapes) {
            probe.lay_out(*own, shape);
            const std::vector<double> seconds = time_in_turn(shape, candidates);
            rates_row(text_of(shape) + ", " + place, flop_of(shape), candidates, seconds);
            for (std::size_t i = 0; i < totals.size(); ++i) totals[i] += seconds[i];
            flop += flop_of(shape);
            if (pool.size() > 1) own_threads_seconds += openblas_threads_seconds(probe, pool, shape);
        }
        if (pool.size() > 1) {
            candidates.push_back({"openblas_threads", {}});
            totals.push_back(own_threads_seconds);
        }
        rates_row("all, " + place, flop, candidates, totals);
    }

    /// Median seconds of each, one call of each in turn, so that a change of the machine's speed meets all.
    std::vector<double> time_in_turn(const GemmShape& shape, const std::vector<Candidate>& candidates) const {
        std::vector<std::vector<double>> times(candidates.size());
        for (const Candidate& c : candidates) c.run(shape);
        double spent = 0;
        while (spent < a_.seconds || times[0].size() < 3) {
            for (std::size_t i = 0; i < candidates.size(); ++i) {
                times[i].push_back(seconds_of([&] { candidates[i].run(shape); }));
                spent += times[i].back();
            }
        }
        std::vector<double> medians;
        for (std::vector<double>& row : times) medians.push_back(median_of(std::move(row)));
        return medians;
    }

    /// The first candidate is plain sgemm.
    void rates_row(const std::string& what, double flop, const std::vector<Candidate>& candidates,
                   const std::vector<double>& seconds) {
        ordered_json figures;
        std::string text;
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            const std::string& name = candidates[i].name;
            const double rate = flop / seconds[i];
            figures[name + "_flop_per_second"] = rate;
            figures[name + (i == 0 ? "_fma_share" : "_sgemm_share")] =
                i == 0 ? rate / fma_rate_ : seconds[0] / seconds[i];
            text += name + " " + fixed(rate / 1e9, 1) + " (" +
                    fixed(i == 0 ? rate / fma_rate_ : seconds[0] / seconds[i], 2) + ")  ";
        }
        report_.row(what, figures, text);
    }

    /// Apart from the others: its threads spin when they are done, until they sleep.
    static double openblas_threads_seconds(ProductProbe& probe, ThreadPool& pool, const GemmShape& shape) {
        const auto work = [&] { probe.sgemm(pool, shape, SgemmSplit::openblas); };
        work();
        const double median = median_seconds(5, work);
        wait_until_idle();
        return median;
    }

    const Invocation& invocation_;
    const BenchGemmArguments& a_;
    BenchReport report_;
    double fma_rate_ = 0;
};

int run_bench_gemm(const Invocation& invocation, const BenchGemmArguments& arguments) {
    require_one_rank("bench gemm");
    return GemmBench(invocation, arguments).run();
}

}  // namespace

void add_bench_gemm(CLI::App& bench, Invocation& invocation) {
    auto a = std::make_shared<BenchGemmArguments>();
    a->output.time_tolerance = 0.15;
    CLI::App* verb = add_verb(bench, invocation, "gemm",
                              "A model's matrix products, beside plain sgemm and multiply-adds in registers",
                              "  lockstep bench gemm\n"
                              "  lockstep bench gemm -m small --tokens 256 --threads 1\n"
                              "  OPENBLAS_CORETYPE=Haswell lockstep bench gemm",
                              [&invocation, a] { return run_bench_gemm(invocation, *a); });
    verb->add_option("-m,--model", a->model, "Model whose products are measured (gpt2-124m)");
    verb->add_option("--tokens", a->tokens, "Tokens of a pack (1024,256,64)")
        ->delimiter(',')
        ->check(CLI::Range(1, 1 << 20));
    verb->add_option("--threads", a->threads, "Threads (1 and all cores)")
        ->delimiter(',')
        ->check(CLI::Range(1, 1024));
    verb->add_option("--seconds", a->seconds, "How long to measure a shape, all ways together (0.3)")
        ->check(CLI::Range(0.0, 600.0));
    add_bench_output(*verb, a->output);
}

}  // namespace lockstep
