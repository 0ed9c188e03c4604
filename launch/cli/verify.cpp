#include "coordinator/verify.h"

#include <chrono>

#include "io/base/error.h"
#include "launch/cli/training.h"

namespace lockstep {

namespace {

struct VerifyArguments {
    std::string run, plan, against;
    std::vector<std::string> corpora;
};

int run_verify(const Invocation& invocation, const VerifyArguments& arguments) {
    require_one_rank("verify");
    const auto begin = std::chrono::steady_clock::now();
    const RunRecord record = read_run_record(arguments.run);
    check_record(record, {});
    const PlanAtHand at_hand = load_plan_of_run(record, arguments.plan, arguments.corpora);
    for (const PlanInput& input : at_hand.inputs) input.corpus()->verify_everything();
    VerifyReport report = verify_run(arguments.run, at_hand.plan, at_hand.inputs);
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
    verb->add_option("-p,--plan", arguments->plan, "The run's plan, if it has moved");
    verb->add_option("-d,--data", arguments->corpora, "[NAME=]CORPUS, if they have moved");
    verb->add_option("--against", arguments->against, "A run that must have ended in the same bits");
}

}  // namespace lockstep
