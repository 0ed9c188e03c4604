#include "launch/cli/runs/replay_pack.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "coordinator/distribution.h"
#include "io/base/error.h"
#include "io/files/directory.h"
#include "io/run/ledger.h"
#include "launch/cli/runs/adapters.h"
#include "launch/cli/runs/pack_dump.h"
#include "worker/metrics_log.h"
#include "worker/model/transformer.h"

namespace lockstep {

namespace {

/// The run's own record of a pack, if it has got that far.
std::optional<LedgerRow> find_record(const std::filesystem::path& run, std::uint64_t step,
                                     std::uint64_t pack) {
    std::vector<std::string> rejected;
    const auto newest = newest_valid_generation(run, rejected);
    if (!newest || !newest->ledger_head || step >= newest->step) return std::nullopt;
    for (const LedgerSegmentName& name : ledger_chain(run / "ledger", *newest->ledger_head)) {
        const LedgerSegment segment = read_ledger_segment(run / "ledger", name);
        if (step < segment.step_begin || step >= segment.step_end) continue;
        const auto row = std::find_if(segment.rows.begin(), segment.rows.end(),
                                      [&](const LedgerRow& r) { return r.step == step && r.pack == pack; });
        if (row != segment.rows.end()) return *row;
    }
    return std::nullopt;
}

/// Newest valid generation at or before a step; none: start from fresh weights.
std::optional<Manifest> generation_before(const std::filesystem::path& run, std::uint64_t step) {
    std::optional<Manifest> best;
    for (const GenerationStatus& status : list_generations(run)) {
        if (status.valid && status.step <= step) best = status.manifest;
    }
    return best;
}

}  // namespace

int replay_pack(const Invocation& invocation, const TrainingArguments& arguments, std::uint64_t step,
                std::uint64_t pack, const std::string& dump) {
    require_one_rank("train --pack");
    if (!dump.empty() && path_exists(dump)) {
        throw Error(ErrorCode::output_exists, "'" + dump + "' exists; choose another --dump");
    }
    if (!dump.empty()) require_parent(dump);
    return run_in_world([&](World& world) {
        const RunRecord record = read_run_record(arguments.run);
        check_record(record, arguments);
        const PlanAtHand at_hand =
            load_plan_of_run(record, plan_in_force(record.plans, step), arguments.plan, arguments.corpora);
        const PlanFile& plan = at_hand.plan;
        if (step >= plan.num_steps()) {
            throw Error(ErrorCode::invalid_argument, "--step is " + std::to_string(step) +
                                                         "; the plan has steps 0 to " +
                                                         std::to_string(plan.num_steps() - 1));
        }
        const StepWindow window = window_of(at_hand.served(), step, step + 1);
        if (pack < window.step_packs[0] || pack >= window.step_packs[1]) {
            throw Error(ErrorCode::invalid_argument, "--pack is " + std::to_string(pack) + "; step " +
                                                         std::to_string(step) + " has packs " +
                                                         std::to_string(window.step_packs[0]) + " to " +
                                                         std::to_string(window.step_packs[1] - 1));
        }
        const TrainSettings settings = train_settings_from_json(record.settings_json);
        check_init(settings, arguments);
        check_init_adapter(settings, arguments);
        CorporaAtHand data = open_corpora(corpora_of_run(record, arguments.corpora), at_hand.bound, &at_hand);
        PlanDistribution distribution(*world.comm, at_hand.served());
        ThreadPool pool(arguments.threads.value_or(default_threads(world)));
        const Gemm gemm(pool, parse_gemm_backend(arguments.gemm),
                        gemm_shapes(settings.model, distribution.summary().pack_tokens_max, settings.lora),
                        settings.numerics);
        Worker worker(*world.comm, gemm, distribution.summary(), data.samples, data.vocabulary, settings);
        worker.hooks = invocation.hooks;
        worker.load_initial_weights = initial_weights_of(record, arguments, settings);
        worker.load_initial_adapters = initial_adapters_of(record, arguments, settings);
        worker.fetch_window = [&](std::uint64_t first) { return distribution.fetch(first); };
        const std::optional<Manifest> generation = generation_before(arguments.run, step);
        if (generation) check_generation(record, *generation, arguments.run);
        worker.start(generation, arguments.run);
        invocation.say(
            "state of step " + std::to_string(step) + ": " +
            (generation ? "generation " + std::to_string(generation->step) : std::string("fresh weights")) +
            ", then " + std::to_string(step - (generation ? generation->step : 0)) + " step(s) in memory");
        worker.advance_to(step);
        Worker::PackDetails details;
        const Worker::PackResult result =
            worker.replay_pack(step, window, pack, dump.empty() ? nullptr : &details);
        if (!dump.empty()) write_pack_dump(dump, settings, result, details);
        invocation.say("pack " + std::to_string(pack) + ": " + std::to_string(result.tokens) + " tokens, " +
                       std::to_string(result.targets) + " targets, loss sum " + fixed(result.loss_sum, 6) +
                       " (" + double_hex(result.loss_sum) + ")");
        invocation.say("  tokens " + result.token_digest.hex() + "  gradient " + result.gradient.hex());
        nlohmann::ordered_json object = {{"step", step},
                                         {"pack", pack},
                                         {"tokens", result.tokens},
                                         {"targets", result.targets},
                                         {"loss_sum", result.loss_sum},
                                         {"loss_sum_hex", double_hex(result.loss_sum)},
                                         {"token_digest", result.token_digest.hex()},
                                         {"gradient_fingerprint", result.gradient.hex()},
                                         {"agrees_with_ledger", nullptr}};
        bool agrees = true;
        if (const auto row = find_record(arguments.run, step, pack)) {
            agrees = row->token_digest == result.token_digest && row->targets == result.targets &&
                     std::bit_cast<std::uint64_t>(row->loss) == std::bit_cast<std::uint64_t>(result.loss_sum);
            invocation.say(agrees ? "  the ledger says the same, to the bit"
                                  : "  the ledger says otherwise: loss " + double_hex(row->loss) +
                                        ", tokens " + row->token_digest.hex());
            object["agrees_with_ledger"] = agrees;
        } else {
            invocation.say("  the ledger does not reach this step yet");
        }
        invocation.give(object);
        return agrees ? 0 : exit_code_of(ErrorCode::check_failed);
    });
}

}  // namespace lockstep
