// io/tokenizer/analysis/tokenizer_check.h
//
// What is wrong with a tokenizer before it is trained with: each finding says what
// was looked at, what was found, and what to do.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/tokenizer.h"

namespace lockstep {

enum class FindingLevel : std::uint8_t { good, advice, problem };

struct Finding {
    FindingLevel level = FindingLevel::good;
    std::string name;  ///< "eos", "pad", "bos", "ids", "round_trip", "reach", "chat_template", "chat_tokens"
    std::string text;
};

/// Look at everything. The first text that does not decode to itself is named.
std::vector<Finding> check_tokenizer(const Tokenizer& tokenizer);

/// What is wrong with a template's blocks ("'for' is not closed"); empty: nothing. Expressions are not read.
std::string template_problem(std::string_view jinja);
/// Special tokens that a template writes: "<|im_start|>", "<end_of_turn>", "[INST]" is none.
std::vector<std::string> template_tokens(std::string_view jinja);

/// The chat format whose tokens are all there ("chatml", "llama", "phi", "gemma"), or empty.
std::string chat_format_of(const Tokenizer& tokenizer);
/// Jinja of one of these four.
std::string_view chat_template_of_format(std::string_view format);

/// tokenizer_config.json with what it lacks and the tokenizer tells: EOS, PAD (the EOS if there is no other),
/// BOS where the vocabulary has one, a chat template where the format is known. Fields that are there stay.
/// @param config  empty: there is none.
/// @param changes  one line for each addition.
std::string repaired_config(const Tokenizer& tokenizer, std::string_view config,
                            std::vector<std::string>& changes);

}  // namespace lockstep
