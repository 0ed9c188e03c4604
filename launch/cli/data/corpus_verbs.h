// launch/cli/data/corpus_verbs.h
//
// The verbs below `corpus`.

#pragma once

#include "launch/cli/invocation.h"

namespace lockstep {

/// show, search, sample, stats.
void add_corpus_looks(CLI::App& noun, Invocation& invocation);

}  // namespace lockstep
