// tests/coordinator/small_history.h
//
// A run on a SmallPlan as training would have left it, made by hand, so that a test
// can change its history.

#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <vector>

#include "io/run/ledger.h"
#include "plan/batch_plan.h"

namespace lockstep {

/// What training a pack must leave in the ledger, from the samples the corpora were written from.
LedgerRow row_of(const BatchPlan& plan, std::uint64_t step, std::uint64_t pack);

/// The history of a run, right until a test changes it.
struct History {
    std::vector<LedgerRow> rows;
    std::vector<std::uint64_t> commits;  ///< Steps done at each generation.
    Fingerprint segment_plan, cursor_plan;
    std::map<std::uint64_t, Fingerprint> plan_of_commit;  ///< Instead, for the steps up to a commit.
    std::uint64_t extra_targets = 0;                      ///< In the newest cursor.
    bool other_state_digest = false;

    explicit History(const BatchPlan& plan)
        : commits{2, 3, plan.num_steps()},
          segment_plan(plan.fingerprints.plan),
          cursor_plan(plan.fingerprints.plan) {
        for (std::uint64_t step = 0; step < plan.num_steps(); ++step) {
            for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
                rows.push_back(row_of(plan, step, pack));
            }
        }
    }

    LedgerRow& row(std::uint64_t pack) {
        return *std::find_if(rows.begin(), rows.end(), [&](const LedgerRow& r) { return r.pack == pack; });
    }
    void erase(std::uint64_t pack) { rows.erase(rows.begin() + (&row(pack) - rows.data())); }
};

/// A run that changed over to `revision` after the generation of step `change`.
History revised_history(const BatchPlan& plan, const BatchPlan& revision, std::uint64_t change);

/// Ledger and generations of two ranks each, at every commit.
void write_run(const std::filesystem::path& run, History history);

}  // namespace lockstep
