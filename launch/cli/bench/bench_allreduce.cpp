// `lockstep bench allreduce`: the exact sum of a model's gradient over all ranks,
// beside a copy of the same bytes and MPI's own all-reduce of the same integers.

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "io/comm/agreement.h"
#include "launch/cli/bench/bench_measure.h"
#include "launch/cli/bench/bench_world.h"
#include "launch/cli/data/length_report.h"
#include "launch/cli/world.h"
#include "worker/exact_sum.h"
#include "worker/model/transformer.h"
#include "worker/step_rate.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

struct BenchAllreduceArguments {
    std::string model = "gpt2-124m";
    std::size_t vocabulary = 257;
    std::optional<int> threads;
    int repeats = 5;
    bool with_step = false;
    std::size_t packs = 8;
    std::size_t tokens = 1024;
    BenchOutput output;
};

constexpr int scale_exponent = 50;

/// Collective times of one sum, of which every rank knows the same.
struct SumTimes {
    double copy = 0, add = 0, exchange = 0, gather = 0, all_reduce = 0;
    double exact() const { return exchange + gather; }
};

SumTimes measure_sum(Communicator& comm, ThreadPool& pool, std::size_t elements, int repeats) {
    std::vector<float> gradient(elements);
    for (std::size_t i = 0; i < elements; ++i) gradient[i] = static_cast<float>(i % 2003) * 1e-6F - 1e-3F;
    SumTimes times;
    {
        ExactSum sum(comm, pool, elements);
        const auto add = [&] {
            sum.add(0, gradient, scale_exponent, 8);
            sum.end_pack();
        };
        add();
        times.add = collective_seconds(comm, repeats, add);
        const auto exchange = [&] { sum.reduce_scatter(scale_exponent); };
        exchange();
        times.exchange = collective_seconds(comm, repeats, exchange);
    }
    std::vector<std::uint64_t> sizes;
    for (int r = 0; r < comm.size().value; ++r) {
        sizes.push_back(sizeof(float) * state_slice(elements, Rank{r}, comm.size()).size());
    }
    const StateSlice mine = state_slice(elements, comm.rank(), comm.size());
    times.gather = collective_seconds(comm, repeats, [&] {
        comm.all_gather_v(std::as_bytes(std::span(gradient).subspan(mine.begin, mine.size())),
                          std::as_writable_bytes(std::span(gradient)), sizes);
    });
    std::vector<std::int64_t> integers(elements, 1), copy(elements);
    times.copy = collective_seconds(comm, repeats, [&] {
        std::copy(integers.begin(), integers.end(), copy.begin());
        asm volatile("" : : "r"(copy.data()) : "memory");
    });
    copy = {};
    comm.sum(integers);
    times.all_reduce = collective_seconds(comm, repeats, [&] { comm.sum(integers); });
    return times;
}

/// Collective. Forward and backward of this rank's packs, and the update of its slice, as the slowest rank
/// has it [s].
double measure_compute(Communicator& comm, const Gemm& gemm, const ModelConfig& config,
                       const BenchAllreduceArguments& a) {
    const auto world = static_cast<std::size_t>(comm.size().value);
    const std::size_t packs = (a.packs + world - 1) / world;
    MeasuredStep step(config, gemm, equal_segments(a.tokens, 4), packs);
    step.run();
    comm.barrier();
    const StepSeconds seconds = step.run();
    // The measured step is a world of one: it updates all slices.
    const double compute = seconds.forward_backward + seconds.update / static_cast<double>(world);
    std::int64_t nanoseconds = static_cast<std::int64_t>(1e9 * compute);
    comm.max({&nanoseconds, 1});
    return static_cast<double>(nanoseconds) / 1e9;
}

void report_sum(BenchReport& report, const SumTimes& t, std::size_t elements, bool alone) {
    // A world of one has nobody to exchange with: no all-reduce to stand beside.
    std::vector<BenchReport::Probe> probes = {{"memcpy", t.copy}};
    if (!alone) probes.push_back({"all_reduce", t.all_reduce});
    report.row("memcpy of " + bytes_text(8 * elements), {{"seconds", t.copy}}, fixed(t.copy, 4) + " s");
    report.time_row("one pack's gradient to integers, added", t.add, probes);
    report.time_row("exchange: reduce-scatter", t.exchange, probes);
    if (alone) return;
    report.time_row("all-gather of the float32 weights", t.gather, probes);
    report.time_row("both", t.exact(), probes);
    report.time_row("all-reduce of the integers by MPI", t.all_reduce, {{"memcpy", t.copy}});
}

void report_share(BenchReport& report, const BenchAllreduceArguments& a, const SumTimes& t, double compute,
                  int world) {
    const std::size_t packs =
        (a.packs + static_cast<std::size_t>(world) - 1) / static_cast<std::size_t>(world);
    const double sum = static_cast<double>(packs) * t.add + t.exact();
    const double step = compute + sum;
    report.row("exact sum and exchange of a step",
               {{"seconds", sum}, {"step_seconds", step}, {"step_ratio", sum / step}},
               percent(sum / step) + " of " + fixed(step, 2) + " s (" + std::to_string(a.packs) +
                   " packs of " + std::to_string(a.tokens) + " tokens)");
}

int bench_in_world(const Invocation& invocation, const BenchAllreduceArguments& a, World& world) {
    Communicator& comm = *world.comm;
    std::optional<BenchReport> report;
    ModelConfig config;
    together(comm, "reading the options", [&] {
        if (world.is_root()) report.emplace(invocation, "allreduce", a.output);
        config = load_model_config(a.model, a.vocabulary).config;
    });
    const int threads = a.threads.value_or(default_threads(world));
    ThreadPool pool(threads);
    const std::size_t elements = StateLayout(config).size();
    if (report) {
        report->data() = {{"model", a.model},         {"ranks", comm.size().value}, {"threads", threads},
                          {"with_step", a.with_step}, {"packs", a.packs},           {"tokens", a.tokens}};
        invocation.say(a.model + ": " + with_commas(elements) + " elements of state, " +
                       std::to_string(comm.size().value) + " rank(s) of " + std::to_string(threads) +
                       " thread(s); medians of " + std::to_string(a.repeats) + ", of the slowest rank");
    }
    double compute = 0;
    if (a.with_step) {
        const Gemm gemm(pool, GemmBackend::automatic, gemm_shapes(config, a.tokens));
        compute = measure_compute(comm, gemm, config, a);
    }
    const SumTimes times = measure_sum(comm, pool, elements, a.repeats);
    int code = 0;
    together(comm, "reporting", [&] {
        if (!report) return;
        report_sum(*report, times, elements, comm.size().value == 1);
        if (a.with_step) report_share(*report, a, times, compute, comm.size().value);
        code = report->finish();
    });
    std::int64_t agreed = code;
    comm.max({&agreed, 1});
    return static_cast<int>(agreed);
}

}  // namespace

void add_bench_allreduce(CLI::App& bench, Invocation& invocation) {
    auto a = std::make_shared<BenchAllreduceArguments>();
    a->output.time_tolerance = 0.25;
    CLI::App* verb = add_verb(
        bench, invocation, "allreduce", "The exact sum over ranks, beside memcpy and MPI's all-reduce",
        "  mpirun -n 2 lockstep bench allreduce -m small\n"
        "  mpirun -n 2 lockstep bench allreduce -m gpt2-124m --with-step",
        [&invocation, a] {
            return run_in_world([&](World& world) { return bench_in_world(invocation, *a, world); });
        });
    verb->add_option("-m,--model", a->model, "Model whose state is summed (gpt2-124m)");
    verb->add_option("--threads", a->threads, "Threads of a rank (its share of the cores)")
        ->check(CLI::Range(1, 1024));
    verb->add_option("--repeats", a->repeats, "Runs of which the median is shown (5)")
        ->check(CLI::Range(1, 10000));
    verb->add_flag("--with-step", a->with_step, "Measure a step too, and the sum's share of it");
    verb->add_option("--packs", a->packs, "Packs of that step, over all ranks (8)")
        ->check(CLI::Range(1, 1 << 16));
    verb->add_option("--tokens", a->tokens, "Tokens of each pack, in four segments (1024)")
        ->check(CLI::Range(4, 1 << 20));
    add_bench_output(*verb, a->output);
}

}  // namespace lockstep
