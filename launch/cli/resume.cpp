#include <algorithm>
#include <filesystem>
#include <optional>

#include "coordinator/run_record.h"
#include "io/atomic_file.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"
#include "io/run_lock.h"
#include "launch/cli/training.h"

namespace lockstep {

namespace {

/// What rank 0 found in the run's folder, for everyone.
struct ResumePoint {
    RunRecord record;
    std::optional<Manifest> generation;
    std::optional<PlanAtHand> plan;  ///< Rank 0 only.
    bool finished = false;
};

void refuse_other_settings(const RunRecord& record, const TrainingArguments& arguments) {
    const TrainSettings run = train_settings_from_json(record.settings_json);
    const std::string difference = first_difference(run, overlaid(run, arguments, run.model.vocabulary));
    if (!difference.empty()) {
        throw Error(ErrorCode::invalid_argument,
                    "a run keeps its settings; " + difference + "; leave the option out or start a new run");
    }
    if (record.numerics != numerics_id) {
        throw Error(ErrorCode::incompatible_version, "the run follows numerics '" + record.numerics +
                                                         "', this lockstep has '" + numerics_id + "'");
    }
    if (fingerprint_of(run) != record.model) {
        throw Error(ErrorCode::corrupt_data, "run.json: its settings do not have the fingerprint it names");
    }
}

/// Rank 0, under the lock: pick up the thread of the run.
void find_resume_point(const TrainingArguments& arguments, const std::vector<std::string>& corpora,
                       ResumePoint& point) {
    const std::filesystem::path run = arguments.run;
    refuse_other_settings(point.record, arguments);
    const std::string plan_path = arguments.plan.empty() ? point.record.plan_path : arguments.plan;
    std::vector<std::string> rejected;
    point.generation = newest_valid_generation(run, rejected);
    for (const std::string& reason : rejected) {
        log_root(LogLevel::warning,
                 reason + "; falling back to " +
                     (point.generation ? "generation " + std::to_string(point.generation->step)
                                       : std::string("the start")));
    }
    point.plan = load_plan_at_hand(plan_path, corpora);
    const Fingerprint plan = point.plan->plan.fingerprints.plan;
    if (plan != point.record.plan) {
        throw Error(ErrorCode::fingerprint_mismatch,
                    "run '" + run.string() + "' follows plan " + point.record.plan.brief() + "…, '" +
                        plan_path + "' is " + plan.brief() +
                        "…; pass -p with the run's own plan, or start a new run");
    }
    if (point.generation &&
        (point.generation->cursor.plan != plan || point.generation->cursor.model != point.record.model)) {
        throw Error(ErrorCode::fingerprint_mismatch,
                    "generation " + std::to_string(point.generation->step) + " of '" + run.string() +
                        "' belongs to another plan or other settings than run.json");
    }
    const std::uint64_t stop =
        std::min(arguments.steps.value_or(point.plan->plan.num_steps()), point.plan->plan.num_steps());
    point.finished = point.generation && point.generation->step >= stop;
    if (point.finished) return;
    settle_run_directory(run, point.generation ? std::optional(point.generation->step) : std::nullopt,
                         point.generation ? point.generation->ledger_head : std::nullopt);
}

void share_text(Communicator& comm, std::string& text) {
    const auto raw = std::as_bytes(std::span(text.data(), text.size()));
    std::vector<std::byte> bytes(raw.begin(), raw.end());
    broadcast_bytes(comm, bytes, Rank{0});
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

int run_resume(const Invocation& invocation, const TrainingArguments& arguments) {
    return run_in_world([&](World& world) {
        Communicator& comm = *world.comm;
        ResumePoint point;
        std::optional<RunLock> lock;
        std::vector<std::string> corpora;
        std::string manifest_json;
        together(comm, "finding the point to resume", [&] {
            // Every rank needs the folder anyway, for its shard.
            point.record = read_run_record(arguments.run);
            corpora = corpus_paths(arguments.corpora);
            if (corpora.empty()) {
                for (const RunCorpus& corpus : point.record.corpora) corpora.push_back(corpus.path);
            }
            if (!world.is_root()) return;
            lock.emplace(arguments.run);
            find_resume_point(arguments, corpora, point);
            if (point.generation) manifest_json = to_json(*point.generation);
        });
        std::int64_t finished = point.finished ? 1 : 0;
        comm.sum(std::span(&finished, 1));
        share_text(comm, manifest_json);
        if (!manifest_json.empty() && !world.is_root())
            point.generation = manifest_from_json(manifest_json, "rank 0's manifest");
        if (finished != 0) {
            if (world.is_root()) {
                invocation.say("run '" + arguments.run + "' is finished at step " +
                               std::to_string(point.generation->step) + "; nothing to do");
                invocation.say("state digest " + point.generation->state_digest.hex());
                invocation.give({{"run", arguments.run},
                                 {"next_step", point.generation->step},
                                 {"state_digest", point.generation->state_digest.hex()},
                                 {"finished", true}});
            }
            return 0;
        }
        return train_run(invocation, world, arguments, point.plan ? &*point.plan : nullptr, point.record,
                         point.generation, corpora);
    });
}

}  // namespace

void add_resume(CLI::App& app, Invocation& invocation) {
    auto arguments = std::make_shared<TrainingArguments>();
    CLI::App* verb = add_verb(app, invocation, "resume", "Continue a run from its newest valid generation",
                              "  mpirun -n 3 lockstep resume run/        (any number of ranks)\n"
                              "  lockstep resume run/ --steps 500",
                              [&invocation, arguments] { return run_resume(invocation, *arguments); });
    verb->add_option("run", arguments->run, "Run folder")->required();
    verb->add_option("-p,--plan", arguments->plan, "The run's plan, if it has moved");
    verb->add_option("-d,--data", arguments->corpora, "[NAME=]CORPUS, if they have moved");
    verb->add_option("--checkpoint-every", arguments->checkpoint_every,
                     "Steps between generations (as the run has it)");
    verb->add_option("--keep", arguments->keep, "Generations to keep, at least 2 (as the run has it)");
    add_settings_options(*verb, *arguments);
    add_machine_options(*verb, *arguments);
}

}  // namespace lockstep
