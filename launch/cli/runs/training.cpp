#include "launch/cli/runs/training.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <random>

#include "coordinator/distribution.h"
#include "coordinator/ingest/drift.h"
#include "coordinator/plan_tokenizers.h"
#include "coordinator/run_plans.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/base/process_memory.h"
#include "io/comm/agreement.h"
#include "io/comm/mpi_communicator.h"
#include "io/run/heartbeat.h"
#include "kernels/blas_runtime.h"
#include "launch/cli/progress.h"
#include "launch/cli/runs/adapters.h"
#include "worker/model/model_folder.h"
#include "worker/model/transformer.h"
#include "worker/step_forecast.h"

namespace lockstep {

namespace {

/// Short: it is part of every start. The layers of a large model take longer once through.
constexpr double probe_seconds = 0.05;
/// Samples tokenized again at every start; others each time, so that in the long run all are.
constexpr std::uint64_t drift_samples = 64;

/// Rate of plain sgemm on the model's shapes by all ranks at once [flop/s].
double measure_total_sgemm_rate(World& world, ThreadPool& pool, const TrainSettings& settings,
                                std::size_t tokens) {
    world.comm->set_phase("measuring plain sgemm");
    world.comm->barrier();
    const double mine = probe_sgemm(settings.model, pool, tokens, probe_seconds, settings.lora);
    auto total = static_cast<std::int64_t>(mine);
    world.comm->sum(std::span(&total, 1));
    return static_cast<double>(total);
}

/// The second line behind the deadlines of collectives: MPI itself, or a disk, may never return.
constexpr std::chrono::seconds watch_grace{5};
/// For its last words; the log may be what a rank is stuck in.
constexpr std::chrono::seconds last_words_patience{2};
constexpr double default_hang_timeout = 600;

std::chrono::milliseconds patience_of(const TrainingArguments& arguments) {
    const double asked = arguments.hang_timeout.value_or(default_hang_timeout);
    // What is no timeout is refused once the ranks can agree on it.
    return std::chrono::milliseconds(
        static_cast<std::int64_t>((asked >= 1 ? asked : default_hang_timeout) * 1000));
}

HeartbeatOptions heartbeats_of(const World& world, const TrainingArguments& arguments) {
    HeartbeatOptions options;
    options.run = arguments.run;
    options.rank = world.comm->rank();
    options.world_size = world.comm->size();
    // Fewer beats on a large world: they all go to one file system.
    options.interval = std::chrono::milliseconds(std::clamp<std::int64_t>(
        patience_of(arguments).count() / 8, 100, 1000 + 10L * world.comm->size().value));
    // Short, since a rank that is killed writes no more: a crash loop is told by the step it died in.
    options.least_interval = std::chrono::milliseconds(world.comm->size().value);
    return options;
}

/// rank-00003.log
std::string log_name(Rank rank) {
    char text[32];
    std::snprintf(text, sizeof text, "rank-%05d.log", rank.value);
    return text;
}

/// The progress line and the figures of the summary.
class TrainingReport {
  public:
    /// @param sgemm_rate  of all ranks [flop/s].
    TrainingReport(std::uint64_t stop_step, double flop_per_token, double sgemm_rate, bool quiet)
        : stop_step_(stop_step), flop_per_token_(flop_per_token), sgemm_rate_(sgemm_rate), quiet_(quiet) {}

    void add(const StepMetrics& metrics) {
        if (metrics.loss) {
            if (!first_loss_) first_loss_ = metrics.loss;
            last_loss_ = metrics.loss;
        }
        tokens_ += metrics.tokens;
        seconds_ += metrics.seconds;
        recent_.push_back({metrics.tokens, metrics.seconds});
        if (recent_.size() > 32) recent_.pop_front();
        if (!quiet_ && (progress_.due() || metrics.step + 1 == stop_step_)) progress_.show(line(metrics));
    }

    double tokens_per_second() const { return seconds_ > 0 ? static_cast<double>(tokens_) / seconds_ : 0; }
    /// Useful operations a second over the sgemm probe's rate.
    double sgemm_share() const { return sgemm_share(tokens_per_second()); }
    std::optional<double> first_loss() const { return first_loss_; }
    std::optional<double> last_loss() const { return last_loss_; }

  private:
    double sgemm_share(double token_rate) const {
        return sgemm_rate_ > 0 ? token_rate * flop_per_token_ / sgemm_rate_ : 0;
    }

    std::string line(const StepMetrics& metrics) const {
        std::uint64_t tokens = 0;
        double seconds = 0;
        for (const auto& [step_tokens, step_seconds] : recent_) {
            tokens += step_tokens;
            seconds += step_seconds;
        }
        const double rate = seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
        const double step_seconds = seconds / static_cast<double>(recent_.size());
        return "step " + std::to_string(metrics.step + 1) + "/" + std::to_string(stop_step_) + "  loss " +
               (metrics.loss ? fixed(*metrics.loss, 4) : std::string("-")) + "  " + rate_text(rate) +
               " tokens/s  " + fixed(100 * sgemm_share(rate), 0) + " % of fp32 sgemm  ETA " +
               duration_text(step_seconds * static_cast<double>(stop_step_ - metrics.step - 1));
    }

    std::uint64_t stop_step_;
    double flop_per_token_;
    double sgemm_rate_;
    bool quiet_;
    ProgressLine progress_;
    std::optional<double> first_loss_, last_loss_;
    std::uint64_t tokens_ = 0;
    double seconds_ = 0;
    std::deque<std::pair<std::uint64_t, double>> recent_;
};

}  // namespace

void add_settings_options(CLI::App& verb, TrainingArguments& a) {
    const std::string group = "Settings of the run";
    verb.add_option("-m,--model", a.model, "Preset or config.json")->group(group);
    verb.add_option("--lr", a.learning_rate, "Peak learning rate (0.001)")->group(group);
    verb.add_option("--final-lr", a.final_learning_rate, "Where the cosine ends (a tenth of --lr)")
        ->group(group);
    verb.add_option("--warmup", a.warmup, "Steps of linear warm-up (a twentieth of the schedule)")
        ->group(group);
    verb.add_option("--schedule-steps", a.schedule_steps, "Horizon of the schedule (the plan's steps)")
        ->group(group);
    verb.add_option("--beta1", a.beta1, "AdamW (0.9)")->group(group);
    verb.add_option("--beta2", a.beta2, "AdamW (0.95)")->group(group);
    verb.add_option("--adam-eps", a.epsilon, "AdamW (1e-8)")->group(group);
    verb.add_option("--weight-decay", a.weight_decay, "Decoupled, on matrices only (0.1)")->group(group);
    verb.add_option("--clip", a.clip, "Largest gradient norm, 0 for none (1.0)")->group(group);
    verb.add_option(
            "--init", a.init,
            "Begin with the weights of this model folder (config.json, safetensors); -m may be left out")
        ->group(group);
    verb.add_option("--init-seed", a.seed, "Seed of the initial weights, and of adapters (1)")->group(group);
    verb.add_option("--scale-exponent", a.scale_exponent, "First scale 2^s of the exact sum (50)")
        ->group(group);
    verb.add_option("--numerics", a.numerics,
                    "Matrix products: fma256, or bf16 with operands rounded to it (fma256)")
        ->group(group);
    add_lora_options(verb, a);
}

void add_generation_options(CLI::App& verb, TrainingArguments& a, bool as_the_run) {
    const auto otherwise = [&](const char* value) {
        return std::string(" (") + (as_the_run ? "as the run has it" : value) + ")";
    };
    const std::string group = "Generations";
    verb.add_option("--checkpoint-every", a.checkpoint_every,
                    "When a generation is made: steps as 100, 0 for only at the end; a time as 30s, 10m, 2h; "
                    "or auto[:MTBF], by what one costs and the mean time between failures (4h)" +
                        otherwise("100"))
        ->group(group);
    verb.add_option("--keep", a.keep, "Generations to keep, at least 2" + otherwise("2"))->group(group);
    verb.add_option("--keep-every", a.keep_every,
                    "Also keep the first generation of every so many steps, 0 for none" + otherwise("0"))
        ->group(group);
    verb.add_flag("--sync-checkpoints", a.sync_checkpoints,
                  "Let the steps wait while a generation is written; saves the snapshot's memory")
        ->group(group);
}

void add_machine_options(CLI::App& verb, TrainingArguments& a) {
    const std::string group = "This start";
    verb.add_option("--steps", a.steps, "Stop before this step of the plan (its last)")->group(group);
    verb.add_option("--threads", a.threads, "Threads of each rank (cores over ranks on the node)")
        ->check(CLI::Range(1, 1024))
        ->group(group);
    verb.add_option("--gemm", a.gemm,
                    "Matrix product: auto, openblas, own or reference; the bits are the same")
        ->group(group);
    verb.add_option("--hang-timeout", a.hang_timeout, "Seconds after which a silent rank is given up (600)")
        ->check(CLI::Range(1.0, 1e7))
        ->group(group);
    verb.add_flag("--recompute", a.recompute,
                  "Keep less of forward and compute it again in backward: less memory, the same bits")
        ->group(group);
    verb.add_option("--cross-check", a.cross_check,
                    "Every so many steps two ranks compute one pack and compare their bits, 0 for never (0)")
        ->group(group);
    verb.add_flag("--quiet", a.quiet, "No progress line")->group(group);
}

namespace {

void lay_over(TrainSettings& s, const TrainingArguments& a) {
    OptimizerSettings& o = s.optimizer;
    o.learning_rate = a.learning_rate.value_or(o.learning_rate);
    o.final_learning_rate = a.final_learning_rate.value_or(o.final_learning_rate);
    o.warmup_steps = a.warmup.value_or(o.warmup_steps);
    o.schedule_steps = a.schedule_steps.value_or(o.schedule_steps);
    o.beta1 = a.beta1.value_or(o.beta1);
    o.beta2 = a.beta2.value_or(o.beta2);
    o.epsilon = a.epsilon.value_or(o.epsilon);
    o.weight_decay = a.weight_decay.value_or(o.weight_decay);
    o.clip_norm = a.clip.value_or(o.clip_norm);
    s.seed = a.seed.value_or(s.seed);
    s.scale_exponent = a.scale_exponent.value_or(s.scale_exponent);
    if (a.numerics) s.numerics = parse_gemm_numerics(*a.numerics);
    lay_over_lora(s, a);
}

}  // namespace

TrainSettings settings_from(const TrainingArguments& a, const ModelConfig& model, std::uint64_t plan_steps,
                            const std::optional<LoraSettings>& adapter) {
    TrainSettings settings;
    settings.model = model;
    settings.lora = adapter;
    OptimizerSettings& o = settings.optimizer;
    o.learning_rate = a.learning_rate.value_or(o.learning_rate);
    o.final_learning_rate = o.learning_rate / 10;
    o.schedule_steps = a.schedule_steps.value_or(std::max<std::uint64_t>(plan_steps, 1));
    o.warmup_steps = o.schedule_steps / 20;
    lay_over(settings, a);
    check_train_settings(settings);
    return settings;
}

std::unique_ptr<ProgressWatch> watch_start(const TrainingArguments& arguments) {
    ProgressWatchOptions options;
    options.rank = launched_rank();
    options.patience = patience_of(arguments) + watch_grace;
    const char* const start_file = std::getenv(start_heartbeat_variable);
    if (start_file != nullptr && options.rank.value == 0) options.start_file = start_file;
    options.on_stuck = [](const Heartbeat& where) {
        log_rank_within(last_words_patience, LogLevel::error,
                        describe(Rank{where.rank}, where) +
                            ": no progress within --hang-timeout; this process ends, " +
                            (where.training ? "resume the run" : "start it again"));
        std::_Exit(exit_code_of(ErrorCode::peer_lost));
    };
    return std::make_unique<ProgressWatch>(std::move(options));
}

void prepare(World& world, std::string_view what, const std::function<void()>& work) {
    world.watch->starting(what);
    together(*world.comm, what, work);
}

void begin_start(World& world, const TrainingArguments& arguments) {
    if (arguments.hang_timeout && *arguments.hang_timeout >= 1) {
        world.comm->set_timeout(
            std::chrono::milliseconds(static_cast<std::int64_t>(*arguments.hang_timeout * 1000)));
    }
    prepare(world, "reading the command line", [&] {
        if (arguments.hang_timeout && !(*arguments.hang_timeout >= 1)) {
            throw Error(ErrorCode::invalid_argument, "--hang-timeout must be a number of seconds, 1 or more");
        }
        parse_gemm_backend(arguments.gemm);
        if (arguments.numerics) parse_gemm_numerics(*arguments.numerics);
        if (arguments.checkpoint_every) parse_checkpoint_interval(*arguments.checkpoint_every);
        if (arguments.run.empty())
            throw Error(ErrorCode::invalid_argument, "the run's folder is empty text; name one");
        if (arguments.keep && *arguments.keep < 2) {
            throw Error(ErrorCode::invalid_argument,
                        "--keep is " + std::to_string(*arguments.keep) + "; at least 2 generations are kept");
        }
    });
}

void refuse_other_settings(const TrainSettings& run, const TrainingArguments& a, const std::string& why) {
    TrainSettings asked = run;
    if (!a.model.empty()) asked.model = load_model_config(a.model, run.model.vocabulary).config;
    lay_over(asked, a);
    const std::string difference = first_difference(run, asked);
    if (!difference.empty()) throw Error(ErrorCode::invalid_argument, why + difference);
}

void check_record(const RunRecord& record, const TrainingArguments& arguments) {
    const std::array known = {numerics_id(GemmNumerics::fma256), numerics_id(GemmNumerics::bf16)};
    if (std::find(known.begin(), known.end(), record.numerics) == known.end()) {
        throw Error(ErrorCode::incompatible_version, "the run follows numerics '" + record.numerics +
                                                         "', this lockstep has '" + std::string(known[0]) +
                                                         "' and '" + std::string(known[1]) +
                                                         "'; go on with the version that began it");
    }
    const TrainSettings run = train_settings_from_json(record.settings_json);
    if (numerics_id(run.numerics) != record.numerics) {
        throw Error(ErrorCode::corrupt_data, "run.json: numerics is '" + record.numerics +
                                                 "', in its settings '" + std::string(name_of(run.numerics)) +
                                                 "'");
    }
    if (fingerprint_of(run) != record.model) {
        throw Error(ErrorCode::corrupt_data, "run.json: its settings do not have the fingerprint it names");
    }
    refuse_other_settings(run, arguments,
                          "a run keeps its settings; leave the option out or start a new run: ");
}

Fingerprint init_fingerprint(const std::string& folder, const ModelConfig& model) {
    const WeightsFolder weights_folder = WeightsFolder::open(folder, model);
    std::vector<float> weights(StateLayout(model).size());
    weights_folder.read(weights);
    return weights_fingerprint(source_of(weights), weights.size());
}

void check_init(const TrainSettings& run, const TrainingArguments& arguments) {
    if (arguments.init.empty()) return;
    const std::string why = "a run keeps its initial weights; leave --init out or start a new run: ";
    if (run.init.empty()) {
        throw Error(ErrorCode::fingerprint_mismatch, why + "the run's were drawn from seed " +
                                                         std::to_string(run.seed) + ", '" + arguments.init +
                                                         "' was asked for");
    }
    const Fingerprint found = init_fingerprint(arguments.init, run.model);
    if (found != run.init) {
        throw Error(ErrorCode::fingerprint_mismatch, why + "the run's are " + run.init.brief() + "…, '" +
                                                         arguments.init + "' holds " + found.brief() + "…");
    }
}

std::vector<std::string> corpus_paths(const std::vector<std::string>& arguments,
                                      const std::vector<PlanSource>& sources) {
    if (arguments.size() != sources.size()) {
        throw Error(ErrorCode::invalid_argument, "the plan has " + std::to_string(sources.size()) +
                                                     " source(s), " + std::to_string(arguments.size()) +
                                                     " were given; give each once, as [NAME=]FILE");
    }
    std::vector<std::string> paths(sources.size());
    std::vector<std::string> unnamed;
    for (const std::string& argument : arguments) {
        const auto [name, file] = split_named(argument);
        if (name.empty()) {
            unnamed.push_back(file);
            continue;
        }
        const auto source =
            std::find_if(sources.begin(), sources.end(),
                         [&, &wanted = name](const PlanSource& s) { return s.name == wanted; });
        if (source == sources.end()) {
            std::string known;
            for (const PlanSource& s : sources) known += (known.empty() ? "'" : ", '") + s.name + "'";
            throw Error(ErrorCode::invalid_argument,
                        "'" + argument + "': the plan has no source '" + name + "'; it has " + known);
        }
        paths[static_cast<std::size_t>(source - sources.begin())] = file;
    }
    auto next = unnamed.begin();
    for (std::string& path : paths) {
        if (!path.empty()) continue;
        if (next == unnamed.end())
            throw Error(ErrorCode::invalid_argument,
                        "a source of the plan is given twice; give each once, as [NAME=]FILE");
        path = *next++;
    }
    return paths;
}

void warn_of_drift(const Corpus& corpus) {
    const DriftReport report = check_drift(corpus, drift_samples, std::random_device()());
    if (!report.note.empty()) log_root(LogLevel::info, report.note);
}

std::vector<PlanInput> open_inputs(const std::vector<std::string>& corpora,
                                   const std::vector<PlanSource>& sources) {
    std::vector<PlanInput> inputs;
    for (const std::string& path : corpus_paths(corpora, sources))
        inputs.push_back(PlanInput::open(path, path));  // Messages name the file.
    return inputs;
}

ServedPlan PlanAtHand::served() const {
    ServedPlan served{plan.view(), totals, bound, {}};
    if (!plan.has_targets()) served.targets = TargetCount(plan.head().sources, inputs);
    return served;
}

PlanAtHand at_hand_of(PlanFile plan, const PlanTotals& totals, const std::vector<std::string>& corpora) {
    PlanAtHand at_hand{std::move(plan), totals, {}, {}};
    at_hand.inputs = open_inputs(corpora, at_hand.plan.head().sources);
    require_same_tokenizers(at_hand.plan.directory(), at_hand.plan.head().sources, at_hand.inputs);
    at_hand.bound = bind_sources(at_hand.plan.head(), at_hand.inputs);
    for (const PlanInput& input : at_hand.inputs) warn_of_drift(*input.corpus());
    return at_hand;
}

PlanAtHand load_plan_at_hand(const std::string& plan_path, const std::vector<std::string>& corpora) {
    PlanFile plan = PlanFile::open(plan_path);
    const PlanTotals totals = prove_and_count(plan);
    return at_hand_of(std::move(plan), totals, corpora);
}

std::vector<std::string> corpora_of_run(const RunRecord& record, const std::vector<std::string>& corpora) {
    if (!corpora.empty()) return corpora;
    std::vector<std::string> paths;
    for (const RunCorpus& corpus : record.corpora) paths.push_back(corpus.path);
    return paths;
}

PlanAtHand load_plan_of_run(const RunRecord& record, const PlanInForce& wanted, const std::string& plan_path,
                            const std::vector<std::string>& corpora) {
    const std::string path = plan_path.empty() ? wanted.path : plan_path;
    PlanFile file = open_plan_of_run(wanted, path);
    const std::vector<std::string> data = corpora_of_run(record, corpora);
    return wanted.totals ? at_hand_of(std::move(file), *wanted.totals, data) : load_plan_at_hand(path, data);
}

std::function<void(std::span<float>)> initial_weights_of(const RunRecord& record,
                                                         const TrainingArguments& arguments,
                                                         const TrainSettings& settings) {
    const std::string folder = arguments.init.empty() ? record.init_path : arguments.init;
    return [folder, model = settings.model](std::span<float> weights) {
        WeightsFolder::open(folder, model).read(weights);
    };
}

CorporaAtHand open_corpora(const std::vector<std::string>& corpora, const std::vector<PlanSource>& announced,
                           const PlanAtHand* at_hand) {
    const std::vector<std::string> paths = corpus_paths(corpora, announced);
    CorporaAtHand result;
    for (std::size_t i = 0; i < paths.size(); ++i) {
        std::shared_ptr<const Corpus> corpus = at_hand != nullptr
                                                   ? at_hand->inputs[i].corpus()
                                                   : std::make_shared<const Corpus>(Corpus::open(paths[i]));
        if (corpus->content_fingerprint() != announced[i].corpus) {
            throw Error(ErrorCode::fingerprint_mismatch,
                        "corpus '" + paths[i] + "' has content " + corpus->content_fingerprint().brief() +
                            "…, rank 0 trains on " + announced[i].corpus.brief() +
                            "…; copy the same corpus to this host");
        }
        result.vocabulary = std::max(result.vocabulary, corpus->tokenizer().vocabulary_size);
        result.samples.add(std::move(corpus));
    }
    return result;
}

namespace {

/// What a start may choose for itself still has to be one choice, since collectives follow from it: rank 0's.
WorkerOptions choose_options(Communicator& comm, const TrainingArguments& arguments, const RunRecord& record,
                             const PlanSummary& plan) {
    std::uint64_t chosen[] = {std::min(arguments.steps.value_or(plan.num_steps), plan.num_steps),
                              arguments.keep.value_or(record.keep),
                              arguments.keep_every.value_or(record.keep_every), arguments.cross_check,
                              arguments.sync_checkpoints ? 1U : 0U};
    comm.broadcast(std::as_writable_bytes(std::span(chosen)), Rank{0});
    const std::string every = arguments.checkpoint_every.value_or(record.checkpoint_every);
    const auto text = std::as_bytes(std::span(every.data(), every.size()));
    std::vector<std::byte> bytes(text.begin(), text.end());
    broadcast_bytes(comm, bytes, Rank{0});
    WorkerOptions options;
    options.run = arguments.run;
    options.stop_step = chosen[0];
    options.checkpoint_every =
        parse_checkpoint_interval({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    options.retention = {chosen[1], chosen[2]};
    options.cross_check_every = chosen[3];
    options.snapshot = chosen[4] != 0 ? SnapshotMode::borrow : SnapshotMode::copy;
    return options;
}

}  // namespace

int train_run(const Invocation& invocation, World& world, const TrainingArguments& arguments,
              const PlanAtHand* plan, const RunRecord& record, const std::optional<Manifest>& generation,
              const std::vector<std::string>& corpora, const std::function<void()>& on_ready) {
    Communicator& comm = *world.comm;
    const std::filesystem::path run = arguments.run;
    const TrainSettings settings = train_settings_from_json(record.settings_json);
    world.watch->starting("announcing the plan");
    PlanDistribution distribution(comm, plan != nullptr ? std::optional(plan->served()) : std::nullopt);
    const PlanSummary& summary = distribution.summary();
    const int threads = arguments.threads.value_or(default_threads(world));

    world.watch->write_heartbeats_to(heartbeats_of(world, arguments));
    comm.set_witness([run](Rank rank) { return describe(rank, read_heartbeat(run, rank)); });
    stop_on_termination_signals();

    CorporaAtHand data;
    std::optional<ThreadPool> pool;
    std::optional<Gemm> gemm;
    std::optional<Worker> worker;
    prepare(world, "preparing to train", [&] {
        if (arguments.keep && *arguments.keep < 2) {
            throw Error(ErrorCode::invalid_argument,
                        "--keep is " + std::to_string(*arguments.keep) + "; at least 2 generations are kept");
        }
        data = open_corpora(corpora, distribution.sources(), plan);
        log_to_file((run / "logs" / log_name(comm.rank())).string());
        pool.emplace(threads);
        gemm.emplace(
            *pool, parse_gemm_backend(arguments.gemm),
            gemm_shapes(settings.model, std::max<std::size_t>(summary.pack_tokens_max, 1), settings.lora),
            settings.numerics);
        worker.emplace(comm, *gemm, summary, data.samples, data.vocabulary, settings,
                       arguments.recompute ? Activations::recompute : Activations::keep);
    });
    worker->hooks = invocation.hooks;
    worker->load_initial_weights = initial_weights_of(record, arguments, settings);
    worker->load_initial_adapters = initial_adapters_of(record, arguments, settings);
    worker->fetch_window = [&](std::uint64_t step) { return distribution.fetch(step); };
    worker->stop_requested = stop_signal_seen;
    worker->on_progress = [&watch = *world.watch](std::string_view phase, std::uint64_t step,
                                                  std::optional<std::uint64_t> pack) {
        watch.at(phase, step, pack);
    };
    prepare(world, "publishing the run", [&] {
        if (world.is_root()) on_ready();
    });
    world.watch->starting("loading the state");
    worker->start(generation, run);

    world.watch->starting("measuring the rate of sgemm");
    const double sgemm_rate =
        measure_total_sgemm_rate(world, *pool, settings, std::max<std::size_t>(summary.pack_tokens_max, 1));
    const double flop =
        flop_per_token(settings.model, settings.lora, static_cast<double>(summary.mean_context));
    const WorkerOptions options = choose_options(comm, arguments, record, summary);
    const std::uint64_t stop = options.stop_step;
    TrainingReport report(stop, flop, sgemm_rate, arguments.quiet);
    worker->on_step = [&](const StepMetrics& metrics) { report.add(metrics); };
    const std::string frozen = settings.lora
                                   ? " of " + with_commas(worker->parameters()) + " parameters (LoRA, rank " +
                                         std::to_string(settings.lora->rank) + " on " +
                                         text_of(settings.lora->targets) + ")"
                                   : " parameters";
    log_root(LogLevel::info, "training " + with_commas(worker->trainable_parameters()) + frozen + ", " +
                                 std::to_string(comm.size().value) + " rank(s) of " +
                                 std::to_string(threads) + " thread(s), numerics " +
                                 std::string(name_of(settings.numerics)) + ", steps " +
                                 std::to_string(generation ? generation->step : 0) + " to " +
                                 std::to_string(stop) + " of " + std::to_string(summary.num_steps));
    log_rank(LogLevel::debug, gemm->describe() + "; fp32 sgemm on the model's shapes, all ranks: " +
                                  fixed(sgemm_rate / 1e9, 0) + " GFLOP/s");

    const WorkerOutcome outcome = worker->run(options);

    if (world.is_root()) {
        invocation.say((outcome.stopped_on_request ? "stopped on request at step " : "done: step ") +
                       std::to_string(outcome.next_step) + " of " + std::to_string(summary.num_steps) + ", " +
                       rate_text(report.tokens_per_second()) + " tokens/s, " +
                       fixed(100 * report.sgemm_share(), 0) + " % of fp32 sgemm on the model's shapes" +
                       (report.last_loss() ? ", loss " + fixed(*report.first_loss(), 4) + " -> " +
                                                 fixed(*report.last_loss(), 4)
                                           : std::string()));
        invocation.say("state digest " + outcome.state_digest.hex());
        nlohmann::ordered_json object = {{"run", run.string()},
                                         {"next_step", outcome.next_step},
                                         {"plan_steps", summary.num_steps},
                                         {"state_digest", outcome.state_digest.hex()},
                                         {"plan_fingerprint", summary.plan.hex()},
                                         {"parameters", worker->parameters()},
                                         {"trainable_parameters", worker->trainable_parameters()},
                                         {"world_size", comm.size().value},
                                         {"threads", threads},
                                         {"numerics", std::string(name_of(settings.numerics))},
                                         {"gemm", std::string(name_of(gemm->backend()))},
                                         {"tokens_per_second", report.tokens_per_second()},
                                         {"sgemm_flop_per_second", sgemm_rate},
                                         {"sgemm_share", report.sgemm_share()},
                                         {"peak_memory_bytes", peak_resident_bytes()},
                                         {"first_loss", nullptr},
                                         {"last_loss", nullptr},
                                         {"generations", outcome.generations},
                                         {"checkpoint_stall_seconds", outcome.stall_seconds},
                                         {"stopped", outcome.stopped_on_request}};
        if (options.cross_check_every > 0) {
            object["cross_checks"] = outcome.cross_checks;
            object["cross_check_repeats"] = outcome.cross_check_repeats;
        }
        if (report.first_loss()) object["first_loss"] = *report.first_loss();
        if (report.last_loss()) object["last_loss"] = *report.last_loss();
        invocation.give(object);
    }
    return outcome.stopped_on_request ? exit_code_of(ErrorCode::stopped) : 0;
}

}  // namespace lockstep
