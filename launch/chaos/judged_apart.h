// launch/chaos/judged_apart.h
//
// A verdict in a process of its own, so that a crash or a hang is a verdict too.

#pragma once

#include "launch/chaos/artifact_watch.h"

namespace lockstep {

/// As watch.judge; DamageOutcome::wrong also when the reading process dies or takes longer than this.
/// @throws Error{environment} if there can be no process.
DamageVerdict judge_apart(const ArtifactWatch& watch, const std::filesystem::path& file, bool changed,
                          int seconds_max);

}  // namespace lockstep
