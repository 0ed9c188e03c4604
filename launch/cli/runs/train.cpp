#include <algorithm>
#include <filesystem>
#include <optional>

#include "coordinator/distribution.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"
#include "io/files/directory.h"
#include "io/files/folder_lock.h"
#include "launch/cli/plan/plan_building.h"
#include "launch/cli/runs/adapters.h"
#include "launch/cli/runs/dry_run.h"
#include "launch/cli/runs/replay_pack.h"
#include "launch/cli/runs/training.h"

namespace lockstep {

namespace {

/// When generations are made unless --checkpoint-every says otherwise.
constexpr const char* default_checkpoint_every = "100";

struct TrainArguments {
    TrainingArguments training;
    PlanBuildArguments build;
    bool build_plan = false;
    bool continue_run = false;
    bool dry_run = false;
    std::optional<std::uint64_t> replay_step, replay_pack;
    std::string dump;
};

std::string absolute(const std::string& path) {
    return std::filesystem::absolute(path).lexically_normal().string();
}

/// A folder that holds a run, or the remains of one, is not where a new one starts.
void refuse_existing_run(const std::filesystem::path& run) {
    if (path_exists(run_record_path(run))) {
        throw Error(ErrorCode::output_exists, "run '" + run.string() +
                                                  "' exists; continue it with lockstep resume " +
                                                  run.string() + ", or choose another -o");
    }
    for (const char* folder : {"ledger", "checkpoints"}) {
        if (!directory_entries(run / folder).empty()) {
            throw Error(ErrorCode::output_exists,
                        "'" + (run / folder).string() +
                            "' holds files of a run without a run.json; choose another -o");
        }
    }
}

void make_run_directory(const std::filesystem::path& run) {
    for (const char* folder : {"logs", "ledger", "checkpoints"}) create_directories_durably(run / folder);
}

RunRecord record_of(const TrainingArguments& arguments, const TrainSettings& settings,
                    const PlanAtHand& at_hand) {
    RunRecord record;
    record.settings_json = to_json(settings);
    record.numerics = numerics_id(settings.numerics);
    record.model = fingerprint_of(settings);
    record.plan_path = absolute(arguments.plan);
    record.plan = at_hand.fingerprint();
    record.plan_totals = at_hand.totals;
    const std::vector<std::string> paths = corpus_paths(arguments.corpora, at_hand.bound);
    for (std::size_t i = 0; i < paths.size(); ++i) {
        record.corpora.push_back({at_hand.bound[i].name, absolute(paths[i]), at_hand.bound[i].corpus});
    }
    if (!arguments.init.empty()) record.init_path = absolute(arguments.init);
    if (!arguments.init_adapter.empty()) record.init_adapter_path = absolute(arguments.init_adapter);
    record.checkpoint_every = arguments.checkpoint_every.value_or(default_checkpoint_every);
    record.keep = arguments.keep.value_or(2);
    record.keep_every = arguments.keep_every.value_or(0);
    return record;
}

/// Rank 0's settings to everyone; a rank started with others is an error, not a different run.
void share_settings(World& world, const TrainArguments& arguments, RunRecord& record) {
    Communicator& comm = *world.comm;
    share_text(comm, record.settings_json);
    together(comm, "comparing settings", [&] {
        const TrainSettings settings = train_settings_from_json(record.settings_json);
        const std::string why = "this rank was started with other settings than rank 0; start all alike: ";
        refuse_other_settings(settings, arguments.training, why);
        if (settings.init.empty() != arguments.training.init.empty()) {
            throw Error(ErrorCode::invalid_argument, why + "only one of them has --init");
        }
        const bool has_adapters = settings.lora && !settings.lora->init.empty();
        if (has_adapters == arguments.training.init_adapter.empty()) {
            throw Error(ErrorCode::invalid_argument, why + "only one of them has --init-adapter");
        }
    });
}

/// Rank 0: plan, corpora and settings of a new run, checked against each other. Nothing of the run is written
/// yet.
RunRecord prepare_run(const Invocation& invocation, World& world, TrainArguments& arguments,
                      std::optional<PlanAtHand>& at_hand) {
    TrainingArguments& training = arguments.training;
    if (training.plan.empty()) throw Error(ErrorCode::invalid_argument, "train needs -p PLAN");
    refuse_existing_run(training.run);
    // A continued start may find the plan that an earlier one finished.
    const bool built = arguments.continue_run && path_exists(std::filesystem::path(training.plan));
    if (arguments.build_plan && !built) {
        if (arguments.build.inputs.empty()) arguments.build.inputs = training.corpora;
        arguments.build.output = training.plan;
        world.watch->starting("building the plan", Patience::unlimited);
        build_and_save_plan(invocation, arguments.build, world, nullptr);
    }
    world.watch->starting("loading the plan");
    at_hand = load_plan_at_hand(training.plan, training.corpora);
    world.watch->starting("reading the model");
    std::uint64_t vocabulary = 0;
    for (const PlanInput& input : at_hand->inputs) {
        vocabulary = std::max(vocabulary, input.corpus()->tokenizer().vocabulary_size);
    }
    const LoadedModelConfig model =
        load_model_config(training.model.empty() ? training.init : training.model, vocabulary);
    for (const std::string& warning : model.warnings) log_root(LogLevel::warning, warning);
    TrainSettings settings = settings_from(training, model.config, at_hand->plan.num_steps(),
                                           initial_adapter_settings(training, model.config));
    if (!training.init.empty()) settings.init = init_fingerprint(training.init, model.config);
    check_fit(at_hand->served().summary(), vocabulary, settings);
    return record_of(training, settings, *at_hand);
}

/// Collective. Rank 0's answer: it alone has to see the folder as it is.
bool run_exists(World& world, const std::string& run) {
    std::int64_t exists = 0;
    prepare(world, "looking for the run", [&] {
        if (world.is_root() && path_exists(run_record_path(run))) exists = 1;
    });
    world.comm->sum(std::span(&exists, 1));
    return exists != 0;
}

int run_train(const Invocation& invocation, TrainArguments arguments) {
    if (arguments.replay_pack || arguments.replay_step) {
        if (!arguments.replay_pack || !arguments.replay_step) {
            throw Error(ErrorCode::invalid_argument, "--step and --pack name one pack together; give both");
        }
        return replay_pack(invocation, arguments.training, *arguments.replay_step, *arguments.replay_pack,
                           arguments.dump);
    }
    if (!arguments.dump.empty()) {
        throw Error(ErrorCode::invalid_argument, "--dump writes one pack; name it with --step and --pack");
    }
    if (arguments.dry_run && arguments.build_plan) {
        throw Error(ErrorCode::invalid_argument,
                    "--dry-run writes nothing, so it cannot --build-plan; build the plan first");
    }
    return run_in_world(
        [&](World& world) {
            TrainingArguments& training = arguments.training;
            begin_start(world, training);
            if (arguments.continue_run && !arguments.dry_run && run_exists(world, training.run)) {
                return resume_in_world(invocation, world, training, true);
            }
            std::optional<PlanAtHand> at_hand;
            std::optional<FolderLock> lock;
            RunRecord record;
            prepare(world, "starting the run", [&] {
                if (training.model.empty() && training.init.empty()) {
                    throw Error(ErrorCode::invalid_argument, "train needs -m MODEL, or --init FOLDER");
                }
                // The seed draws weights and adapters: one of them must be left to draw.
                const bool draws_adapters = asks_for_lora(training) && training.init_adapter.empty();
                if (!training.init.empty() && training.seed && !draws_adapters) {
                    throw Error(ErrorCode::invalid_argument,
                                "--init-seed draws the weights that --init brings; give one of them");
                }
                if (training.corpora.empty())
                    throw Error(ErrorCode::invalid_argument, "train needs -d CORPUS");
                if (!world.is_root()) return;
                record = prepare_run(invocation, world, arguments, at_hand);
                if (arguments.dry_run) return;
                make_run_directory(training.run);
                lock.emplace(training.run);
                refuse_existing_run(training.run);  // Again, now that nobody else can make one.
            });
            share_settings(world, arguments, record);
            if (arguments.dry_run) {
                world.watch->starting("the dry run", Patience::unlimited);
                return dry_run(invocation, world, training, at_hand ? &*at_hand : nullptr,
                               train_settings_from_json(record.settings_json));
            }
            return train_run(invocation, world, training, at_hand ? &*at_hand : nullptr, record, std::nullopt,
                             training.corpora, [&] { write_run_record(training.run, record); });
        },
        watch_start(arguments.training));
}

}  // namespace

void add_train(CLI::App& app, Invocation& invocation) {
    auto arguments = std::make_shared<TrainArguments>();
    CLI::App* verb =
        add_verb(app, invocation, "train", "Train a model on a plan",
                 "  mpirun -n 2 lockstep train -p plan/ -d corpus.h5 -m tiny -o run/ --checkpoint-every 50\n"
                 "  lockstep train --build-plan -p plan/ -d corpus.h5 -e 1 -b 1024 -m nano -o run/\n"
                 "  lockstep train -p plan/ -d corpus.h5 --init model/ -o run/\n"
                 "  lockstep train -p plan/ -d corpus.h5 --init model/ --lora-rank 16 --lora-targets "
                 "all-linear -o run/\n"
                 "  lockstep train -p plan/ -d corpus.h5 -m tiny -o run/ --continue     (start or resume)\n"
                 "  lockstep train -p plan/ -d corpus.h5 -m gpt2-124m -o run/ --dry-run\n"
                 "  lockstep train -o run/ --step 120 --pack 963        (look at one pack again)",
                 [&invocation, arguments] { return run_train(invocation, *arguments); });
    verb->add_option("-p,--plan,--batch-plan", arguments->training.plan, "Plan folder; only rank 0 reads it");
    verb->add_option("-d,--data", arguments->training.corpora, "[NAME=]CORPUS, one a source of the plan");
    verb->add_option("-o,--output", arguments->training.run, "Run folder")->required();
    verb->add_flag("--continue", arguments->continue_run,
                   "Continue the run in -o if there is one, as resume does; what a restart needs");
    add_generation_options(*verb, arguments->training, false);
    add_settings_options(*verb, arguments->training);
    add_machine_options(*verb, arguments->training);
    CLI::Option* build_plan =
        verb->add_flag("--build-plan", arguments->build_plan, "Build the plan first, into -p")
            ->group("Building the plan");
    for (CLI::Option* option : add_plan_options(*verb, arguments->build, "Building the plan"))
        option->needs(build_plan);
    verb->add_flag("--dry-run", arguments->dry_run,
                   "Print parameters, memory by purpose and expected speed, and start nothing");
    verb->add_option("--step", arguments->replay_step, "With --pack: the step to look at again")
        ->group("Looking at one pack");
    verb->add_option("--pack", arguments->replay_pack, "Pack of the whole plan, as in plan.jsonl")
        ->group("Looking at one pack");
    verb->add_option("--dump", arguments->dump,
                     "Write batch, loss, logits, weights and gradient to this safetensors file")
        ->group("Looking at one pack");
}

}  // namespace lockstep
