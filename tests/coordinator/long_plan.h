// tests/coordinator/long_plan.h
//
// A plan of several windows of steps, and rank 0 handing it out.

#pragma once

#include <optional>
#include <vector>

#include "coordinator/distribution.h"
#include "tests/coordinator/served_plan.h"
#include "tests/plan/plan_support.h"

namespace lockstep {

/// More than two windows of steps; the same on every rank, though only rank 0 hands it over.
inline const BatchPlan& long_plan() {
    static const BatchPlan plan = [] {
        TestSource source;
        source.sample_tokens = long_tailed_lengths(1, 6500, 64);
        PlanOptions options;
        options.token_budget = 64;
        options.packs_per_step = 3;
        options.epochs = 2;
        return build_plan(options, source);
    }();
    return plan;
}

inline std::vector<PlanSource> bound_sources() {
    std::vector<PlanSource> bound = long_plan().sources;
    bound[0].corpus.bytes[5] = 77;
    bound[0].tokenizer_hash = "said by the lengths file";
    return bound;
}

/// Collective.
inline PlanDistribution distribute(Communicator& comm) {
    const bool root = comm.rank().value == 0;
    return PlanDistribution(comm, root ? std::optional(serve(long_plan(), bound_sources())) : std::nullopt);
}

}  // namespace lockstep
