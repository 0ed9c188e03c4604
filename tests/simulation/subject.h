// tests/simulation/subject.h
//
// What a simulated run trains: a small real plan, and what every step of it must
// leave behind, known beforehand. Made once, on the real disk.

#pragma once

#include <cstdint>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/run/ledger.h"
#include "tests/coordinator/small_plan.h"
#include "tests/support/temporary_directory.h"
#include "worker/model/state_layout.h"
#include "worker/train_settings.h"

namespace lockstep::simulation {

/// A schedule takes as long as its steps.
inline PlanOptions one_epoch() {
    PlanOptions options = small_options();
    options.epochs = 1;
    return options;
}

struct Subject {
    TemporaryDirectory folder;
    SmallPlan small{folder.path(), one_epoch()};
    std::vector<LedgerRow> rows;  ///< Of every pack of the plan.
    StateLayout layout;
    OptimizerSettings optimizer;
    Fingerprint model;

    /// After so many steps, of a run that nothing disturbed.
    std::vector<Fingerprint> state_digest, ledger_root;

    Subject();
    const BatchPlan& plan() const { return small.plan; }
    std::uint64_t num_steps() const { return plan().num_steps(); }
};

}  // namespace lockstep::simulation
