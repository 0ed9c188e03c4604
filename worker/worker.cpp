#include "worker/worker.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/large_pages.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"
#include "io/run/ledger.h"
#include "io/run/token_digest.h"
#include "worker/cross_check.h"
#include "worker/exact_sum.h"
#include "worker/generation_commit.h"
#include "worker/model/model_folder.h"
#include "worker/model/transformer.h"
#include "worker/sharded_state.h"
#include "worker/step_verdict.h"

namespace lockstep {

namespace {

using Clock = std::chrono::steady_clock;

/// [s]
double now() {
    return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The rule of DESIGN §6 for the scale of the exact sum.
constexpr std::int64_t scale_drop = 8;
constexpr std::uint64_t clean_steps_to_rise = 1000;
constexpr std::uint64_t skips_in_a_row_max = 10;
/// Initial weights go round in pieces, so that a deadline is for a piece.
constexpr std::size_t broadcast_elements_max = std::size_t{1} << 24U;

/// NaNs differ in sign and payload between instruction orders; the ledger must not.
double canonical(double value) {
    return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
}

/// What a run begins with, as messages name it, and the option that brings it.
struct InitialState {
    const char* name;
    const char* option;
};
constexpr InitialState initial_weights{"initial weights", "--init"};
constexpr InitialState initial_adapters{"initial adapters", "--init-adapter"};

/// So often a step is repeated because two ranks differ; then the machine is not fit.
constexpr int cross_check_repeats_max = 1;

}  // namespace

void check_fit(const PlanSummary& plan, std::uint64_t corpus_vocabulary, const TrainSettings& settings) {
    if (plan.segment_tokens_max > settings.model.positions) {
        throw Error(ErrorCode::invalid_argument,
                    "the plan's longest segment has " + std::to_string(plan.segment_tokens_max) +
                        " tokens, the model only " + std::to_string(settings.model.positions) +
                        " positions; build the plan with -b " + std::to_string(settings.model.positions) +
                        " or less, or take a model with more positions");
    }
    if (corpus_vocabulary > settings.model.vocabulary) {
        throw Error(ErrorCode::invalid_argument,
                    "the corpus has token ids up to " + std::to_string(corpus_vocabulary - 1) +
                        ", the model a vocabulary of " + std::to_string(settings.model.vocabulary) +
                        "; take a model whose vocabulary covers the tokenizer's");
    }
}

struct Worker::State {
    const Worker& owner;  ///< For its callbacks and hooks.
    Communicator& comm;
    const Gemm& gemm;
    PlanSummary plan;
    const SampleSource& samples;
    TrainSettings settings;

    Transformer model;
    LargeVector<float> frozen;  ///< The model's weights, if adapters alone are trained.
    ShardedState sharded;       ///< Of what is trained.
    ExactSum sum;
    std::vector<float> gradient;  ///< A whole pack's, where one is looked at.
    PackedBatch batch;

    // Of the present step. Kept from one to the next, so that a step allocates nothing.
    std::vector<std::size_t> step_packs;  ///< This rank's: indices into slice.pack.
    std::vector<LedgerRow> step_rows;     ///< Theirs.
    std::vector<LedgerRow> ledger_rows;   ///< All ranks', as far as the ledger's root covers them.
    StepVerdict verdict{0};

    StepWindow window;
    bool window_at_hand = false;
    Cursor cursor;
    CommitBase base;              ///< Of the generation loaded; the committer goes on from it.
    bool step_was_clean = true;   ///< No overflow in the present step.
    bool in_snapshot = false;     ///< The present state is the newest generation, or on its way to be.
    Fingerprint last_digest;      ///< Of the generation loaded, or committed last.
    std::vector<LedgerRow> rows;  ///< This rank's, since the last snapshot.
    std::uint64_t packs_since_snapshot = 0;  ///< Of all ranks.

    // While a run goes on; none when only advancing in memory.
    std::optional<GenerationCommitter> committer;
    std::optional<CheckpointSchedule> schedule;
    CrossCheckPlan cross_check{0, WorldSize{1}};
    // Of the present step, where a pack is computed twice.
    std::optional<CrossCheckRoles> check;
    std::optional<std::size_t> checked_pack;  ///< On its owner: index into slice.pack.
    PackedBatch checked_batch;                ///< On the two ranks that compute it.
    WorkerOutcome outcome;

    State(const Worker& w, Communicator& c, const Gemm& g, const PlanSummary& p, const SampleSource& s,
          const TrainSettings& t, Activations activations)
        : owner(w),
          comm(c),
          gemm(g),
          plan(p),
          samples(s),
          settings(t),
          model(t.model, g, std::max<std::size_t>(p.pack_tokens_max, 1), activations, t.lora),
          frozen(t.lora ? model.layout().size() : 0, 0.0F),
          sharded(c, g.pool(), model.trainable_layout()),
          sum(c, g.pool(), model.trainable_layout().size(), model.trainable_layout().padding()) {
        const std::size_t tokens_max = std::max<std::size_t>(plan.pack_tokens_max, 1);
        batch.token_ids.reserve(tokens_max);
        batch.position_ids.reserve(tokens_max);
        batch.targets.reserve(tokens_max);
        batch.cu_seqlens.reserve(tokens_max + 1);
        cursor.plan = plan.plan;
        cursor.model = fingerprint_of(settings);
        cursor.numerics = numerics_id(settings.numerics);
        cursor.scale_exponent = settings.scale_exponent;
        cursor.ledger_root = empty_ledger_root();
    }

    /// Position of the present step in the window.
    std::size_t here() const { return cursor.next_step - window.slice.step_begin; }
    std::uint64_t first_pack() const { return window.step_packs[here()]; }
    std::uint64_t packs_in_step() const { return window.step_packs[here() + 1] - first_pack(); }
    std::uint64_t targets_in_step() const { return window.step_targets[here()]; }

    void receive_weights(std::span<float> weights, const Fingerprint& named,
                         const std::function<void(std::span<float>)>& load, const InitialState& what);
    void begin_frozen();
    void enter(std::string_view phase) const {
        if (owner.on_progress) owner.on_progress(phase, cursor.next_step, std::nullopt);
        if (owner.hooks.on_phase) owner.hooks.on_phase(phase, cursor.next_step);
    }
    void begin_fresh();
    void weights_changed();
    void find_own_packs();
    double forward_backward(const PackedBatch& of, int attempt, GradientSink sink);
    PackImage compute_image(const PackedBatch& of, int attempt);
    LedgerRow compute_pack(std::size_t index, int attempt, GradientDigest* digest);
    void compute_packs(int attempt);
    std::optional<std::size_t> pack_to_check();
    void choose_check();
    void check_as_second(int attempt, std::optional<Error>& failure);
    enum class Checked { nothing, same_bits, other_bits };
    Checked compare(int attempt, int& repeats);
    void compute_step(StepMetrics& metrics);
    void update(StepMetrics& metrics);
    void adapt_scale();
    struct StepWishes {
        bool stop = false, generation = false;
    };
    StepWishes run_step(StepMetrics& metrics);
    void begin_generation();
    void begin_run(const WorkerOptions& options);
    void train(const WorkerOptions& options, const std::function<void(StepMetrics&)>& report);
    void ensure_window();
};

Worker::Worker(Communicator& comm, const Gemm& gemm, const PlanSummary& plan, const SampleSource& samples,
               std::uint64_t corpus_vocabulary, const TrainSettings& settings, Activations activations) {
    check_train_settings(settings);
    check_fit(plan, corpus_vocabulary, settings);
    LOCKSTEP_EXPECTS(gemm.numerics() == settings.numerics);
    state_ = std::make_unique<State>(*this, comm, gemm, plan, samples, settings, activations);
}

Worker::~Worker() = default;

std::uint64_t Worker::parameters() const {
    const std::uint64_t model = state_->model.layout().parameters();
    return state_->settings.lora ? model + trainable_parameters() : model;
}

std::uint64_t Worker::trainable_parameters() const {
    return state_->model.trainable_layout().parameters();
}

void Worker::start(const std::optional<Manifest>& generation, const std::filesystem::path& run) {
    State& s = *state_;
    if (s.settings.lora) s.begin_frozen();
    if (!generation) {
        s.begin_fresh();
        s.weights_changed();
        return;
    }
    if (hooks.on_phase) hooks.on_phase("load", generation->step);
    together(s.comm, "loading the generation", [&] {
        const GenerationReader reader = GenerationReader::open(run, *generation);
        if (generation->state_elements != s.model.trainable_layout().size()) {
            throw Error(ErrorCode::corrupt_data,
                        "generation " + std::to_string(generation->step) + " holds a state of " +
                            std::to_string(generation->state_elements) + " elements, this model needs " +
                            std::to_string(s.model.trainable_layout().size()));
        }
        s.sharded.load(reader);
        s.cursor = reader.cursor();
    });
    s.weights_changed();
    // A revision takes over here; whoever started us has compared it with the generation's plan.
    s.cursor.plan = s.plan.plan;
    s.base.step = generation->step;
    s.base.parent = generation->step;
    s.base.ledger_head = generation->ledger_head;
    s.base.ledger_root = s.cursor.ledger_root;
    s.in_snapshot = true;
    s.last_digest = generation->state_digest;
}

/// Collective. Rank 0's, which must be those that are named, to everyone.
void Worker::State::receive_weights(std::span<float> weights, const Fingerprint& named,
                                    const std::function<void(std::span<float>)>& load,
                                    const InitialState& what) {
    together(comm, std::string("loading the ") + what.name, [&] {
        if (comm.rank().value != 0) return;
        LOCKSTEP_EXPECTS(load != nullptr);
        load(weights);
        const Fingerprint found = weights_fingerprint(source_of(weights), weights.size());
        if (found != named) {
            throw Error(ErrorCode::fingerprint_mismatch,
                        std::string("the ") + what.name + " have fingerprint " + found.brief() +
                            "…, the run began with " + named.brief() + "…; put the folder back, or pass " +
                            what.option + " with a copy of it");
        }
    });
    for (std::size_t begin = 0; begin < weights.size(); begin += broadcast_elements_max) {
        broadcast_array(
            comm, weights.subspan(begin, std::min(broadcast_elements_max, weights.size() - begin)), Rank{0});
    }
}

void Worker::State::begin_frozen() {
    if (settings.init.empty()) {
        initialize_weights(model.layout(), settings.seed, frozen);
    } else {
        receive_weights(frozen, settings.init, owner.load_initial_weights, initial_weights);
    }
    model.set_weights(frozen);
}

void Worker::State::begin_fresh() {
    sharded.initialize(settings.seed);
    const Fingerprint& named = settings.lora ? settings.lora->init : settings.init;
    if (named.empty()) return;
    if (settings.lora) {
        receive_weights(sharded.weights(), named, owner.load_initial_adapters, initial_adapters);
    } else {
        receive_weights(sharded.weights(), named, owner.load_initial_weights, initial_weights);
    }
}

void Worker::State::weights_changed() {
    if (settings.lora) {
        model.set_adapters(sharded.weights());
    } else {
        model.set_weights(sharded.weights());
    }
}

void Worker::State::find_own_packs() {
    step_packs.clear();
    for (std::uint64_t i = window.slice.step_pack_begin[here()]; i < window.slice.step_pack_begin[here() + 1];
         ++i) {
        step_packs.push_back(i);
    }
    if (owner.hooks.on_packs) owner.hooks.on_packs(window.slice, cursor.next_step, step_packs);
}

/// Loss and gradient as a step has them: every pack is scaled by the targets of its step, so that the sum
/// over packs is the gradient of the mean.
double Worker::State::forward_backward(const PackedBatch& of, int attempt, GradientSink sink) {
    const float scale = static_cast<float>(1.0 / static_cast<double>(targets_in_step()));
    if (!owner.hooks.on_gradient) return canonical(model.forward_backward(of, scale, sink));
    gradient.resize(model.trainable_layout().size());
    const double loss = canonical(model.forward_backward(of, scale, gradient));
    owner.hooks.on_gradient(of, attempt, gradient);
    sink(0, gradient);
    return loss;
}

PackImage Worker::State::compute_image(const PackedBatch& of, int attempt) {
    GradientDigest digest(gemm.pool());
    const double loss = forward_backward(of, attempt, [&](std::size_t offset, std::span<const float> part) {
        digest.add(offset, part, static_cast<int>(cursor.scale_exponent), packs_in_step());
    });
    return {digest.value(), std::bit_cast<std::uint64_t>(loss)};
}

LedgerRow Worker::State::compute_pack(std::size_t index, int attempt, GradientDigest* digest) {
    const Clock::time_point begin = Clock::now();
    if (owner.on_progress) owner.on_progress("forward", cursor.next_step, window.slice.pack[index]);
    build_batch(window.slice, index, cursor.next_step, samples, batch);
    if (owner.hooks.on_batch) owner.hooks.on_batch(batch);
    LedgerRow row;
    row.step = cursor.next_step;
    row.pack = batch.pack;
    row.tokens = static_cast<std::uint32_t>(batch.num_tokens());
    row.targets = batch.num_targets;
    row.token_digest = token_digest(batch.token_ids, batch.position_ids, batch.targets, batch.cu_seqlens);
    row.rank = static_cast<std::uint32_t>(comm.rank().value);
    row.event = PackEvent::no_target;
    if (owner.hooks.on_digested_batch) owner.hooks.on_digested_batch(batch);
    if (batch.num_targets > 0) {
        const bool dropped = owner.hooks.drop_gradient && owner.hooks.drop_gradient(batch);
        const int exponent = static_cast<int>(cursor.scale_exponent);
        ExactFlags flags;
        row.loss = forward_backward(batch, attempt, [&](std::size_t offset, std::span<const float> part) {
            if (digest != nullptr) digest->add(offset, part, exponent, packs_in_step());
            if (!dropped) flags |= sum.add(offset, part, exponent, packs_in_step());
            if (committer) committer->progress();
        });
        if (!dropped) sum.end_pack();
        row.event = PackEvent::trained;
        if (flags.overflow) verdict.raise_overflow();
        if (flags.non_finite) verdict.raise_non_finite();
        if (!std::isfinite(row.loss)) verdict.raise_non_finite();
    }
    verdict.add_pack(batch.pack - first_pack(), row);
    row.seconds = static_cast<float>(seconds_since(begin));
    return row;
}

void Worker::State::compute_packs(int attempt) {
    find_own_packs();
    checked_batch = PackedBatch();
    for (const std::size_t index : step_packs) {
        if (committer) committer->progress();
        if (index == step_packs.back()) sum.begin_last_pack();
        if (index != checked_pack) {
            step_rows.push_back(compute_pack(index, attempt, nullptr));
            continue;
        }
        GradientDigest digest(gemm.pool());
        step_rows.push_back(compute_pack(index, attempt, &digest));
        checked_batch = batch;
        if (batch.num_targets > 0) {
            verdict.set_image(CrossCheckRole::owner,
                              {digest.value(), std::bit_cast<std::uint64_t>(step_rows.back().loss)});
        }
    }
}

/// One of this rank's packs that has targets, another each time.
std::optional<std::size_t> Worker::State::pack_to_check() {
    const std::size_t begin = window.slice.step_pack_begin[here()];
    const std::size_t count = window.slice.step_pack_begin[here() + 1] - begin;
    if (count == 0) return std::nullopt;
    const std::size_t first = cross_check.pack(cursor.next_step, count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t index = begin + (first + i) % count;
        build_batch(window.slice, index, cursor.next_step, samples, batch);
        if (batch.num_targets > 0) return index;
    }
    return std::nullopt;
}

/// Collective. Who computes which pack of this step twice; nobody if there is nothing to compare.
void Worker::State::choose_check() {
    check.reset();
    checked_pack.reset();
    // All ranks know the step's targets.
    if (!cross_check.checks(cursor.next_step) || targets_in_step() == 0) return;
    try {
        checked_pack = pack_to_check();
    } catch (const std::exception&) {
        // It fails again where it is to be computed, and all ranks hear of it there.
    }
    check = agree_on_roles(comm, cross_check, cursor.next_step, checked_pack.has_value());
    if (!check || check->owner != comm.rank()) checked_pack.reset();
}

/// The second computation of a checked step's pack. Owner and checker meet here whatever became of their own
/// packs; what fails here is agreed on with the verdict.
void Worker::State::check_as_second(int attempt, std::optional<Error>& failure) {
    if (!check) return;
    try {
        if (comm.rank() == check->owner && check->owner != check->checker) {
            if (failure) checked_batch = PackedBatch();
            send_batch(comm, checked_batch, check->checker);
        }
        if (comm.rank() != check->checker) return;
        if (check->owner != check->checker) checked_batch = receive_batch(comm, check->owner);
        if (failure || checked_batch.num_targets == 0) return;
        verdict.set_image(CrossCheckRole::checker, compute_image(checked_batch, attempt));
    } catch (const std::exception& exception) {
        const Error error = error_of(exception);
        if (error.code() == ErrorCode::peer_lost) throw;
        if (!failure) failure = error;
        verdict.report_failure();
    }
}

/// Collective. Other bits: the step is to be computed again. @throws AgreedError{environment}.
Worker::State::Checked Worker::State::compare(int attempt, int& repeats) {
    const std::optional<PackImage> first = verdict.image(CrossCheckRole::owner);
    const std::optional<PackImage> second = verdict.image(CrossCheckRole::checker);
    if (!first || !second) return Checked::nothing;
    if (*first == *second) return Checked::same_bits;
    sum.discard();
    const CrossCheckFinding finding =
        find_the_odd_one(comm, *check, cursor.next_step, checked_batch, *first, *second,
                         [&](const PackedBatch& of) { return compute_image(of, attempt); });
    comm.set_phase("step " + std::to_string(cursor.next_step));
    const std::string what = "step " + std::to_string(cursor.next_step) +
                             ": a pack computed twice has different bits (gradient digest " +
                             first->gradient.hex() + " and " + second->gradient.hex() + "): " + finding.text;
    if (repeats >= cross_check_repeats_max) {
        throw AgreedError(ErrorCode::environment,
                          what +
                              "; the repeated step differs again, so the run ends before the update; take "
                              "that host out and resume");
    }
    ++repeats;
    ++outcome.cross_check_repeats;
    log_root(LogLevel::warning, what + "; the step is computed again");
    return Checked::other_bits;
}

void Worker::State::compute_step(StepMetrics& metrics) {
    step_was_clean = true;
    choose_check();
    int repeats = 0;
    for (int attempt = 0;; ++attempt) {
        step_rows.clear();
        sum.clear();
        verdict.begin(packs_in_step());
        std::optional<Error> failure;
        try {
            compute_packs(attempt);
        } catch (const std::exception& exception) {
            failure = error_of(exception);
            if (failure->code() == ErrorCode::peer_lost) throw;
            verdict.report_failure();
        }
        check_as_second(attempt, failure);
        if (owner.stop_requested && owner.stop_requested()) verdict.ask_to_stop();
        if (committer) verdict.set_commit_report(committer->report());
        if (committer && comm.rank().value == 0 && !committer->in_flight() && schedule->due_at(now())) {
            verdict.ask_for_generation();
        }
        enter("exchange");
        verdict.agree(comm);
        const std::optional<StepVerdict::Miscount> miscount = verdict.miscount();
        if (verdict.failure() || verdict.overflow() || verdict.non_finite() || miscount) sum.discard();
        if (verdict.failure()) agree_or_throw(comm, failure);
        if (miscount) {
            throw AgreedError(ErrorCode::bug, "step " + std::to_string(cursor.next_step) + ": pack " +
                                                  std::to_string(first_pack() + miscount->pack_in_step) +
                                                  " was computed " + std::to_string(miscount->times) +
                                                  " times, expected once; the step is not kept");
        }
        const Checked checked = compare(attempt, repeats);
        if (checked == Checked::other_bits) continue;
        if (!verdict.overflow() || verdict.non_finite()) {
            if (checked == Checked::same_bits) {
                ++outcome.cross_checks;
                metrics.cross_check_agreed = repeats == 0;
            }
            return;
        }
        // Too large for this scale: the whole step again, eight bits lower.
        cursor.scale_exponent -= scale_drop;
        step_was_clean = false;
        log_root(LogLevel::info, "step " + std::to_string(cursor.next_step) +
                                     ": gradient too large for scale 2^" +
                                     std::to_string(cursor.scale_exponent + scale_drop) +
                                     "; computed again at 2^" + std::to_string(cursor.scale_exponent));
    }
}

void Worker::State::update(StepMetrics& metrics) {
    const ExactGradient slice_gradient = sum.reduce_scatter(static_cast<int>(cursor.scale_exponent));
    metrics.gradient_norm = sharded.gradient_norm(slice_gradient);
    enter("update");
    sharded.update(settings.optimizer, cursor.next_step, metrics.gradient_norm, slice_gradient);
    enter("all-gather");
    sharded.all_gather_weights();
    weights_changed();
}

void Worker::State::adapt_scale() {
    cursor.clean_steps = step_was_clean ? cursor.clean_steps + 1 : 0;
    if (cursor.clean_steps >= clean_steps_to_rise && cursor.scale_exponent < settings.scale_exponent) {
        ++cursor.scale_exponent;
        cursor.clean_steps = 0;
    }
}

Worker::State::StepWishes Worker::State::run_step(StepMetrics& metrics) {
    const Clock::time_point begin = Clock::now();
    comm.set_phase("step " + std::to_string(cursor.next_step));
    enter("forward");
    compute_step(metrics);
    metrics.step = cursor.next_step;
    metrics.learning_rate = learning_rate_at(settings.optimizer, cursor.next_step);
    metrics.tokens = verdict.tokens();
    metrics.targets = targets_in_step();
    if (metrics.targets > 0)
        metrics.loss = canonical(verdict.loss_sum() / static_cast<double>(metrics.targets));

    if (verdict.non_finite()) {
        metrics.skipped = true;
        for (LedgerRow& row : step_rows) {
            if (row.event == PackEvent::trained) row.event = PackEvent::skipped_non_finite;
        }
        ++cursor.skipped_in_a_row;
        cursor.clean_steps = 0;
        log_root(LogLevel::warning, "step " + std::to_string(cursor.next_step) +
                                        ": loss or gradient is not finite; the step is skipped and recorded");
    } else if (metrics.targets > 0) {
        update(metrics);
        cursor.targets_seen += metrics.targets;
        cursor.skipped_in_a_row = 0;
        adapt_scale();
    }
    rows.insert(rows.end(), step_rows.begin(), step_rows.end());
    verdict.ledger_rows(cursor.next_step, first_pack(), ledger_rows);
    cursor.ledger_root = advance_ledger_root(cursor.ledger_root, cursor.next_step, ledger_rows);
    packs_since_snapshot += packs_in_step();
    ++cursor.next_step;
    cursor.epoch = plan.epoch_of(cursor.next_step);
    in_snapshot = false;
    metrics.seconds = seconds_since(begin);
    if (committer) committer->advance(verdict.commit_report());
    return {verdict.stop(), verdict.generation_wanted()};
}

void Worker::State::begin_generation() {
    if (in_snapshot) return;
    enter("save");
    comm.set_phase("snapshot of step " + std::to_string(cursor.next_step));
    schedule->began(now());
    committer->begin(cursor, rows);
    rows.clear();
    packs_since_snapshot = 0;
    in_snapshot = true;
}

void Worker::State::ensure_window() {
    if (window_at_hand && cursor.next_step < window.slice.step_end) return;
    if (owner.on_progress) owner.on_progress("plan", cursor.next_step, std::nullopt);
    comm.set_phase("fetching the plan from step " + std::to_string(cursor.next_step));
    window = owner.fetch_window(cursor.next_step);
    window_at_hand = true;

    // Here rather than in the steps: room for what they note.
    std::uint64_t own_most = 0, all_most = 0;
    const std::vector<std::uint64_t>& own = window.slice.step_pack_begin;
    for (std::size_t i = 0; i + 1 < own.size(); ++i) {
        own_most = std::max(own_most, own[i + 1] - own[i]);
        all_most = std::max(all_most, window.step_packs[i + 1] - window.step_packs[i]);
    }
    step_packs.reserve(own_most);
    step_rows.reserve(own_most);
    ledger_rows.reserve(all_most);
    verdict.begin(all_most);
    const std::size_t rows_most = rows.size() + window.slice.pack.size();
    if (rows.capacity() < rows_most) rows.reserve(std::max(rows_most, 2 * rows.capacity()));
}

void Worker::advance_to(std::uint64_t step) {
    State& s = *state_;
    while (s.cursor.next_step < step) {
        s.ensure_window();
        StepMetrics metrics;
        s.run_step(metrics);
    }
}

void Worker::State::begin_run(const WorkerOptions& options) {
    cross_check = CrossCheckPlan(options.cross_check_every, comm.size());
    schedule.emplace(options.checkpoint_every, gemm.pool().size(), now());
    outcome = {};
    together(comm, "preparing to commit", [&] {
        committer.emplace(comm, gemm.pool(), sharded, base,
                          CommitOptions{options.run, options.retention, options.snapshot});
    });
}

/// Steps up to the one to stop before, and the generations between; the last one is begun.
void Worker::State::train(const WorkerOptions& options, const std::function<void(StepMetrics&)>& report) {
    const std::uint64_t stop = std::min(options.stop_step, plan.num_steps);
    const auto give_up_after_skips = [&] {
        // All ranks know it, so all end in order.
        throw AgreedError(ErrorCode::check_failed,
                          std::to_string(cursor.skipped_in_a_row) +
                              " steps in a row were not finite, the last one step " +
                              std::to_string(cursor.next_step - 1) +
                              "; look at its packs with train --step, or start a new run with a lower --lr");
    };
    if (cursor.next_step < stop && cursor.skipped_in_a_row >= skips_in_a_row_max) give_up_after_skips();
    StepWishes wishes;
    while (cursor.next_step < stop && !wishes.stop) {
        ensure_window();
        StepMetrics metrics;
        wishes = run_step(metrics);
        if (comm.rank().value == 0) report(metrics);
        if (metrics.skipped && cursor.skipped_in_a_row >= skips_in_a_row_max) {
            begin_generation();
            give_up_after_skips();
        }
        if (wishes.generation || schedule->due_after(cursor.next_step) ||
            cursor.next_step - committer->snapshot_step() >= options.ledger_limits.steps ||
            packs_since_snapshot >= options.ledger_limits.packs) {
            begin_generation();
        }
    }
    begin_generation();
    outcome.stopped_on_request = wishes.stop && cursor.next_step < stop;
}

WorkerOutcome Worker::run(const WorkerOptions& options) {
    State& s = *state_;
    std::optional<MetricsLog> metrics_log;
    together(s.comm, "opening the metrics", [&] {
        if (s.comm.rank().value == 0) metrics_log.emplace(options.run, s.cursor.next_step);
    });
    bool warned_of_metrics = false;
    const auto log = [&](const auto& entry) {
        // Without authority: a full disk is an error when a generation is written, not here.
        try {
            metrics_log->append(entry);
        } catch (const Error& error) {
            if (!warned_of_metrics) {
                log_root(LogLevel::warning, std::string("metrics are incomplete: ") + error.what());
            }
            warned_of_metrics = true;
        }
    };
    double last_stall = 0;
    // However this ends: the committer calls back into this frame.
    struct CommitterEnds {
        std::optional<GenerationCommitter>& committer;
        ~CommitterEnds() { committer.reset(); }
    } const at_the_end{s.committer};
    s.begin_run(options);
    s.committer->on_committed = [&](const GenerationCost& cost) {
        s.schedule->learned(cost);
        log(cost);
        ++s.outcome.generations;
        s.outcome.stall_seconds += last_stall;
        last_stall = cost.stall_seconds;
    };
    try {
        s.train(options, [&](StepMetrics& metrics) {
            log(metrics);
            if (on_step) on_step(metrics);
        });
    } catch (const AgreedError&) {
        // All ranks are here for the same reason. What was snapped before it is as good as ever.
        try {
            s.committer->drain();
        } catch (const AgreedError& error) {
            log_root(LogLevel::warning, std::string("the generation in flight is lost: ") + error.what());
        }
        throw;
    }
    s.committer->drain();
    s.outcome.next_step = s.cursor.next_step;
    if (!s.committer->state_digest().empty()) s.last_digest = s.committer->state_digest();
    s.outcome.state_digest = s.last_digest;
    s.base = s.committer->base();
    return s.outcome;
}

Worker::PackResult Worker::replay_pack(std::uint64_t step, const StepWindow& window, std::uint64_t pack,
                                       PackDetails* details) {
    State& s = *state_;
    const auto& packs = window.slice.pack;
    const auto found = std::find(packs.begin(), packs.end(), pack);
    if (found == packs.end()) {
        throw Error(ErrorCode::invalid_argument,
                    "step " + std::to_string(step) + " has no pack " + std::to_string(pack));
    }
    build_batch(window.slice, static_cast<std::size_t>(found - packs.begin()), step, s.samples, s.batch);
    PackResult result;
    result.targets = s.batch.num_targets;
    result.tokens = static_cast<std::uint32_t>(s.batch.num_tokens());
    result.token_digest =
        token_digest(s.batch.token_ids, s.batch.position_ids, s.batch.targets, s.batch.cu_seqlens);
    if (details != nullptr) {
        const std::size_t vocabulary = s.settings.model.vocabulary;
        details->batch = s.batch;
        details->weights = s.settings.lora ? std::span<const float>(s.frozen) : s.sharded.weights();
        if (s.settings.lora) details->adapters = s.sharded.weights();
        details->token_loss.assign(s.batch.num_tokens(), 0.0F);
        details->logits.resize(s.batch.num_tokens() * vocabulary);
        s.model.logits(s.batch, {details->logits.data(), s.batch.num_tokens(), vocabulary});
    }
    if (result.targets > 0) {
        const std::uint64_t targets = window.step_targets[step - window.slice.step_begin];
        const float scale = static_cast<float>(1.0 / static_cast<double>(targets));
        s.gradient.resize(s.model.trainable_layout().size());
        result.loss_sum = canonical(s.model.forward_backward(
            s.batch, scale, s.gradient,
            details != nullptr ? std::span(details->token_loss) : std::span<float>()));
        result.gradient = sha256(std::as_bytes(std::span(s.gradient)));
        if (details != nullptr) {
            details->scale = scale;
            details->gradient = s.gradient;
        }
    }
    return result;
}

}  // namespace lockstep
