#include "launch/cli/runs/checkpoint_prune.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/files/folder_lock.h"
#include "io/run/retention.h"

namespace lockstep {

namespace {

struct PruneArguments {
    std::string run;
    std::optional<std::uint64_t> keep, keep_every;
    bool dry_run = false;
};

std::string steps_text(const std::vector<std::uint64_t>& steps) {
    std::string text;
    for (const std::uint64_t step : steps) text += (text.empty() ? "" : ", ") + std::to_string(step);
    return text.empty() ? "none" : text;
}

int run_prune(const Invocation& invocation, const PruneArguments& arguments) {
    require_one_rank("checkpoint prune");
    const RunRecord record = read_run_record(arguments.run);
    const RetentionRule rule{arguments.keep.value_or(record.keep),
                             arguments.keep_every.value_or(record.keep_every)};
    PruneResult result;
    if (arguments.dry_run) {
        result = plan_pruning(arguments.run, rule);
    } else {
        const FolderLock lock(arguments.run);  // Not under a run that is going on: that one prunes itself.
        result = prune_generations(arguments.run, rule);
    }
    if (result.kept.empty()) {
        log_root(LogLevel::warning, "no generation of '" + arguments.run +
                                        "' is complete; nothing is removed (lockstep checkpoint list " +
                                        arguments.run + ")");
    }
    invocation.say("kept: step " + steps_text(result.kept));
    invocation.say((arguments.dry_run ? "would remove: step " : "removed: step ") +
                   steps_text(result.removed));
    invocation.give({{"kept", result.kept}, {"removed", result.removed}, {"dry_run", arguments.dry_run}});
    return 0;
}

}  // namespace

void add_checkpoint_prune(CLI::App& noun, Invocation& invocation) {
    auto arguments = std::make_shared<PruneArguments>();
    CLI::App* verb = add_verb(noun, invocation, "prune",
                              "Delete old generations; the ledger, and so the proof, stays whole",
                              "  lockstep checkpoint prune run/ --keep 2 --keep-every 1000\n"
                              "  lockstep checkpoint prune run/ --dry-run",
                              [&invocation, arguments] { return run_prune(invocation, *arguments); });
    verb->add_option("run", arguments->run, "Run folder")->required();
    verb->add_option("--keep", arguments->keep, "Newest generations to keep, at least 2 (as the run has it)");
    verb->add_option("--keep-every", arguments->keep_every,
                     "Also keep the first generation of every so many steps (as the run has it)");
    verb->add_flag("--dry-run", arguments->dry_run, "Only say what would go");
}

}  // namespace lockstep
