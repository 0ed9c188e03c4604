// launch/cli/tokenizer/tokenizer_verbs.h
//
// The verbs below `tokenizer`, a file each.

#pragma once

#include "launch/cli/invocation.h"

namespace lockstep {

void add_tokenizer_analyze(CLI::App& tokenizer, Invocation& invocation);
void add_tokenizer_doctor(CLI::App& tokenizer, Invocation& invocation);
void add_tokenizer_train(CLI::App& tokenizer, Invocation& invocation);

}  // namespace lockstep
