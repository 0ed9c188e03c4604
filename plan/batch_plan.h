// plan/batch_plan.h
//
// The plan: every token of a run, in order, decided in advance. A value; who
// trains what, where it is stored and how it travels are others' business.
//
// Steps hold packs, packs hold segments, segments are runs of one sample's
// tokens. Everything is compressed-row: pack p holds segments
// [pack_begin[p], pack_begin[p + 1]), step s the packs [step_begin[s],
// step_begin[s + 1]), epoch e the steps [epoch_begin[e], epoch_begin[e + 1]).

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/base/fingerprint.h"
#include "plan/plan_options.h"

namespace lockstep {

/// One row of the plan's source table.
struct PlanSource {
    std::string name;               ///< For people; not part of the plan fingerprint.
    Fingerprint lengths;            ///< lengths_fingerprint (DESIGN §4.2).
    Fingerprint tokenizer;          ///< Empty: unknown (a lengths file that does not say).
    std::string tokenizer_hash;     ///< What a lengths file says of its tokenizer, verbatim; may be empty.
    Fingerprint corpus;             ///< content_fingerprint; empty: a lengths-only plan.
    std::uint64_t sample_base = 0;  ///< Global id of its first sample.
    std::uint64_t num_samples = 0;
    Fingerprint scores;  ///< Of its score column, in plans ordered by score; else empty.
    // Mixtures: 0 everywhere in a plan without (mixture.h).
    std::uint64_t weight = 0;      ///< Share of the run's tokens, relative to the other sources'.
    std::uint32_t passes = 0;      ///< Exactly as often is each sample trained in the run.
    std::uint32_t passes_max = 0;  ///< At most as often, with a weight.
    friend bool operator==(const PlanSource&, const PlanSource&) = default;
};

/// A sample that is not trained whole, and why. Samples not listed are whole. One row a sample: `split` and
/// `truncated` stand before `no_target`. Stored: append, never renumber.
enum class DispositionKind : std::uint8_t {
    split = 1,      ///< In several segments, each after the first repeating one token.
    truncated = 2,  ///< Only its first tokens.
    dropped = 3,    ///< Longer than the budget, under --long drop.
    empty = 4,      ///< No tokens.
    no_target = 5,  ///< Planned and fed, but predicts nothing: one token, or no loss span after its first.
};

struct Disposition {
    std::uint64_t sample = 0;
    DispositionKind kind{};
    std::uint64_t tokens_lost = 0;  ///< Not in any segment; 0 unless truncated or dropped.
    friend bool operator==(const Disposition&, const Disposition&) = default;
};

/// Steps that one leaf of the fingerprint tree covers.
inline constexpr std::uint64_t plan_steps_per_chunk = 1024;

/// Where something was pinned down: the tree of the plan's content (docs/formats/plan.md).
struct PlanFingerprints {
    Fingerprint plan;                 ///< The root: names the plan.
    Fingerprint settings;             ///< Options, algorithm versions, sources.
    Fingerprint order;                ///< Over the epoch roots: the columns alone.
    std::vector<Fingerprint> epochs;  ///< Per epoch, over its chunks.
    std::vector<Fingerprint> chunks;  ///< Per chunk of `steps_per_chunk` steps; chunks never cross an epoch.
    std::vector<std::uint64_t> chunk_begin;  ///< (chunks + 1) first step of each.
    std::uint64_t steps_per_chunk = 0;
    friend bool operator==(const PlanFingerprints&, const PlanFingerprints&) = default;
};

struct BatchPlan {
    PlanOptions options;                  ///< As they took effect (effective_options).
    std::vector<std::string> algorithms;  ///< What made the order, with versions: "packing=in-order/1", …
    std::vector<PlanSource> sources;
    // Segments, in training order.
    std::vector<std::uint64_t> segment_sample;  ///< Global sample id.
    std::vector<std::uint32_t> segment_offset;  ///< First token, within the sample.
    std::vector<std::uint32_t> segment_tokens;  ///< ≥ 1.
    // Packs.
    std::vector<std::uint64_t> pack_begin{0};
    std::vector<std::uint32_t> pack_targets;     ///< Empty in a lengths-only plan.
    std::vector<std::uint64_t> pack_cost;        ///< Integer cost model, a·tokens + b·Σ tokens².
    std::vector<std::uint16_t> pack_bucket;      ///< Bucket mode only.
    std::vector<std::uint32_t> pack_pad_tokens;  ///< Bucket mode only: padded size minus tokens.
    // Steps and epochs.
    std::vector<std::uint64_t> step_begin{0};
    std::vector<std::uint64_t> epoch_begin{0};
    std::vector<Disposition> dispositions;  ///< Ascending by sample; the same in every epoch.
    // Revisions (a later feature; absent in a plan built fresh).
    std::optional<Fingerprint> parent;
    std::uint64_t from_step = 0;
    PlanFingerprints fingerprints;

    std::uint64_t num_segments() const { return segment_tokens.size(); }
    std::uint64_t num_packs() const { return pack_begin.size() - 1; }
    std::uint64_t num_steps() const { return step_begin.size() - 1; }
    std::uint64_t num_epochs() const { return epoch_begin.size() - 1; }
    std::uint64_t pack_tokens(std::uint64_t pack) const;
    /// Epoch that holds a step; num_epochs() for step == num_steps().
    std::uint64_t epoch_of(std::uint64_t step) const;
    /// Source that holds a global sample id.
    std::size_t source_of(std::uint64_t sample) const;
    friend bool operator==(const BatchPlan&, const BatchPlan&) = default;
};

/// What the planner knows of the samples of one source.
struct SourceLengths {
    PlanSource source;  ///< sample_base and num_samples are filled in by build_plan.
    std::span<const std::uint32_t> sample_tokens;  ///< (num_samples) [tokens]
    /// Loss spans in compressed-row form, predicted tokens, sample-relative, half-open; empty begin: none,
    /// all is trained.
    std::span<const std::uint64_t> loss_span_begin;  ///< (num_samples + 1) or empty
    std::span<const std::uint32_t> loss_spans;       ///< (2 · spans) begin, end pairs
    bool lengths_only = false;                       ///< No corpus at hand: targets are not counted.
    std::span<const double> sample_score;            ///< (num_samples) finite, or empty: none known.
};

/// Build a plan. Pure: no I/O, no clock; the same on any machine.
/// @throws Error{invalid_argument} on impossible options, a sample over the budget under LongPolicy::error
///         (names sample, length, budget, and the policies to choose from), a bucket in use that pads beyond
///         the budget, a mixture that can't be (mixture.h), scores missing, nothing to plan;
///         Error{corrupt_data} on bad loss spans (dispositions.h).
BatchPlan build_plan(const PlanOptions& options, std::span<const SourceLengths> sources);

/// Whether sample ids fit 32 bits: decided by the source table, so that equal plans have equal columns.
bool samples_are_narrow(std::span<const PlanSource> sources);

/// The plan without its segments, packs and steps.
BatchPlan head_of(const BatchPlan& plan);

/// Recompute the whole tree from the plan's content (ignores what `plan.fingerprints` says).
PlanFingerprints fingerprint_plan(const BatchPlan& plan);

/// Fingerprint of one chunk of steps, recomputed from the columns. Both expect a plan of sound structure
/// (check_structure, plan_structure.h).
Fingerprint fingerprint_chunk(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end);

/// Statistics of stats.json (docs/formats/plan.md).
struct PlanStats {
    std::uint64_t samples = 0, segments = 0, packs = 0, steps = 0, epochs = 0;
    std::uint64_t planned_tokens = 0;  ///< All epochs.
    std::uint64_t overlap_tokens = 0;  ///< Repeated at splits, all epochs.
    bool targets_known = false;        ///< Not in a lengths-only plan.
    std::uint64_t targets = 0;
    std::uint64_t packs_lower_bound = 0;  ///< One epoch: ceil(tokens / budget) or better.
    std::uint64_t packs_first_epoch = 0;
    std::uint64_t over_budget_packs = 0;      ///< Lazarus mode, all epochs: padded over the budget.
    std::uint64_t left_out_by_drop_last = 0;  ///< Lazarus mode, all epochs: samples in no pack.
    double utilization = 0;                   ///< Tokens over budget · packs.
    double padding_waste_padded = 0;  ///< What padding to the longest of each batch would waste: samples in
                                      ///< arrival order, as many a batch as fit the budget padded.
    double packing_ratio = 0;         ///< Segments a pack.
    struct Balance {
        std::uint64_t world_size;
        double slowest_over_mean;
    };
    std::vector<Balance> balance;  ///< World sizes 1, 2, 4, … 64, by pack cost.
    struct Bucket {
        std::uint64_t upper;
        std::uint64_t samples;
        std::uint64_t tokens;
        std::uint64_t pad_tokens;
    };
    std::vector<Bucket> buckets;  ///< Bucket mode.
    struct Share {
        std::string source;
        std::uint64_t tokens;                ///< Trained in the run.
        double share;                        ///< Of all tokens.
        double planned_share;                ///< By its weight; 0 without weights.
        std::uint64_t largest_error_tokens;  ///< At any step boundary, from its planned share so far.
    };
    std::vector<Share> shares;                        ///< Mixtures.
    std::vector<std::uint64_t> dispositions_by_kind;  ///< Indexed by DispositionKind.
};

}  // namespace lockstep
