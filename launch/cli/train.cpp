#include <algorithm>
#include <filesystem>
#include <optional>

#include "coordinator/distribution.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"
#include "io/directory.h"
#include "io/run_lock.h"
#include "launch/cli/plan_building.h"
#include "launch/cli/replay_pack.h"
#include "launch/cli/training.h"

namespace lockstep {

namespace {

/// Steps between generations unless --checkpoint-every says otherwise.
constexpr std::uint64_t default_checkpoint_every = 100;

struct TrainArguments {
    TrainingArguments training;
    PlanBuildArguments build;
    bool build_plan = false;
    bool use_lora = false;
    std::optional<std::uint64_t> replay_step, replay_pack;
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
    record.numerics = name_of(settings.numerics);
    record.model = fingerprint_of(settings);
    record.plan_path = absolute(arguments.plan);
    record.plan = at_hand.plan.fingerprints.plan;
    const std::vector<std::string> paths = corpus_paths(arguments.corpora, at_hand.bound);
    for (std::size_t i = 0; i < paths.size(); ++i) {
        record.corpora.push_back({at_hand.bound[i].name, absolute(paths[i]), at_hand.bound[i].corpus});
    }
    record.checkpoint_every = arguments.checkpoint_every.value_or(default_checkpoint_every);
    record.keep = arguments.keep.value_or(2);
    return record;
}

/// Rank 0's settings to everyone; a rank started with others is an error, not a different run.
void share_settings(World& world, const TrainArguments& arguments, RunRecord& record) {
    Communicator& comm = *world.comm;
    std::vector<std::byte> bytes;
    if (world.is_root()) {
        const auto text = std::as_bytes(std::span(record.settings_json.data(), record.settings_json.size()));
        bytes.assign(text.begin(), text.end());
    }
    broadcast_bytes(comm, bytes, Rank{0});
    together(comm, "comparing settings", [&] {
        record.settings_json.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        refuse_other_settings(train_settings_from_json(record.settings_json), arguments.training,
                              "this rank was started with other settings than rank 0; start all alike: ");
    });
}

/// Rank 0: plan, corpora and settings of a new run, checked against each other. Nothing of the run is written
/// yet.
RunRecord prepare_run(const Invocation& invocation, TrainArguments& arguments,
                      std::optional<PlanAtHand>& at_hand) {
    TrainingArguments& training = arguments.training;
    if (training.plan.empty()) throw Error(ErrorCode::invalid_argument, "train needs -p PLAN");
    refuse_existing_run(training.run);
    if (arguments.build_plan) {
        if (arguments.build.inputs.empty()) arguments.build.inputs = training.corpora;
        arguments.build.output = training.plan;
        build_and_save_plan(invocation, arguments.build, nullptr);
    }
    at_hand = load_plan_at_hand(training.plan, training.corpora);
    std::uint64_t vocabulary = 0;
    for (const PlanInput& input : at_hand->inputs) {
        vocabulary = std::max(vocabulary, input.corpus()->tokenizer().vocabulary_size);
    }
    const LoadedModelConfig model = load_model_config(training.model, vocabulary);
    for (const std::string& warning : model.warnings) log_root(LogLevel::warning, warning);
    const TrainSettings settings = settings_from(training, model.config, at_hand->plan.num_steps());
    check_fit(summarize(at_hand->plan), vocabulary, settings);
    return record_of(training, settings, *at_hand);
}

int run_train(const Invocation& invocation, TrainArguments arguments) {
    if (arguments.use_lora) {
        throw Error(ErrorCode::invalid_argument,
                    "--use-lora: LoRA adapters are not part of this version; train the model whole");
    }
    if (arguments.replay_pack || arguments.replay_step) {
        if (!arguments.replay_pack || !arguments.replay_step) {
            throw Error(ErrorCode::invalid_argument, "--step and --pack name one pack together; give both");
        }
        return replay_pack(invocation, arguments.training, *arguments.replay_step, *arguments.replay_pack);
    }
    return run_in_world([&](World& world) {
        TrainingArguments& training = arguments.training;
        begin_start(world, training);
        std::optional<PlanAtHand> at_hand;
        std::optional<RunLock> lock;
        RunRecord record;
        together(*world.comm, "starting the run", [&] {
            if (training.model.empty()) throw Error(ErrorCode::invalid_argument, "train needs -m MODEL");
            if (training.corpora.empty()) throw Error(ErrorCode::invalid_argument, "train needs -d CORPUS");
            if (!world.is_root()) return;
            record = prepare_run(invocation, arguments, at_hand);
            make_run_directory(training.run);
            lock.emplace(training.run);
            refuse_existing_run(training.run);  // Again, now that nobody else can make one.
        });
        share_settings(world, arguments, record);
        return train_run(invocation, world, training, at_hand ? &*at_hand : nullptr, record, std::nullopt,
                         training.corpora, [&] { write_run_record(training.run, record); });
    });
}

}  // namespace

void add_train(CLI::App& app, Invocation& invocation) {
    auto arguments = std::make_shared<TrainArguments>();
    CLI::App* verb =
        add_verb(app, invocation, "train", "Train a model on a plan",
                 "  mpirun -n 2 lockstep train -p plan/ -d corpus.h5 -m tiny -o run/ --checkpoint-every 50\n"
                 "  lockstep train --build-plan -p plan/ -d corpus.h5 -e 1 -b 1024 -m nano -o run/\n"
                 "  lockstep train -o run/ --step 120 --pack 963        (look at one pack again)",
                 [&invocation, arguments] { return run_train(invocation, *arguments); });
    verb->add_option("-p,--plan,--batch-plan", arguments->training.plan, "Plan folder; only rank 0 reads it");
    verb->add_option("-d,--data", arguments->training.corpora, "[NAME=]CORPUS, one a source of the plan");
    verb->add_option("-o,--output", arguments->training.run, "Run folder")->required();
    verb->add_option("--checkpoint-every", arguments->training.checkpoint_every,
                     "Steps between generations, 0 for only at the end (100)");
    verb->add_option("--keep", arguments->training.keep, "Generations to keep, at least 2 (2)");
    add_settings_options(*verb, arguments->training);
    add_machine_options(*verb, arguments->training);
    CLI::Option* build_plan =
        verb->add_flag("--build-plan", arguments->build_plan, "Build the plan first, into -p")
            ->group("Building the plan");
    for (CLI::Option* option : add_plan_options(*verb, arguments->build, "Building the plan"))
        option->needs(build_plan);
    verb->add_flag("--use-lora", arguments->use_lora)->group("");
    verb->add_option("--step", arguments->replay_step, "With --pack: the step to look at again")
        ->group("Looking at one pack");
    verb->add_option("--pack", arguments->replay_pack, "Pack of the whole plan, as in plan.jsonl")
        ->group("Looking at one pack");
}

}  // namespace lockstep
