// `mpirun … lockstep bench step --weak-scaling`: a step of rank 0 alone, then one of all
// ranks, each with as many packs; and plain sgemm alone and everywhere at once.

#include <memory>
#include <optional>
#include <vector>

#include "io/base/error.h"
#include "io/comm/agreement.h"
#include "launch/cli/bench/bench_step.h"
#include "launch/cli/bench/bench_world.h"
#include "launch/cli/bench/step_case.h"
#include "launch/cli/world.h"
#include "worker/model/transformer.h"
#include "worker/step_rate.h"

namespace lockstep {

namespace {

/// A round's figures, of which every rank knows the same.
struct ScalingRound {
    double step_alone = 0, step_together = 0;    ///< [s]
    double sgemm_alone = 0, sgemm_together = 0;  ///< Of all ranks that are at it [flop/s].

    /// Work done a second by all ranks over that by one.
    double step_scaling(double ranks) const { return ranks * step_alone / step_together; }
    double sgemm_scaling() const { return sgemm_together / sgemm_alone; }
    double share(double ranks) const { return step_scaling(ranks) / sgemm_scaling(); }
};

/// Collective. The rates of all ranks, added.
double sum_of_rates(Communicator& comm, double mine) {
    auto rate = static_cast<std::int64_t>(mine);
    comm.sum({&rate, 1});
    return static_cast<double>(rate);
}

/// What a rank needs for a case: the step of all, and on rank 0 the step of a world of one.
class ScalingCase {
  public:
    ScalingCase(World& world, ThreadPool& pool, const StepCase& c, const BenchStepArguments& a)
        : world_(world),
          config_(load_model_config(c.model, a.vocabulary).config),
          gemm_(pool, parse_gemm_backend(a.gemm), gemm_shapes(config_, c.tokens()),
                parse_gemm_numerics(a.numerics.front())),
          probe_(config_, c.tokens(), pool),
          together_(config_, gemm_, c.segment_tokens, a.packs, world.comm.get()) {
        if (world.is_root()) {
            alone_ = std::make_unique<MeasuredStep>(config_, gemm_, c.segment_tokens, a.packs);
        }
    }

    /// Collective. Steps and products in turn, so that a change of the machine's speed meets all.
    ScalingRound round() {
        Communicator& comm = *world_.comm;
        ScalingRound round;
        round.step_alone = collective_seconds(comm, 1, [&] {
            if (alone_) alone_->run();
        });
        round.sgemm_alone = sum_of_rates(comm, world_.is_root() ? sgemm_rate() : 0);
        round.step_together = collective_seconds(comm, 1, [&] { together_.run(); });
        comm.barrier();
        round.sgemm_together = sum_of_rates(comm, sgemm_rate());
        return round;
    }

  private:
    double sgemm_rate() { return probe_.run(SgemmSplit::our_pool); }

    World& world_;
    ModelConfig config_;
    Gemm gemm_;
    SgemmProbe probe_;
    MeasuredStep together_;
    std::unique_ptr<MeasuredStep> alone_;
};

std::vector<ScalingRound> measure_rounds(ScalingCase& measured, double seconds) {
    measured.round();  // Warms up.
    std::vector<ScalingRound> rounds;
    double spent = 0;
    while (rounds.size() < 3 || (spent < seconds && rounds.size() < 200)) {
        rounds.push_back(measured.round());
        spent += 2 * (rounds.back().step_alone + rounds.back().step_together);
    }
    return rounds;
}

void report_case(BenchReport& report, const StepCase& c, const std::vector<ScalingRound>& rounds, int world) {
    const double ranks = world;
    const auto median = [&](const std::function<double(const ScalingRound&)>& figure) {
        std::vector<double> values;
        for (const ScalingRound& round : rounds) values.push_back(figure(round));
        return median_of(std::move(values));
    };
    const double step = median([&](const ScalingRound& r) { return r.step_scaling(ranks); });
    const double sgemm = median([](const ScalingRound& r) { return r.sgemm_scaling(); });
    const double share = median([&](const ScalingRound& r) { return r.share(ranks); });
    report.row(c.name,
               {{"alone_seconds", median([](const ScalingRound& r) { return r.step_alone; })},
                {"together_seconds", median([](const ScalingRound& r) { return r.step_together; })},
                {"step_scaling", step},
                {"sgemm_alone_flop_per_second", median([](const ScalingRound& r) { return r.sgemm_alone; })},
                {"sgemm_flop_per_second", median([](const ScalingRound& r) { return r.sgemm_together; })},
                {"sgemm_scaling", sgemm},
                {"sgemm_scaling_share", share},
                {"rounds_timed", rounds.size()}},
               fixed(step, 3) + " x one rank's rate, sgemm " + fixed(sgemm, 3) + " x: " + fixed(share, 3) +
                   " of sgemm's scaling");
}

int bench_in_world(const Invocation& invocation, const BenchStepArguments& a, World& world) {
    Communicator& comm = *world.comm;
    const int ranks = comm.size().value;
    std::optional<BenchReport> report;
    const std::vector<std::string> names =
        a.cases.empty() ? std::vector<std::string>{"gpt2-124m:4x256", "small:4x256"} : a.cases;
    std::vector<StepCase> cases;
    together(comm, "reading the options", [&] {
        if (world.is_root()) report.emplace(invocation, "scaling", a.output);
        for (const std::string& text : names) cases.push_back(parse_step_case(text));
        if (ranks < 2) {
            throw Error(ErrorCode::invalid_argument,
                        "--weak-scaling compares one rank with several, and the world has one; start it as "
                        "mpirun -n 2 lockstep bench step --weak-scaling");
        }
        if (a.numerics.size() != 1) {
            throw Error(ErrorCode::invalid_argument,
                        "--weak-scaling takes one of --numerics, not " + std::to_string(a.numerics.size()));
        }
    });
    ThreadPool pool(a.threads.value_or(default_threads(world)));
    if (report) {
        report->data() = {{"cases", names},
                          {"numerics", a.numerics.front()},
                          {"packs", a.packs},
                          {"ranks", ranks},
                          {"threads", pool.size()}};
        invocation.say(std::to_string(ranks) + " ranks of " + std::to_string(pool.size()) + " thread(s), " +
                       std::to_string(a.packs) + " pack(s) a rank and step");
    }
    for (const StepCase& c : cases) {
        std::optional<ScalingCase> measured;
        together(comm, "preparing " + c.name, [&] { measured.emplace(world, pool, c, a); });
        comm.set_phase("measuring " + c.name);
        const std::vector<ScalingRound> rounds = measure_rounds(*measured, a.seconds);
        if (report) report_case(*report, c, rounds, ranks);
    }
    std::int64_t code = 0;
    together(comm, "reporting", [&] {
        if (report) code = report->finish();
    });
    comm.max({&code, 1});
    return static_cast<int>(code);
}

}  // namespace

int run_weak_scaling(const Invocation& invocation, const BenchStepArguments& arguments) {
    return run_in_world([&](World& world) { return bench_in_world(invocation, arguments, world); });
}

}  // namespace lockstep
