#include "coordinator/verify.h"

#include <algorithm>
#include <optional>
#include <span>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/run/checkpoint.h"
#include "io/run/ledger.h"
#include "io/run/state_digest.h"
#include "io/run/token_digest.h"
#include "plan/plan_diff.h"

namespace lockstep {

namespace {

constexpr std::size_t problems_shown_max = 20;

void add_problem(VerifyReport& report, const std::string& problem) {
    ++report.num_problems;
    if (report.problems.size() < problems_shown_max) report.problems.push_back(problem);
}

/// What a pack must have looked like to the kernels, from plan and corpus alone.
class ExpectedPacks {
  public:
    explicit ExpectedPacks(const std::vector<PlanInput>& inputs) : inputs_(inputs) {}

    struct Expected {
        std::uint32_t tokens = 0;
        std::uint32_t targets = 0;
        Digest digest;
    };
    /// Pack `pack` of some steps.
    Expected of(const BatchPlan& head, const PlanChunkColumns& steps, std::uint64_t pack) {
        ids_.clear();
        positions_.clear();
        targets_.clear();
        lengths_.assign(1, 0);
        Expected expected;
        for (std::uint64_t s = steps.pack_begin[pack]; s < steps.pack_begin[pack + 1]; ++s)
            add_segment(head, steps, s - steps.pack_begin.front(), expected);
        expected.tokens = static_cast<std::uint32_t>(ids_.size());
        expected.digest = token_digest(ids_, positions_, targets_, lengths_);
        return expected;
    }

  private:
    void add_segment(const BatchPlan& head, const PlanChunkColumns& steps, std::uint64_t s,
                     Expected& expected) {
        const std::size_t source = head.source_of(steps.sample(s));
        const Corpus& corpus = *inputs_[source].corpus();
        const std::uint64_t sample = steps.sample(s) - head.sources[source].sample_base;
        const std::uint64_t offset = steps.segment_offset[s];
        const std::size_t length = steps.segment_tokens[s];
        if (offset + length > corpus.sample_tokens(sample)) {
            throw Error(ErrorCode::corrupt_data,
                        "plan " + head.fingerprints.plan.brief() + "…, step " +
                            std::to_string(steps.first_step) + ": a segment of sample " +
                            std::to_string(steps.sample(s)) + " ends at token " +
                            std::to_string(offset + length) + ", expected at most the " +
                            std::to_string(corpus.sample_tokens(sample)) + " of '" + corpus.path().string() +
                            "'; build the plan again");
        }
        const std::size_t at = ids_.size();
        ids_.resize(at + length);
        corpus.read_tokens(sample, offset, std::span(ids_).subspan(at));
        for (std::size_t i = 0; i < length; ++i) {
            positions_.push_back(static_cast<std::uint32_t>(i));
            const bool target = i + 1 < length && is_trained(corpus, sample, offset + i + 1);
            targets_.push_back(target ? static_cast<std::int32_t>(ids_[at + i + 1]) : -1);
            expected.targets += target ? 1 : 0;
        }
        lengths_.push_back(static_cast<std::int32_t>(ids_.size()));
    }

    static bool is_trained(const Corpus& corpus, std::uint64_t sample, std::uint64_t token) {
        if (!corpus.has_loss_spans()) return true;
        const auto spans = corpus.loss_spans(sample);
        return std::any_of(spans.begin(), spans.end(),
                           [&](const LossSpan& span) { return token >= span.begin && token < span.end; });
    }

    const std::vector<PlanInput>& inputs_;
    std::vector<std::uint32_t> ids_, positions_;
    std::vector<std::int32_t> targets_, lengths_;
};

std::string at_pack(std::uint64_t step, std::uint64_t pack) {
    return "step " + std::to_string(step) + ", pack " + std::to_string(pack) + ": ";
}

/// One record of the ledger against the plan's step it belongs to.
void check_row(const BatchPlan& head, const PlanChunkColumns& step, const LedgerRow& row,
               ExpectedPacks& expected_packs, VerifyReport& report) {
    const ExpectedPacks::Expected expected = expected_packs.of(head, step, row.pack - step.first_pack);
    const std::string where = at_pack(row.step, row.pack);
    if (row.tokens != expected.tokens) {
        add_problem(report, where + std::to_string(row.tokens) + " tokens were fed, the plan has " +
                                std::to_string(expected.tokens));
    }
    if (row.targets != expected.targets) {
        add_problem(report, where + std::to_string(row.targets) + " targets were trained, the plan has " +
                                std::to_string(expected.targets));
    }
    if (row.token_digest != expected.digest) {
        add_problem(report, where + "other tokens, positions or targets were fed than planned (digest " +
                                row.token_digest.hex().substr(0, 12) + ", expected " +
                                expected.digest.hex().substr(0, 12) + ")");
    }
    const bool has_target = expected.targets > 0;
    if (has_target == (row.event == PackEvent::no_target)) {
        add_problem(report, where + (has_target ? "recorded as without target, but it has some"
                                                : "recorded as trained, but it has no target"));
    }
    ++report.packs;
    report.tokens += row.tokens;
    if (row.event == PackEvent::trained) report.targets_trained += row.targets;
    if (row.event == PackEvent::no_target) ++report.packs_without_target;
    if (row.event == PackEvent::skipped_non_finite) ++report.packs_skipped;
}

/// The records of one step against the step's packs: each exactly once.
void check_step(PlanSteps& plan, std::uint64_t step, std::span<const LedgerRow> rows,
                ExpectedPacks& expected_packs, VerifyReport& report) {
    const PlanChunkColumns planned = plan.at(step);
    std::size_t next = 0;
    for (std::uint64_t pack = planned.first_pack; pack < planned.first_pack + planned.num_packs(); ++pack) {
        while (next < rows.size() && rows[next].pack < pack) {
            add_problem(report, at_pack(step, rows[next].pack) +
                                    "trained, but the plan has no such pack in this step");
            ++next;
        }
        std::size_t times = 0;
        for (; next < rows.size() && rows[next].pack == pack; ++next) {
            if (times++ == 0) check_row(*plan.plan().head, planned, rows[next], expected_packs, report);
        }
        if (times != 1) {
            add_problem(report,
                        at_pack(step, pack) + (times == 0 ? "planned, but never trained"
                                                          : "trained " + std::to_string(times) + " times"));
        }
    }
    const auto events = [&](PackEvent event) {
        return std::count_if(rows.begin(), rows.end(),
                             [&](const LedgerRow& row) { return row.event == event; });
    };
    if (events(PackEvent::trained) > 0 && events(PackEvent::skipped_non_finite) > 0) {
        add_problem(report, "step " + std::to_string(step) +
                                ": some packs are recorded as trained, others as skipped");
    }
    for (; next < rows.size(); ++next) {
        add_problem(report,
                    at_pack(step, rows[next].pack) + "trained, but the plan has no such pack in this step");
    }
}

/// The plan that decides a step.
std::size_t in_force(const std::vector<ChainedPlan>& plans, std::uint64_t step) {
    std::size_t at = plans.size() - 1;
    while (at > 0 && plans[at].from_step > step) --at;
    return at;
}

/// The plan behind a state: the one its last step was trained from.
const Fingerprint& behind(const std::vector<ChainedPlan>& plans, std::uint64_t steps_done) {
    const std::size_t at = steps_done == 0 ? 0 : in_force(plans, steps_done - 1);
    return plans[at].plan.head->fingerprints.plan;
}

/// Every revision continues the plan before it.
void check_chain(const std::vector<ChainedPlan>& plans, VerifyReport& report) {
    for (std::size_t i = 1; i < plans.size(); ++i) {
        const BatchPlan& before = *plans[i - 1].plan.head;
        const BatchPlan& after = *plans[i].plan.head;
        const std::string what = "plan " + after.fingerprints.plan.brief() + "…, in force from step " +
                                 std::to_string(plans[i].from_step) + ", ";
        if (!after.parent) add_problem(report, what + "is no revision of another");
        if (after.fingerprints.settings != before.fingerprints.settings ||
            after.epoch_begin != before.epoch_begin) {
            add_problem(report, what + "has other settings or epochs than plan " +
                                    before.fingerprints.plan.brief() + "… before it");
        }
        if (const auto found = first_difference(plans[i - 1].plan, plans[i].plan, plans[i].from_step)) {
            add_problem(report, what + "differs from plan " + before.fingerprints.plan.brief() +
                                    "… in steps trained before: " + found->text());
        }
    }
}

/// @param steps  of each plan.
void check_segment(const std::vector<ChainedPlan>& plans, std::vector<PlanSteps>& steps,
                   const LedgerSegment& segment, ExpectedPacks& expected_packs, VerifyReport& report) {
    const std::uint64_t num_steps = plans.back().plan.num_steps();
    // A run changes its plan only between two generations, so never inside a segment.
    for (const Fingerprint& plan : {behind(plans, segment.step_begin + 1), behind(plans, segment.step_end)}) {
        if (segment.plan == plan) continue;
        add_problem(report, "steps " + std::to_string(segment.step_begin) + " to " +
                                std::to_string(segment.step_end) + " were trained from plan " +
                                segment.plan.brief() + "…, not " + plan.brief() + "…");
        break;
    }
    if (segment.step_end > num_steps) {
        add_problem(report, "the ledger reaches step " + std::to_string(segment.step_end) +
                                ", the plan ends at " + std::to_string(num_steps));
    }
    auto begin = segment.rows.begin();
    for (std::uint64_t step = segment.step_begin; step < std::min(segment.step_end, num_steps); ++step) {
        const auto end =
            std::find_if(begin, segment.rows.end(), [&](const LedgerRow& row) { return row.step != step; });
        PlanSteps& plan = steps[in_force(plans, step)];
        if (step < plan.plan().num_steps()) {
            check_step(plan, step, {begin, end}, expected_packs, report);
        } else {
            add_problem(report, "the ledger holds step " + std::to_string(step) + ", plan " +
                                    plan.plan().head->fingerprints.plan.brief() +
                                    "… in force there ends at " + std::to_string(plan.plan().num_steps()));
        }
        begin = end;
    }
    if (begin != segment.rows.end()) {
        add_problem(report, at_pack(begin->step, begin->pack) + "recorded outside its segment's steps");
    }
}

/// Retained generations: every digest, and the state digest of each anew. Returns the newest.
Manifest check_generations(const std::filesystem::path& run, const std::vector<ChainedPlan>& plans,
                           VerifyReport& report) {
    std::optional<Manifest> newest;
    for (const GenerationStatus& status : list_generations(run)) {
        if (!status.committed) continue;  // An attempt that was cut off.
        if (!status.valid) {
            throw Error(ErrorCode::corrupt_data, "generation " + std::to_string(status.step) + " of '" +
                                                     run.string() + "': " + status.problem);
        }
        const Manifest& manifest = *status.manifest;
        const GenerationReader reader = GenerationReader::open(run, manifest);
        const Fingerprint digest = state_digest_of(reader, manifest.state_elements);
        if (digest != manifest.state_digest) {
            add_problem(report, "generation " + std::to_string(manifest.step) + ": the state digest is " +
                                    digest.brief() + "…, expected " + manifest.state_digest.brief() +
                                    "… as the manifest says");
        }
        if (manifest.cursor.plan != behind(plans, manifest.step)) {
            add_problem(report, "generation " + std::to_string(manifest.step) + " follows plan " +
                                    manifest.cursor.plan.brief() + "…");
        }
        report.generations.push_back(manifest.step);
        newest = manifest;
    }
    if (!newest) {
        throw Error(ErrorCode::not_found,
                    "'" + run.string() + "' has no committed generation yet; nothing to verify");
    }
    return *newest;
}

}  // namespace

VerifyReport verify_run(const std::filesystem::path& run, const BatchPlan& plan,
                        const std::vector<PlanInput>& inputs) {
    return verify_run(run, {{0, view_of(plan)}}, inputs);
}

VerifyReport verify_run(const std::filesystem::path& run, const std::vector<ChainedPlan>& plans,
                        const std::vector<PlanInput>& inputs) {
    LOCKSTEP_EXPECTS(!plans.empty());
    VerifyReport report;
    report.steps_planned = plans.back().plan.num_steps();
    check_chain(plans, report);
    const Manifest newest = check_generations(run, plans, report);
    report.plan = behind(plans, newest.step);
    report.steps = newest.step;
    for (std::size_t i = 1; i < plans.size() && plans[i].from_step < newest.step; ++i) ++report.revisions;
    report.state_digest = newest.state_digest;
    report.ledger_root = newest.cursor.ledger_root;
    report.model = newest.cursor.model;
    report.numerics = newest.cursor.numerics;

    ExpectedPacks expected_packs(inputs);
    std::vector<PlanSteps> steps;
    for (const ChainedPlan& chained : plans) steps.emplace_back(chained.plan);
    std::uint64_t next_step = 0;
    Fingerprint root = empty_ledger_root();
    if (newest.ledger_head) {
        for (const LedgerSegmentName& name : ledger_chain(run / "ledger", *newest.ledger_head)) {
            const LedgerSegment segment = read_ledger_segment(run / "ledger", name);
            if (segment.step_begin != next_step || segment.root_before != root) {
                add_problem(report, "ledger segment '" + name.file + "' does not continue the one before it");
            }
            check_segment(plans, steps, segment, expected_packs, report);
            next_step = segment.step_end;
            root = segment.root_after;
            ++report.ledger_segments;
        }
    }
    if (next_step != newest.step) {
        add_problem(report, "the ledger covers " + std::to_string(next_step) +
                                " steps, the newest generation " + std::to_string(newest.step));
    }
    if (root != newest.cursor.ledger_root) {
        add_problem(report, "the ledger's root is " + root.brief() + "…, the newest generation says " +
                                newest.cursor.ledger_root.brief() + "…");
    }
    if (report.targets_trained != newest.cursor.targets_seen) {
        add_problem(report, "the ledger has " + std::to_string(report.targets_trained) +
                                " targets trained, the newest generation " +
                                std::to_string(newest.cursor.targets_seen));
    }
    return report;
}

void compare_runs(VerifyReport& report, const std::filesystem::path& other_run) {
    std::vector<std::string> rejected;
    const std::optional<Manifest> other = newest_valid_generation(other_run, rejected);
    if (!other) {
        throw Error(ErrorCode::not_found,
                    "'" + other_run.string() + "' has no valid generation to compare with");
    }
    const auto compare = [&](const std::string& what, const std::string& mine, const std::string& theirs) {
        if (mine != theirs) {
            add_problem(report,
                        what + " differs: " + mine + " here, " + theirs + " in '" + other_run.string() + "'");
        }
    };
    compare("the number of steps", std::to_string(report.steps), std::to_string(other->step));
    compare("the ledger root", report.ledger_root.hex(), other->cursor.ledger_root.hex());
    compare("the state digest", report.state_digest.hex(), other->state_digest.hex());
}

}  // namespace lockstep
