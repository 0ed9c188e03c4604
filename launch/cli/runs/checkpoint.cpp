#include "io/run/checkpoint.h"

#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "launch/cli/invocation.h"
#include "launch/cli/runs/checkpoint_prune.h"

namespace lockstep {

namespace {

int run_list(const Invocation& invocation, const std::string& run) {
    require_one_rank("checkpoint list");
    read_run_record(run);
    auto list = nlohmann::ordered_json::array();
    bool all_valid = true;
    for (const GenerationStatus& status : list_generations(run)) {
        if (!status.committed) {
            invocation.say("step " + std::to_string(status.step) + "  left out: " + status.problem);
            continue;
        }
        nlohmann::ordered_json entry = {
            {"step", status.step}, {"state_digest", nullptr}, {"valid", status.valid}};
        std::string line = "step " + std::to_string(status.step) + "  ";
        if (status.manifest) {
            entry["state_digest"] = status.manifest->state_digest.hex();
            entry["shards"] = status.manifest->shards.size();
            line += status.manifest->state_digest.hex() + "  " +
                    std::to_string(status.manifest->shards.size()) + " shard(s)  ";
        }
        if (!status.valid) {
            entry["problem"] = status.problem;
            all_valid = false;
        }
        invocation.say(line + (status.valid
                                   ? "valid"
                                   : (status.committed ? "NOT VALID: " : "left out: ") + status.problem));
        list.push_back(entry);
    }
    if (list.empty()) invocation.say("no generation yet");
    invocation.give({{"generations", list}});
    return all_valid ? 0 : exit_code_of(ErrorCode::corrupt_data);
}

}  // namespace

void add_checkpoint(CLI::App& app, Invocation& invocation) {
    CLI::App* noun = app.add_subcommand("checkpoint", "Generations of a run");
    noun->require_subcommand(1);
    auto run = std::make_shared<std::string>();
    CLI::App* verb = add_verb(*noun, invocation, "list", "All generations, each checked in full",
                              "  lockstep checkpoint list run/ --json",
                              [&invocation, run] { return run_list(invocation, *run); });
    verb->add_option("run", *run, "Run folder")->required();
    add_checkpoint_export(*noun, invocation);
    add_checkpoint_prune(*noun, invocation);
}

}  // namespace lockstep
