// launch/cli/training.h
//
// What `train` and `resume` share: options, the road from plan to worker, the
// progress line and the summary.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/plan_store.h"
#include "coordinator/run_record.h"
#include "io/checkpoint.h"
#include "kernels/gemm.h"
#include "launch/cli/invocation.h"
#include "launch/cli/world.h"
#include "worker/train_settings.h"
#include "worker/worker.h"

namespace lockstep {

/// Only what was given on the command line; the rest comes from defaults or the run.
struct TrainingArguments {
    std::string plan;
    std::vector<std::string> corpora;
    std::string model;
    std::string run;
    std::optional<std::uint64_t> steps, checkpoint_every, keep, seed, warmup, schedule_steps;
    std::optional<double> learning_rate, final_learning_rate, beta1, beta2, epsilon, weight_decay, clip;
    std::optional<std::int64_t> scale_exponent;
    std::optional<int> threads;
    std::optional<double> hang_timeout;
    std::string gemm = "auto";
    bool quiet = false;
};

void add_settings_options(CLI::App& verb, TrainingArguments& arguments);
void add_machine_options(CLI::App& verb, TrainingArguments& arguments);

/// Settings of a new run. @param plan_steps horizon of the schedule unless given.
TrainSettings settings_from(const TrainingArguments& arguments, const ModelConfig& model,
                            std::uint64_t plan_steps);
/// The run's settings with what was given laid over them, to be compared.
TrainSettings overlaid(const TrainSettings& run, const TrainingArguments& arguments,
                       std::uint64_t corpus_vocabulary);

/// A plan with its corpora as rank 0 holds them.
struct PlanAtHand {
    BatchPlan plan;
    std::vector<PlanSource> bound;
    std::vector<PlanInput> inputs;
};
/// Load, check and bind. For rank 0, or a world of one.
PlanAtHand load_plan_at_hand(const std::string& plan_path, const std::vector<std::string>& corpora);

/// This rank's corpora, checked against what rank 0 announced.
struct CorporaAtHand {
    SampleSource samples;
    std::uint64_t vocabulary = 0;  ///< Largest of all.
};
CorporaAtHand open_corpora(const std::vector<std::string>& corpora, const std::vector<PlanSource>& announced,
                           const PlanAtHand* at_hand);

/// Collective. Train from `generation` (or from the start) and report.
/// @param plan  rank 0's; null elsewhere.
int train_run(const Invocation& invocation, World& world, const TrainingArguments& arguments,
              const PlanAtHand* plan, const RunRecord& record, const std::optional<Manifest>& generation,
              const std::vector<std::string>& corpora);

/// Paths of "[NAME=]FILE" arguments.
std::vector<std::string> corpus_paths(const std::vector<std::string>& arguments);

}  // namespace lockstep
