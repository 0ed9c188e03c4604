#include <filesystem>

#include "coordinator/plan_writer.h"
#include "io/base/error.h"
#include "launch/cli/plan/plan_verbs.h"
#include "plan/dispositions.h"
#include "plan/plan_revision.h"

namespace lockstep {

namespace {

struct ExcludeArguments {
    std::string plan, output, jsonl = "auto";
    std::vector<std::string> samples, keys, sources;
    std::vector<std::uint64_t> steps;
    std::uint64_t from_step = 0;
    bool force = false;
};

/// Targets of segments, from corpora; empty if there are none.
SegmentTargets targets_from(const BatchPlan& plan, const std::vector<PlanInput>& inputs) {
    if (inputs.empty()) return {};
    auto lengths = std::make_shared<std::vector<SourceLengths>>();
    for (const PlanInput& input : inputs) {
        if (!input.corpus()) return {};
        lengths->push_back(input.lengths());
    }
    return [&plan, lengths](std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens) {
        const SamplePlace place = place_of_sample(plan, sample);
        return segment_targets((*lengths)[place.source], place.sample, offset, tokens);
    };
}

int run_exclude(const Invocation& invocation, const ExcludeArguments& arguments) {
    require_one_rank("batchplan exclude");
    const WriteJsonl jsonl = parse_write_jsonl(arguments.jsonl);
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    require_plan_output(arguments.output, overwrite);
    const PlanFile file = PlanFile::open(arguments.plan);
    std::error_code absent;
    if (std::filesystem::equivalent(arguments.plan, arguments.output, absent)) {
        throw Error(ErrorCode::invalid_argument,
                    "'" + arguments.output +
                        "' is the plan that is revised; a revision needs its parent, write it elsewhere");
    }
    file.validate({});
    const BatchPlan& plan = file.head();
    std::vector<PlanInput> inputs;
    if (!arguments.sources.empty()) inputs = open_plan_sources(file, arguments.sources, false);
    if (!arguments.keys.empty() && inputs.empty()) {
        throw Error(ErrorCode::invalid_argument, "--key needs the file that holds the keys: pass -d SOURCE");
    }
    Exclusion exclusion;
    exclusion.from_step = arguments.from_step;
    exclusion.steps = arguments.steps;
    for (const std::string& sample : arguments.samples) {
        exclusion.samples.push_back(parse_sample(plan, sample));
    }
    for (const std::uint64_t sample : find_keys(plan, inputs, arguments.keys)) {
        exclusion.samples.push_back(sample);
    }
    PlanRevision revision(file.view(), exclusion, targets_from(plan, inputs));
    const PlanView view = revision.view();
    const RevisionCounts& counts = revision.counts();
    const SavedPlan saved = save_plan(arguments.output, view, plan_stats(view), inputs, jsonl, overwrite);
    const std::string name = view.head->fingerprints.plan.hex();
    invocation.say("revision " + name + " -> " + arguments.output);
    invocation.say("  of plan " + plan.fingerprints.plan.hex() + " from step " +
                   with_commas(arguments.from_step) + " on: " + with_commas(counts.segments_removed) +
                   " segments and " + with_commas(counts.tokens_removed) + " tokens left out of " +
                   with_commas(counts.packs_changed) + " packs, " + with_commas(counts.packs_emptied) +
                   " of them now empty");
    invocation.say("  continue a run with it: lockstep resume RUN -p " + arguments.output);
    invocation.give({{"plan", arguments.output},
                     {"plan_fingerprint", name},
                     {"parent", plan.fingerprints.plan.hex()},
                     {"from_step", arguments.from_step},
                     {"segments_removed", counts.segments_removed},
                     {"tokens_removed", counts.tokens_removed},
                     {"packs_changed", counts.packs_changed},
                     {"packs_emptied", counts.packs_emptied},
                     {"jsonl", saved.wrote_jsonl}});
    return 0;
}

}  // namespace

void add_plan_exclude(CLI::App& noun, Invocation& invocation) {
    auto arguments = std::make_shared<ExcludeArguments>();
    CLI::App* verb =
        add_verb(noun, invocation, "exclude", "A revision without some samples or steps",
                 "  lockstep batchplan exclude -p plan/ --sample 4711 --from-step 800 -o revision/\n"
                 "  lockstep batchplan exclude -p plan/ --step 812 --from-step 812 -o revision/\n"
                 "  lockstep resume run/ -p revision/",
                 [&invocation, arguments] { return run_exclude(invocation, *arguments); });
    verb->add_option("-p,--plan", arguments->plan, "Plan folder, a revision too")->required();
    verb->add_option("--sample", arguments->samples, "Number in the whole plan, or SOURCE:NUMBER");
    verb->add_option("--key", arguments->keys, "The sample's own id; needs -d");
    verb->add_option("--step", arguments->steps, "A whole step, at or after --from-step");
    verb->add_option("--from-step", arguments->from_step, "First step that may change")->required();
    verb->add_option("-o,--output", arguments->output, "Folder of the revision")->required();
    verb->add_option("-d,--data,-l,--lengths", arguments->sources,
                     "[NAME=]FILE of each source: for keys, and to count targets where loss spans train only "
                     "some tokens");
    verb->add_option("--jsonl", arguments->jsonl,
                     "Write plan.jsonl: auto (up to 10^6 segments), always or never");
    verb->add_flag("--force", arguments->force, "Replace an existing plan");
}

}  // namespace lockstep
