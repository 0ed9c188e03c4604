// io/tokenizer/tokenizer_files.h
//
// Tokenizers as people have them: a Hugging Face `tokenizer.json` (or the folder
// it was saved in), OpenAI's `.tiktoken` ranks, a SentencePiece `.model`. A
// component that is not supported is refused by its name, never approximated.

#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/digest.h"
#include "io/tokenizer/tokenizer.h"

namespace lockstep {

/// Where the ranks of OpenAI's models are looked for: the working folder, then the folders of the environment
/// variable LOCKSTEP_TOKENIZERS (divided by colons), in order.
std::vector<std::filesystem::path> tokenizer_folders();

struct TokenizerFileOptions {
    SpecialsPolicy policy;
    /// `.tiktoken` files of unknown ranks: the encoding whose pattern they follow ("cl100k_base").
    std::string pattern;
    std::vector<std::filesystem::path> folders = tokenizer_folders();
};

/// @param path  a file, or a folder with tokenizer.json or tokenizer.model (and tokenizer_config.json,
///              chat_template.jinja). If it does not exist, the name of an OpenAI model or encoding
///              ("gpt-4o", "cl100k_base"), whose ranks are then in one of the folders.
/// @throws Error{not_found}; Error{corrupt_data} saying where the file is wrong; Error{invalid_argument}
///         naming an unsupported component, or if a `.tiktoken` file's pattern is not known.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path,
                                          const TokenizerFileOptions& options = {});

/// Digest of the files that `load_tokenizer` would read, whatever they hold.
/// @throws Error{not_found, io_failure}.
Digest digest_of_tokenizer_files(const std::filesystem::path& path, const TokenizerFileOptions& options = {});

/// `ignored_settings` of what lies there, those of SentencePiece's own file left out; none of what is no
/// path.
std::vector<std::string> ignored_settings_of(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                             const TokenizerFileOptions& options = {});

/// The contents alone, for tests and descriptions. `config` is tokenizer_config.json, may be empty.
std::unique_ptr<Tokenizer> make_json_tokenizer(std::string_view file, std::string_view config,
                                               std::string_view chat_template, const SpecialsPolicy& policy);
/// @param encoding  "r50k_base", "p50k_base", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony";
///                  empty: by the ranks' SHA-256.
std::unique_ptr<Tokenizer> make_tiktoken_tokenizer(std::string_view ranks, std::string_view encoding,
                                                   const SpecialsPolicy& policy);
/// The same of the ranks that OpenAI published. @throws Error{corrupt_data} if these are others.
std::unique_ptr<Tokenizer> make_openai_tokenizer(std::string_view ranks, std::string_view encoding,
                                                 const SpecialsPolicy& policy);
/// Special tokens are the control pieces; user-defined pieces are taken wherever a text spells them.
/// @param config  tokenizer_config.json; a token that it names and the model lacks is none.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string_view model, const SpecialsPolicy& policy,
                                                        std::string_view config = {},
                                                        std::string_view chat_template = {});

}  // namespace lockstep
