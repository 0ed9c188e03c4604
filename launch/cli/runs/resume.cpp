#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <thread>

#include "coordinator/plan_file.h"
#include "coordinator/run_plans.h"
#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"
#include "io/files/folder_lock.h"
#include "launch/cli/runs/adapters.h"
#include "launch/cli/runs/training.h"

namespace lockstep {

namespace {

/// What rank 0 found in the run's folder, for everyone.
struct ResumePoint {
    RunRecord record;
    std::optional<Manifest> generation;
    std::optional<PlanAtHand> plan;  ///< Rank 0 only.
    std::vector<PlanInForce> plans;  ///< Rank 0 only: the run's chain as it will be.
    bool finished = false;
};

/// Load the plan to go on with: the one named, else the latest the run changed over to.
void choose_plan(const TrainingArguments& arguments, ResumePoint& point) {
    const RunRecord& record = point.record;
    const std::uint64_t cursor = point.generation ? point.generation->step : 0;
    const PlanInForce& latest = record.plans.back();
    const PlanInForce& before = plan_behind(record.plans, cursor);
    const std::string path = arguments.plan.empty() ? latest.path : arguments.plan;
    const std::string absolute = std::filesystem::absolute(path).lexically_normal().string();
    if (arguments.plan.empty()) {
        point.plan = load_plan_of_run(record, latest, "", arguments.corpora);
    } else {
        // Compared before it is loaded, so that a stranger is told as such and not as "other corpora".
        PlanFile file = PlanFile::open(path);
        const Fingerprint named = file.head().fingerprints.plan;
        if (named != before.plan) check_revision(before, path, cursor);
        const auto followed = std::ranges::find(record.plans, named, &PlanInForce::plan);
        const std::vector<std::string> corpora = corpora_of_run(record, arguments.corpora);
        point.plan = followed != record.plans.end() && followed->totals
                         ? at_hand_of(std::move(file), *followed->totals, corpora)
                         : load_plan_at_hand(path, corpora);
    }
    const Fingerprint& chosen = point.plan->fingerprint();
    if (arguments.plan.empty() && chosen != before.plan) check_revision(before, path, cursor);

    // Changes that no committed step rests on have not happened.
    for (const PlanInForce& plan : record.plans) {
        if (point.plans.empty() || plan.from_step < cursor) point.plans.push_back(plan);
    }
    if (point.plans.back().plan != chosen)
        point.plans.push_back({cursor, absolute, chosen, point.plan->totals});
}

/// Rank 0, under the lock: pick up the thread of the run. Changes nothing.
void find_resume_point(World& world, const TrainingArguments& arguments, ResumePoint& point) {
    const std::filesystem::path run = arguments.run;
    std::vector<std::string> rejected;
    point.generation = newest_valid_generation(run, rejected);
    if (!rejected.empty() && !point.generation) {
        for (std::size_t i = 1; i < rejected.size(); ++i) log_root(LogLevel::warning, rejected[i]);
        throw Error(
            ErrorCode::corrupt_data,
            "none of the " + std::to_string(rejected.size()) + " committed generations of '" + run.string() +
                "' is valid; restore one from a copy, or start a new run; the newest: " + rejected.front());
    }
    if (!rejected.empty()) {
        std::string reasons;
        for (const std::string& reason : rejected) reasons += reason + "; ";
        log_root(LogLevel::warning,
                 reasons + "falling back to generation " + std::to_string(point.generation->step));
    }
    if (point.generation) check_generation(point.record, *point.generation, arguments.run);
    world.watch->starting("loading the plan");
    choose_plan(arguments, point);
    const std::uint64_t steps = point.plan->plan.num_steps();
    const std::uint64_t stop = std::min(arguments.steps.value_or(steps), steps);
    point.finished = point.generation && point.generation->step >= stop;
}

/// -p as the command that started the run has it: one of the run's plans, which goes on with its latest.
void accept_own_plan(const RunRecord& record, TrainingArguments& arguments) {
    if (arguments.plan.empty()) return;
    const Fingerprint named = PlanFile::open(arguments.plan).head().fingerprints.plan;
    if (named == record.plans.back().plan) return;
    const bool own = std::any_of(record.plans.begin(), record.plans.end(),
                                 [&](const PlanInForce& plan) { return plan.plan == named; });
    if (own) arguments.plan.clear();
}

/// Rank 0 waits; the others hear of it at every turn, since a wait of their own has a deadline.
void take_lock(World& world, const std::filesystem::path& run, std::optional<FolderLock>& lock) {
    constexpr std::chrono::milliseconds turn{200};
    const auto give_up_at = std::chrono::steady_clock::now() + restart_lock_patience;
    for (std::int64_t waits = 1; waits != 0;) {
        prepare(world, "waiting for the run's lock", [&] {
            waits = 0;
            if (!world.is_root()) return;
            if (FolderLock::is_held(run) && std::chrono::steady_clock::now() < give_up_at) {
                std::this_thread::sleep_for(turn);
                waits = 1;
            } else {
                lock.emplace(run, turn);
            }
        });
        world.comm->sum(std::span(&waits, 1));
    }
}

}  // namespace

int resume_in_world(const Invocation& invocation, World& world, TrainingArguments arguments,
                    bool own_plan_named) {
    Communicator& comm = *world.comm;
    ResumePoint point;
    std::optional<FolderLock> lock;
    std::string manifest_json;
    prepare(world, "finding the point to resume", [&] {
        // Every rank needs the folder anyway, for its shard.
        point.record = read_run_record(arguments.run);
        check_record(point.record, arguments);
    });
    take_lock(world, arguments.run, lock);
    prepare(world, "finding the point to resume", [&] {
        if (!world.is_root()) return;
        if (own_plan_named) accept_own_plan(point.record, arguments);
        world.watch->starting("checking the newest generation");
        const TrainSettings settings = train_settings_from_json(point.record.settings_json);
        check_init(settings, arguments);
        check_init_adapter(settings, arguments);
        find_resume_point(world, arguments, point);
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
        if (point.plans != point.record.plans) write_run_revisions(arguments.run, point.plans);
        if (point.plans.size() > 1) {
            log_root(LogLevel::info, "plan " + point.plans.back().plan.brief() + "… in force from step " +
                                         std::to_string(point.plans.back().from_step));
        }
    };
    return train_run(invocation, world, arguments, point.plan ? &*point.plan : nullptr, point.record,
                     point.generation, corpora_of_run(point.record, arguments.corpora), settle);
}

void add_resume(CLI::App& app, Invocation& invocation) {
    auto arguments = std::make_shared<TrainingArguments>();
    CLI::App* verb = add_verb(app, invocation, "resume", "Continue a run from its newest valid generation",
                              "  mpirun -n 3 lockstep resume run/        (any number of ranks)\n"
                              "  lockstep resume run/ --steps 500\n"
                              "  lockstep resume run/ -p revision/       (batchplan exclude)",
                              [&invocation, arguments] {
                                  return run_in_world(
                                      [&](World& world) {
                                          begin_start(world, *arguments);
                                          return resume_in_world(invocation, world, *arguments, false);
                                      },
                                      watch_start(*arguments));
                              });
    verb->add_option("run", arguments->run, "Run folder")->required();
    verb->add_option("-p,--plan", arguments->plan,
                     "The run's plan, if it has moved, or a revision of it to go on with");
    verb->add_option("-d,--data", arguments->corpora, "[NAME=]CORPUS, if they have moved");
    add_generation_options(*verb, *arguments, true);
    add_settings_options(*verb, *arguments);
    add_machine_options(*verb, *arguments);
}

}  // namespace lockstep
