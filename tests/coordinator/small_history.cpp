#include "tests/coordinator/small_history.h"

#include <optional>
#include <span>
#include <string>
#include <utility>

#include "io/run/checkpoint.h"
#include "io/run/state_digest.h"
#include "io/run/token_digest.h"
#include "tests/coordinator/small_plan.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t state_elements = 10;

std::vector<float> state_values(std::uint64_t step, float which) {
    std::vector<float> values;
    for (std::uint64_t i = 0; i < state_elements; ++i) {
        values.push_back(which + static_cast<float>(step * 100 + i));
    }
    return values;
}

}  // namespace

LedgerRow row_of(const BatchPlan& plan, std::uint64_t step, std::uint64_t pack) {
    static const std::vector<SmallSample> sources[2] = {plain_samples(), answered_samples()};
    std::vector<std::uint32_t> ids, positions;
    std::vector<std::int32_t> targets, boundaries{0};
    LedgerRow row;
    row.step = step;
    row.pack = pack;
    row.loss = 0.5 * static_cast<double>(pack);
    row.seconds = 0.5F;
    for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s) {
        const bool answered = plan.segment_sample[s] >= plan.sources[1].sample_base;
        const SmallSample& sample =
            sources[answered ? 1 : 0][plan.segment_sample[s] - (answered ? plan.sources[1].sample_base : 0)];
        std::vector<bool> trained(sample.tokens.size(), !sample.spans);
        for (const LossSpan& span : sample.spans.value_or(std::vector<LossSpan>{})) {
            std::fill(trained.begin() + span.begin, trained.begin() + span.end, true);
        }
        for (std::uint32_t i = 0; i < plan.segment_tokens[s]; ++i) {
            const std::uint32_t at = plan.segment_offset[s] + i;
            const bool predicts = i + 1 < plan.segment_tokens[s] && trained[at + 1];
            ids.push_back(sample.tokens[at]);
            positions.push_back(i);
            targets.push_back(predicts ? static_cast<std::int32_t>(sample.tokens[at + 1]) : -1);
            if (predicts) ++row.targets;
        }
        boundaries.push_back(static_cast<std::int32_t>(ids.size()));
    }
    row.tokens = static_cast<std::uint32_t>(ids.size());
    row.token_digest = token_digest(ids, positions, targets, boundaries);
    row.event = row.targets > 0 ? PackEvent::trained : PackEvent::no_target;
    return row;
}

History revised_history(const BatchPlan& plan, const BatchPlan& revision, std::uint64_t change) {
    // What the plan before the revision trains in its steps, and the revision in its own.
    History history(plan);
    const History after(revision);
    std::erase_if(history.rows, [&](const LedgerRow& row) { return row.step >= change; });
    for (const LedgerRow& row : after.rows) {
        if (row.step >= change) history.rows.push_back(row);
    }
    for (const std::uint64_t commit : history.commits) {
        if (commit > change) history.plan_of_commit[commit] = revision.fingerprints.plan;
    }
    return history;
}

void write_run(const fs::path& run, History history) {
    std::stable_sort(history.rows.begin(), history.rows.end(), [](const LedgerRow& a, const LedgerRow& b) {
        return std::pair(a.step, a.pack) < std::pair(b.step, b.pack);
    });
    LedgerSegment segment;
    segment.root_after = empty_ledger_root();
    std::uint64_t targets_seen = 0;
    std::uint64_t done = 0;
    for (const std::uint64_t commit : history.commits) {
        segment.step_begin = done;
        segment.step_end = commit;
        const bool revised = history.plan_of_commit.contains(commit);
        segment.plan = revised ? history.plan_of_commit[commit] : history.segment_plan;
        segment.root_before = segment.root_after;
        segment.rows.clear();
        for (std::uint64_t step = done; step < commit; ++step) {
            std::vector<LedgerRow> of_step;
            for (const LedgerRow& row : history.rows) {
                if (row.step != step) continue;
                of_step.push_back(row);
                if (row.event == PackEvent::trained) targets_seen += row.targets;
            }
            segment.root_after = advance_ledger_root(segment.root_after, step, of_step);
            segment.rows.insert(segment.rows.end(), of_step.begin(), of_step.end());
        }

        Manifest manifest;
        manifest.step = commit;
        manifest.cursor.plan = revised ? history.plan_of_commit[commit] : history.cursor_plan;
        manifest.cursor.numerics = "fma256";
        manifest.cursor.next_step = commit;
        manifest.cursor.targets_seen =
            targets_seen + (commit == history.commits.back() ? history.extra_targets : 0);
        manifest.cursor.ledger_root = segment.root_after;
        manifest.state_elements = state_elements;
        if (done > 0) manifest.parent_step = done;
        std::vector<std::vector<float>> state;
        std::vector<Fingerprint> roots;
        for (const float which : {0.25F, 0.5F, 0.75F}) {
            state.push_back(state_values(commit, which));
            const Fingerprint leaf = state_leaf(state.back());
            roots.push_back(state_tree_root(std::span(&leaf, 1)));
        }
        manifest.state_digest = state_digest(manifest.cursor, roots[0], roots[1], roots[2]);
        if (history.other_state_digest) manifest.state_digest.bytes[0] ^= 1U;
        for (const int rank : {0, 1}) {
            const std::size_t begin = rank == 0 ? 0 : 4;
            const std::size_t count = rank == 0 ? 4 : state_elements - 4;
            const auto part = [&](std::size_t which) {
                return std::span(state[which]).subspan(begin, count);
            };
            manifest.shards.push_back(write_shard(generation_directory(run, commit), Rank{rank}, WorldSize{2},
                                                  manifest.cursor, begin, part(0), part(1), part(2)));
        }
        segment.previous = manifest.ledger_head = write_ledger_segment(run / "ledger", segment);
        write_manifest(run, manifest);
        done = commit;
    }
}

}  // namespace lockstep
