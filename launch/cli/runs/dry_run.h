// launch/cli/runs/dry_run.h
//
// `train --dry-run`: what the run would take, without starting it.

#pragma once

#include "launch/cli/runs/training.h"

namespace lockstep {

/// Collective: all ranks of a host probe it at the same time, as they would train. Rank 0 prints parameters,
/// memory by purpose, operations a step, expected speed and time. Writes nothing.
int dry_run(const Invocation& invocation, World& world, const TrainingArguments& arguments,
            const PlanAtHand* plan, const TrainSettings& settings);

}  // namespace lockstep
