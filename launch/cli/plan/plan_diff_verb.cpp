#include "io/base/error.h"
#include "launch/cli/plan/plan_verbs.h"
#include "plan/plan_diff.h"

namespace lockstep {

namespace {

int run_diff(const Invocation& invocation, const std::string& a, const std::string& b) {
    require_one_rank("batchplan diff");
    const PlanFile plan_a = PlanFile::open(a);
    const PlanFile plan_b = PlanFile::open(b);
    const PlanView view_a = plan_a.view();
    const PlanView view_b = plan_b.view();
    const Fingerprint& print_a = plan_a.head().fingerprints.plan;
    const Fingerprint& print_b = plan_b.head().fingerprints.plan;
    const bool equal = print_a == print_b;
    const auto difference = first_difference(view_a, view_b);
    const auto settings = setting_differences(view_a, view_b);
    const ChunkCounts chunks = count_differing_chunks(view_a, view_b);

    nlohmann::ordered_json object = {{"equal", equal},          {"a", print_a.hex()},
                                     {"b", print_b.hex()},      {"first_difference", nullptr},
                                     {"chunks", chunks.chunks}, {"chunks_differing", chunks.differing}};
    if (equal) {
        invocation.say("equal: plan " + print_a.hex());
    } else {
        invocation.say("different: a " + print_a.hex() + "  (" + a + ")");
        invocation.say("           b " + print_b.hex() + "  (" + b + ")");
    }
    if (difference) {
        nlohmann::ordered_json place = {{"field", difference->field}, {"epoch", difference->epoch},
                                        {"step", difference->step},   {"pack", nullptr},
                                        {"segment", nullptr},         {"a", difference->a},
                                        {"b", difference->b}};
        if (difference->pack) place["pack"] = *difference->pack;
        if (difference->segment) place["segment"] = *difference->segment;
        object["first_difference"] = place;
        invocation.say("first difference: " + difference->text());
        invocation.say("  " + with_commas(chunks.differing) + " of " + with_commas(chunks.chunks) +
                       " chunks of steps differ");
    } else if (!equal) {
        invocation.say("the orders are equal: what differs are settings");
    }
    auto list = nlohmann::ordered_json::array();
    for (const SettingDifference& line : settings) {
        invocation.say("  " + line.what + ": " + line.a + " -> " + line.b);
        list.push_back({{"what", line.what}, {"a", line.a}, {"b", line.b}});
    }
    object["settings"] = list;
    invocation.give(object);
    return equal ? 0 : exit_code_of(ErrorCode::check_failed);
}

}  // namespace

void add_plan_diff(CLI::App& noun, Invocation& invocation) {
    auto plans = std::make_shared<std::pair<std::string, std::string>>();
    CLI::App* verb =
        add_verb(noun, invocation, "diff", "First difference of two plans; exit 0 if equal, else 1",
                 "  lockstep batchplan diff plan/ other-plan/",
                 [&invocation, plans] { return run_diff(invocation, plans->first, plans->second); });
    verb->add_option("a", plans->first, "Plan folder")->required();
    verb->add_option("b", plans->second, "Plan folder")->required();
}

}  // namespace lockstep
