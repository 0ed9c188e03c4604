// launch/cli/tokenizer/tokenizer_input.h
//
// What the tokenizer verbs have in common: which tokenizer, and which texts.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/base/function_ref.h"
#include "io/documents/document.h"
#include "io/tokenizer/tokenizer.h"
#include "launch/cli/invocation.h"

namespace lockstep {

struct TokenizerArguments {
    std::string tokenizer, pattern, specials = "text";
    std::string text;
    std::vector<std::string> files;
    InvalidUtf8 invalid_utf8 = InvalidUtf8::refuse;
};

void add_tokenizer_options(CLI::App& verb, TokenizerArguments& arguments);
/// --text and files; without either, standard input is the text.
void add_text_options(CLI::App& verb, TokenizerArguments& arguments);

/// `bytes` or a file. @throws Error{invalid_argument} for `chars`, which has no vocabulary without texts.
std::unique_ptr<Tokenizer> open_tokenizer(const TokenizerArguments& arguments);
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& name, const TokenizerArguments& arguments);

/// Every text: --text, the documents of the files (JSONL by its `text` field, else whole files), or standard
/// input.
void each_text(const TokenizerArguments& arguments, FunctionRef<void(std::string_view)> take);

}  // namespace lockstep
