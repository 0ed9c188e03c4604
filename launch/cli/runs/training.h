// launch/cli/runs/training.h
//
// What `train` and `resume` share: options, the road from plan to worker, the
// progress line and the summary.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/distribution.h"
#include "coordinator/plan_file.h"
#include "coordinator/plan_store.h"
#include "coordinator/run_record.h"
#include "io/run/checkpoint.h"
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
    std::string init;          ///< Folder of initial weights.
    std::string init_adapter;  ///< Folder of initial adapters.
    std::string run;
    std::optional<std::uint64_t> steps, keep, keep_every, seed, warmup, schedule_steps;
    std::optional<std::string> checkpoint_every;
    std::uint64_t cross_check = 0;
    bool sync_checkpoints = false;
    std::optional<double> learning_rate, final_learning_rate, beta1, beta2, epsilon, weight_decay, clip;
    std::optional<std::int64_t> scale_exponent;
    std::optional<int> threads;
    std::optional<double> hang_timeout;
    std::optional<std::string> numerics, lora_targets;
    std::optional<std::size_t> lora_rank;
    std::optional<double> lora_alpha;
    std::string gemm = "auto";
    bool use_lora = false;
    bool recompute = false;
    bool quiet = false;
};

void add_settings_options(CLI::App& verb, TrainingArguments& arguments);
void add_machine_options(CLI::App& verb, TrainingArguments& arguments);
/// @param as_the_run  the values left out are the run's, not the defaults.
void add_generation_options(CLI::App& verb, TrainingArguments& arguments, bool as_the_run);

/// Settings of a new run. @param plan_steps horizon of the schedule unless given.
/// @param adapter  of the folder it begins with, if there is one.
TrainSettings settings_from(const TrainingArguments& arguments, const ModelConfig& model,
                            std::uint64_t plan_steps, const std::optional<LoraSettings>& adapter = {});
/// For run_in_world: ends this process with code 76 when it stands still for --hang-timeout and a little,
/// from now on.
std::unique_ptr<ProgressWatch> watch_start(const TrainingArguments& arguments);
/// Run local work of a start as `together` does; `what` is also what the watch names if it never returns.
void prepare(World& world, std::string_view what, const std::function<void()>& work);
/// First thing in every start: what must hold before any collective or any work.
/// @throws Error{invalid_argument}.
void begin_start(World& world, const TrainingArguments& arguments);

/// run.json must be whole, of our numerics, and not contradict what was given on the command line.
/// @throws Error{corrupt_data, incompatible_version}; Error{invalid_argument} naming the setting and both
/// values.
void check_record(const RunRecord& record, const TrainingArguments& arguments);

/// @throws Error{invalid_argument} naming the first setting that was given and is not the run's.
void refuse_other_settings(const TrainSettings& run, const TrainingArguments& arguments,
                           const std::string& why);

/// Rank 0, where --init was given: the folder must hold the run's initial weights, by their bits.
/// @throws Error{fingerprint_mismatch}; Error as WeightsFolder.
void check_init(const TrainSettings& run, const TrainingArguments& arguments);
/// The bits of a folder's weights for this model. Holds one copy of the weights while it looks.
Fingerprint init_fingerprint(const std::string& folder, const ModelConfig& model);

/// Stop if the corpus' tokenizer or some of its documents changed since it was made; say what cannot be
/// checked. @throws Error{fingerprint_mismatch}.
void warn_of_drift(const Corpus& corpus);

/// Corpora of a plan, in the order of its sources: "[NAME=]FILE" as corpus_paths has it.
std::vector<PlanInput> open_inputs(const std::vector<std::string>& corpora,
                                   const std::vector<PlanSource>& sources);

/// A plan with its corpora as rank 0 holds them.
struct PlanAtHand {
    PlanFile plan;
    PlanTotals totals;
    std::vector<PlanSource> bound;
    std::vector<PlanInput> inputs;

    const Fingerprint& fingerprint() const { return plan.head().fingerprints.plan; }
    ServedPlan served() const;  ///< Borrows from this.
};
/// Read the plan from end to end, recompute its fingerprints, and bind it. For rank 0, or a world of one.
PlanAtHand load_plan_at_hand(const std::string& plan_path, const std::vector<std::string>& corpora);
/// Bind a plan that was read whole before: nothing here grows with it.
PlanAtHand at_hand_of(PlanFile plan, const PlanTotals& totals, const std::vector<std::string>& corpora);
/// The same for one of a run's plans: its own folder and corpora unless others are named, which must be the
/// same by fingerprint.
PlanAtHand load_plan_of_run(const RunRecord& record, const PlanInForce& wanted, const std::string& plan_path,
                            const std::vector<std::string>& corpora);
/// `corpora` as given, or the run's.
std::vector<std::string> corpora_of_run(const RunRecord& record, const std::vector<std::string>& corpora);

/// Loads a run's initial weights from the folder it names, or --init.
std::function<void(std::span<float>)> initial_weights_of(const RunRecord& record,
                                                         const TrainingArguments& arguments,
                                                         const TrainSettings& settings);

/// This rank's corpora, checked against what rank 0 announced.
struct CorporaAtHand {
    SampleSource samples;
    std::uint64_t vocabulary = 0;  ///< Largest of all.
};
CorporaAtHand open_corpora(const std::vector<std::string>& corpora, const std::vector<PlanSource>& announced,
                           const PlanAtHand* at_hand);

/// Collective. Train from `generation` (or from the start) and report.
/// @param plan      rank 0's; null elsewhere.
/// @param on_ready  called on rank 0 once every rank is ready to train; until then nothing of a run is
/// written.
int train_run(const Invocation& invocation, World& world, const TrainingArguments& arguments,
              const PlanAtHand* plan, const RunRecord& record, const std::optional<Manifest>& generation,
              const std::vector<std::string>& corpora, const std::function<void()>& on_ready);

/// Collective. Continue the run from its newest valid generation: `resume`, and `train --continue`.
/// @param own_plan_named  -p may name any plan the run has followed, as the command that started it does.
int resume_in_world(const Invocation& invocation, World& world, TrainingArguments arguments,
                    bool own_plan_named);

/// Paths of "[NAME=]FILE" arguments, in the order of the plan's sources: by name where one is given.
/// @throws Error{invalid_argument} on a name the plan does not have, or another number of files.
std::vector<std::string> corpus_paths(const std::vector<std::string>& arguments,
                                      const std::vector<PlanSource>& sources);

}  // namespace lockstep
