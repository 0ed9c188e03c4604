#include "coordinator/verify.h"

#include <chrono>

#include "coordinator/plan_file.h"
#include "coordinator/plan_store.h"
#include "coordinator/plan_tokenizers.h"
#include "coordinator/run_plans.h"
#include "io/base/error.h"
#include "launch/cli/runs/training.h"

namespace lockstep {

namespace {

struct VerifyArguments {
    std::string run, against;
    std::vector<std::string> plans, corpora;
};

/// The plans a run was trained from, in order, and the corpora they are all bound to.
struct PlansOfRun {
    std::vector<PlanFile> plans;
    std::vector<PlanInput> inputs;
};

/// @param moved  folders given with -p; each must hold one of the run's plans.
PlansOfRun load_plans_of_run(const RunRecord& record, const std::vector<std::string>& moved,
                             const std::vector<std::string>& corpora) {
    std::vector<PlanInForce> wanted = record.plans;
    for (const std::string& path : moved) {
        const Fingerprint found = PlanFile::open(path).head().fingerprints.plan;
        bool known = false;
        for (PlanInForce& plan : wanted) {
            if (plan.plan != found) continue;
            plan.path = path;
            known = true;
        }
        if (!known) {
            throw Error(ErrorCode::fingerprint_mismatch, "the run follows plan " + record.plan.brief() +
                                                             "…, '" + path + "' is " + found.brief() +
                                                             "…; pass -p with the run's own plan" +
                                                             (wanted.size() > 1 ? " or its revisions" : ""));
        }
    }
    PlansOfRun result;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        PlanFile plan = open_plan_of_run(wanted[i], wanted[i].path);
        plan.validate({});
        if (i == 0) {
            result.inputs = open_inputs(corpora_of_run(record, corpora), plan.head().sources);
            require_same_tokenizers(wanted[i].path, plan.head().sources, result.inputs);
            for (const PlanInput& input : result.inputs) warn_of_drift(*input.corpus());
        }
        bind_sources(plan.head(), result.inputs);
        result.plans.push_back(std::move(plan));
    }
    return result;
}

int run_verify(const Invocation& invocation, const VerifyArguments& arguments) {
    require_one_rank("verify");
    const auto begin = std::chrono::steady_clock::now();
    const RunRecord record = read_run_record(arguments.run);
    check_record(record, {});
    const PlansOfRun at_hand = load_plans_of_run(record, arguments.plans, arguments.corpora);
    for (const PlanInput& input : at_hand.inputs) input.corpus()->verify_everything();
    std::vector<ChainedPlan> chain;
    for (std::size_t i = 0; i < at_hand.plans.size(); ++i) {
        chain.push_back({record.plans[i].from_step, at_hand.plans[i].view()});
    }
    VerifyReport report = verify_run(arguments.run, chain, at_hand.inputs);
    if (report.model != record.model || report.numerics != record.numerics) {
        throw Error(ErrorCode::fingerprint_mismatch,
                    "the newest generation of '" + arguments.run +
                        "' was trained with other settings than run.json names");
    }
    if (!arguments.against.empty()) compare_runs(report, arguments.against);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

    for (const std::string& problem : report.problems) invocation.say("FAILED  " + problem);
    if (report.num_problems > report.problems.size()) {
        invocation.say("FAILED  … and " + std::to_string(report.num_problems - report.problems.size()) +
                       " more");
    }
    invocation.say(std::string(report.proven() ? "proven" : "NOT proven") + ": steps 0 to " +
                   with_commas(report.steps) + " of " + with_commas(report.steps_planned) + ", " +
                   with_commas(report.packs) + " packs fed once each, " + with_commas(report.tokens) +
                   " tokens, " + with_commas(report.targets_trained) + " targets trained once each (" +
                   fixed(seconds, 1) + " s)");
    if (report.packs_skipped + report.packs_without_target > 0) {
        invocation.say("  " + with_commas(report.packs_without_target) + " packs without target, " +
                       with_commas(report.packs_skipped) + " skipped as not finite");
    }
    std::string generations;
    for (const std::uint64_t step : report.generations) generations += " " + std::to_string(step);
    invocation.say("  plan " + report.plan.brief() + "…  generations" + generations + " and " +
                   std::to_string(report.ledger_segments) + " ledger segments checked");
    auto plans = nlohmann::ordered_json::array();
    for (const PlanInForce& plan : record.plans) {
        plans.push_back({{"from_step", plan.from_step}, {"plan_fingerprint", plan.plan.hex()}});
        if (record.plans.size() > 1) {
            invocation.say("  plan " + plan.plan.brief() + "… in force from step " +
                           with_commas(plan.from_step));
        }
    }
    invocation.say("  ledger root  " + report.ledger_root.hex());
    invocation.say("  state digest " + report.state_digest.hex());
    if (!arguments.against.empty() && report.proven()) {
        invocation.say("  equal to '" + arguments.against + "' in every bit of data and state");
    }
    invocation.give({{"run", arguments.run},
                     {"proven", report.proven()},
                     {"problems", report.problems},
                     {"num_problems", report.num_problems},
                     {"steps", report.steps},
                     {"steps_planned", report.steps_planned},
                     {"packs", report.packs},
                     {"tokens", report.tokens},
                     {"targets_trained", report.targets_trained},
                     {"packs_without_target", report.packs_without_target},
                     {"packs_skipped", report.packs_skipped},
                     {"generations", report.generations},
                     {"ledger_segments", report.ledger_segments},
                     {"plan_fingerprint", report.plan.hex()},
                     {"plans", plans},
                     {"ledger_root", report.ledger_root.hex()},
                     {"state_digest", report.state_digest.hex()},
                     {"seconds", seconds}});
    return report.proven() ? 0 : exit_code_of(ErrorCode::check_failed);
}

}  // namespace

void add_verify(CLI::App& app, Invocation& invocation) {
    auto arguments = std::make_shared<VerifyArguments>();
    CLI::App* verb = add_verb(app, invocation, "verify", "Prove that a run trained its plan, each token once",
                              "  lockstep verify run/\n"
                              "  lockstep verify run/ --against other-run/     (and that two runs are equal)",
                              [&invocation, arguments] { return run_verify(invocation, *arguments); });
    verb->add_option("run", arguments->run, "Run folder")->required();
    verb->add_option("-p,--plan", arguments->plans,
                     "The run's plan and its revisions, where they have moved");
    verb->add_option("-d,--data", arguments->corpora, "[NAME=]CORPUS, if they have moved");
    verb->add_option("--against", arguments->against, "A run that must have ended in the same bits");
}

}  // namespace lockstep
