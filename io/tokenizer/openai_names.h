// io/tokenizer/openai_names.h
//
// What OpenAI calls its encodings, and which of its models uses which.

#pragma once

#include <string>
#include <string_view>

namespace lockstep {

/// The encoding of a model ("gpt-4o", also with a version or of a fine-tuned one: "ft:gpt-4o-mini:us") or of
/// an encoding's own name; empty if the name is neither.
std::string_view openai_encoding_of(std::string_view name);

/// The file that OpenAI publishes an encoding's ranks in ("p50k_base.tiktoken" of p50k_edit).
std::string openai_ranks_file(std::string_view encoding);

}  // namespace lockstep
