#include <algorithm>
#include <filesystem>
#include <optional>

#include "coordinator/run_record.h"
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

/// Rank 0, under the lock: pick up the thread of the run. Changes nothing.
void find_resume_point(const TrainingArguments& arguments, ResumePoint& point) {
    const std::filesystem::path run = arguments.run;
    std::vector<std::string> rejected;
    point.generation = newest_valid_generation(run, rejected);
    for (const std::string& reason : rejected) log_root(LogLevel::warning, reason);
    if (!rejected.empty() && !point.generation) {
        throw Error(ErrorCode::corrupt_data, "none of the " + std::to_string(rejected.size()) +
                                                 " committed generations of '" + run.string() +
                                                 "' is valid; restore one from a copy, or start a new run");
    }
    if (!rejected.empty()) {
        log_root(LogLevel::warning, "falling back to generation " + std::to_string(point.generation->step));
    }
    point.plan = load_plan_of_run(point.record, arguments.plan, arguments.corpora);
    const BatchPlan& plan = point.plan->plan;
    if (point.generation && (point.generation->cursor.plan != plan.fingerprints.plan ||
                             point.generation->cursor.model != point.record.model)) {
        throw Error(ErrorCode::fingerprint_mismatch,
                    "generation " + std::to_string(point.generation->step) + " of '" + run.string() +
                        "' belongs to another plan or other settings than run.json");
    }
    const std::uint64_t stop = std::min(arguments.steps.value_or(plan.num_steps()), plan.num_steps());
    point.finished = point.generation && point.generation->step >= stop;
}

void share_text(Communicator& comm, std::string& text) {
    const auto raw = std::as_bytes(std::span(text.data(), text.size()));
    std::vector<std::byte> bytes(raw.begin(), raw.end());
    broadcast_bytes(comm, bytes, Rank{0});
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

int run_resume(const Invocation& invocation, const TrainingArguments& arguments) {
    return run_in_world([&](World& world) {
        begin_start(world, arguments);
        Communicator& comm = *world.comm;
        ResumePoint point;
        std::optional<RunLock> lock;
        std::string manifest_json;
        together(comm, "finding the point to resume", [&] {
            // Every rank needs the folder anyway, for its shard.
            point.record = read_run_record(arguments.run);
            check_record(point.record, arguments);
            if (!world.is_root()) return;
            lock.emplace(arguments.run);
            find_resume_point(arguments, point);
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
        const auto settle = [&] {
            const auto& generation = point.generation;
            settle_run_directory(arguments.run, generation ? std::optional(generation->step) : std::nullopt,
                                 generation ? generation->ledger_head : std::nullopt);
        };
        return train_run(invocation, world, arguments, point.plan ? &*point.plan : nullptr, point.record,
                         point.generation, corpora_of_run(point.record, arguments.corpora), settle);
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
