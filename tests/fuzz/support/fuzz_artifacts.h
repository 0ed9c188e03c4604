// tests/fuzz/support/fuzz_artifacts.h
//
// Sound artifacts in memory, that inputs are edits of.

#pragma once

#include "tests/coordinator/small_artifacts.h"
#include "tests/fuzz/support/fuzz_target.h"

namespace lockstep::fuzz {

inline const SmallArtifacts& sound_artifacts() {
    static const SmallArtifacts artifacts(memory_folder() / "sound", 1);
    return artifacts;
}

}  // namespace lockstep::fuzz
