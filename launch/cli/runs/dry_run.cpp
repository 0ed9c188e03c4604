#include "launch/cli/runs/dry_run.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/distribution.h"
#include "io/comm/agreement.h"
#include "worker/step_forecast.h"

namespace lockstep {

namespace {

constexpr double probe_seconds = 2.0;

std::vector<std::pair<std::string, std::size_t>> purposes_of(const RankMemory& memory) {
    std::vector<std::pair<std::string, std::size_t>> purposes = {
        {"program", memory.program},
        {"weights", memory.weights},
        {"weight panels", memory.transformer.weight_panels},
        {"optimizer moments", memory.moments},
        {"exact gradient sum", memory.exact_sum},
        {"snapshot", memory.snapshot},
        {"activations", memory.transformer.activations},
        {"logits", memory.transformer.logits},
        {"gradient at hand", memory.transformer.gradient},
        {"product scratch", memory.scratch},
        {"attention scratch", memory.attention}};
    if (memory.transformer.rotary > 0) purposes.emplace_back("rotary tables", memory.transformer.rotary);
    if (memory.adapters > 0) purposes.insert(purposes.begin() + 2, {"adapters", memory.adapters});
    return purposes;
}

}  // namespace

int dry_run(const Invocation& invocation, World& world, const TrainingArguments& arguments,
            const PlanAtHand* plan, const TrainSettings& settings) {
    Communicator& comm = *world.comm;
    const PlanDistribution distribution(comm, plan != nullptr ? std::optional(plan->served()) : std::nullopt);
    const PlanSummary& summary = distribution.summary();
    const auto tokens_max = std::max<std::size_t>(summary.pack_tokens_max, 1);
    const int threads = arguments.threads.value_or(default_threads(world));
    const Activations activations = arguments.recompute ? Activations::recompute : Activations::keep;

    std::optional<ThreadPool> pool;
    std::optional<Gemm> gemm;
    RankMemory memory;
    MachineRate rate;
    together(comm, "measuring the machine", [&] {
        pool.emplace(threads);
        gemm.emplace(*pool, parse_gemm_backend(arguments.gemm),
                     gemm_shapes(settings.model, tokens_max, settings.lora), settings.numerics);
        memory = rank_memory(settings.model, *gemm, tokens_max, activations, comm.size(),
                             arguments.sync_checkpoints ? SnapshotMode::borrow : SnapshotMode::copy,
                             settings.lora);
    });
    comm.barrier();
    together(comm, "measuring the machine",
             [&] { rate = probe_machine(settings.model, *gemm, tokens_max, probe_seconds, settings.lora); });
    // The mean of all ranks: a step waits for everyone, and packs are dealt by cost.
    std::int64_t sums[2] = {static_cast<std::int64_t>(rate.flop_per_second),
                            static_cast<std::int64_t>(rate.bytes_per_second)};
    comm.sum(sums);
    if (!world.is_root()) return 0;
    const double ranks = comm.size().value;
    rate = {static_cast<double>(sums[0]) / ranks, static_cast<double>(sums[1]) / ranks};

    const StateLayout trained = trainable_layout(settings.model, settings.lora);
    const std::size_t frozen = settings.lora ? StateLayout(settings.model).parameters() : 0;
    const auto steps = static_cast<double>(std::max<std::uint64_t>(summary.num_steps, 1));
    const double tokens_a_step = static_cast<double>(summary.planned_tokens) / steps;
    StepWork work;
    work.flop = flop_per_token(settings.model, settings.lora, static_cast<double>(summary.mean_context)) *
                tokens_a_step;
    work.packs = static_cast<double>(summary.num_packs) / steps;
    const double seconds = forecast_step_seconds(work, rate, trained.size(), comm.size());
    const double tokens_per_second = tokens_a_step / seconds;
    const auto run_steps =
        static_cast<double>(std::min(arguments.steps.value_or(summary.num_steps), summary.num_steps));

    invocation.say("parameters " + with_commas(frozen + trained.parameters()) +
                   (settings.lora ? ", of which trained " + with_commas(trained.parameters()) +
                                        " (LoRA, rank " + std::to_string(settings.lora->rank) + " on " +
                                        text_of(settings.lora->targets) + ")"
                                  : std::string()) +
                   "; plan: " + with_commas(summary.num_steps) + " steps of " + fixed(work.packs, 1) +
                   " packs and " + with_commas(static_cast<std::uint64_t>(tokens_a_step)) +
                   " tokens on average, packs of up to " + with_commas(summary.pack_tokens_max) + " tokens");
    invocation.say("memory of a rank, of " + std::to_string(comm.size().value) + ":");
    nlohmann::ordered_json by_purpose;
    for (const auto& [purpose, bytes] : purposes_of(memory)) {
        by_purpose[purpose] = bytes;
        invocation.say("  " + purpose + std::string(20 - purpose.size(), ' ') + bytes_text(bytes));
    }
    invocation.say("  together            " + bytes_text(memory.total()));
    invocation.say("matrix product: " + gemm->describe());
    invocation.say("operations a step " + rate_text(work.flop) +
                   "FLOP; this machine: " + fixed(rate.flop_per_second / 1e9, 1) + " GFLOP/s and " +
                   fixed(rate.bytes_per_second / 1e9, 1) + " GB/s a rank of " + std::to_string(threads) +
                   " thread(s)");
    invocation.say("expected: " + fixed(seconds * 1e3, 1) + " ms a step, " + rate_text(tokens_per_second) +
                   " tokens/s, " + duration_text(seconds * run_steps) + " for " +
                   with_commas(static_cast<std::uint64_t>(run_steps)) +
                   " steps (without checkpoints and the network between hosts)");
    invocation.give({{"parameters", frozen + trained.parameters()},
                     {"trainable_parameters", trained.parameters()},
                     {"steps", static_cast<std::uint64_t>(run_steps)},
                     {"tokens_per_step", tokens_a_step},
                     {"memory_bytes", by_purpose},
                     {"memory_total_bytes", memory.total()},
                     {"flop_per_step", work.flop},
                     {"flop_per_second", rate.flop_per_second * ranks},
                     {"bytes_per_second", rate.bytes_per_second * ranks},
                     {"step_seconds", seconds},
                     {"tokens_per_second", tokens_per_second},
                     {"run_seconds", seconds * run_steps}});
    return 0;
}

}  // namespace lockstep
