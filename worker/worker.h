// worker/worker.h
//
// The loop of a rank: replay, step, exact sum, update, ledger, checkpoint. It
// decides nothing: the plan has decided what, the settings how.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "io/comm/communicator.h"
#include "io/run/checkpoint.h"
#include "io/run/retention.h"
#include "kernels/gemm.h"
#include "plan/plan_slice.h"
#include "worker/checkpoint_schedule.h"
#include "worker/metrics_log.h"
#include "worker/model/transformer.h"
#include "worker/packed_batch.h"
#include "worker/replay.h"
#include "worker/state_snapshot.h"
#include "worker/train_settings.h"
#include "worker/worker_hooks.h"

namespace lockstep {

/// A generation is made at least this often, whatever the interval, so that the ledger rows in memory stay
/// bounded; the same on every rank.
struct LedgerLimits {
    std::uint64_t steps = std::uint64_t{1} << 20U;
    std::uint64_t packs = std::uint64_t{1} << 22U;
};
static_assert(LedgerLimits{}.steps <= ledger_segment_steps_max);

struct WorkerOptions {
    std::filesystem::path run;
    std::uint64_t stop_step = 0;  ///< Absolute; training stops before this step.
    CheckpointInterval checkpoint_every;
    LedgerLimits ledger_limits;
    RetentionRule retention;
    SnapshotMode snapshot = SnapshotMode::copy;
    std::uint64_t cross_check_every = 0;  ///< Steps between checks of one pack by two ranks; 0: none.
};

struct WorkerOutcome {
    std::uint64_t next_step = 0;
    Fingerprint state_digest;
    bool stopped_on_request = false;
    // Rank 0.
    std::uint64_t generations = 0;   ///< Committed by this start.
    double stall_seconds = 0;        ///< What steps waited for them, the last one left out: it ends the run.
    std::uint64_t cross_checks = 0;  ///< Steps with a pack computed twice and compared.
    std::uint64_t cross_check_repeats = 0;
};

/// @param corpus_vocabulary  ids of all corpora are below this.
/// @throws Error{invalid_argument} if plan or corpora do not fit the model (a segment longer than the
/// positions, token ids
///         beyond the vocabulary), naming both values.
void check_fit(const PlanSummary& plan, std::uint64_t corpus_vocabulary, const TrainSettings& settings);

class Worker {
  public:
    /// Everything borrowed outlives the worker. @throws as check_fit.
    Worker(Communicator& comm, const Gemm& gemm, const PlanSummary& plan, const SampleSource& samples,
           std::uint64_t corpus_vocabulary, const TrainSettings& settings,
           Activations activations = Activations::keep);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Collective. Packs of steps from here on: called with the first step not yet at hand.
    std::function<StepWindow(std::uint64_t step)> fetch_window;
    /// Asked once a step on every rank; when any says yes, all commit and stop.
    std::function<bool()> stop_requested;
    /// This rank is now at work here; called for every phase and every pack, so that silence can be told
    /// from work.
    std::function<void(std::string_view phase, std::uint64_t step, std::optional<std::uint64_t> pack)>
        on_progress;
    /// Rank 0, after every step.
    std::function<void(const StepMetrics&)> on_step;
    /// Rank 0: fill the model's flat state, where the settings name initial weights.
    std::function<void(std::span<float>)> load_initial_weights;
    /// Rank 0: fill the adapters' flat state, where the settings name initial adapters.
    std::function<void(std::span<float>)> load_initial_adapters;
    WorkerHooks hooks;

    std::uint64_t parameters() const;            ///< Of the model and its adapters.
    std::uint64_t trainable_parameters() const;  ///< Of the adapters, or all.

    /// Collective. Start from fresh weights, or from a committed generation; with adapters the frozen weights
    /// are loaded, or drawn, in both cases.
    /// @throws Error{fingerprint_mismatch} if the initial weights or adapters are not those the settings
    /// name.
    void start(const std::optional<Manifest>& generation, const std::filesystem::path& run);

    /// Collective. Train up to options.stop_step; ends with a committed generation.
    /// @throws AgreedError{environment} if two ranks hold different bits of a pack twice in a row, naming the
    ///         odd one and its host; AgreedError{io_failure} if a generation cannot be written, on the step
    ///         after it was noticed.
    WorkerOutcome run(const WorkerOptions& options);

    /// Collective. Train up to `step` in memory alone: nothing is written, logged or committed.
    void advance_to(std::uint64_t step);

    struct PackResult {
        double loss_sum = 0;  ///< [nat]
        std::uint32_t targets = 0;
        std::uint32_t tokens = 0;
        Digest token_digest;
        Fingerprint gradient;  ///< SHA-256 of the pack's gradient bits.
    };
    /// All there is to see of a pack.
    struct PackDetails {
        PackedBatch batch;
        std::vector<float> token_loss;  ///< (T)
        std::vector<float> logits;      ///< (T, vocabulary)
        float scale = 0;                ///< Of the loss whose gradient it is.
        /// Flat, as the rest: of what is trained; empty without targets. Valid until the next call.
        std::span<const float> gradient;
        std::span<const float> weights;   ///< Of the model.
        std::span<const float> adapters;  ///< Empty if there are none.
    };
    /// Local. One pack of the current state, nothing updated: for looking into a step.
    /// @param details  filled if not null.
    PackResult replay_pack(std::uint64_t step, const StepWindow& window, std::uint64_t pack,
                           PackDetails* details = nullptr);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
