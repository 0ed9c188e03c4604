// launch/cli/data/ingest.h
//
// Options and loop shared by the verbs that turn documents into tokens.

#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/ingest/tokenize_document.h"
#include "io/corpus/corpus.h"
#include "io/documents/document_reader.h"
#include "io/documents/source_list.h"
#include "io/tokenizer/tokenizer.h"
#include "launch/cli/invocation.h"

namespace lockstep {

struct DocumentArguments {
    std::vector<std::string> files;
    std::string tokenizer;
    std::string pattern;  ///< Of .tiktoken files.
    std::string document = "file";
    std::string bos = "auto", eos = "auto", specials = "text";
    DocumentOptions options;
};

void add_document_options(CLI::App& verb, DocumentArguments& arguments);
/// --invalid-utf8 refuse|replace
void add_invalid_utf8_option(CLI::App& verb, InvalidUtf8& choice);
/// One line on what was replaced, if anything was.
void say_repaired(std::uint64_t texts);

struct TokenizedTotals {
    std::uint64_t documents = 0, tokens = 0, bytes = 0, bad_lines = 0, empty = 0;
};

/// Called before and after each source's documents.
struct TokenizeVisitor {
    std::function<void(const Tokenizer&)> on_tokenizer;
    std::function<std::uint32_t(const std::string& name)> on_source;  ///< Returns the source's index.
    std::function<void(const Document&, const TokenizedDocument&)> on_document;
    std::function<void(std::uint32_t index, const SourceSummary&)> on_source_end;
};

/// The documents' options as parsed. @throws Error{invalid_argument}.
DocumentOptions document_options(const DocumentArguments& arguments);
SpecialsPolicy specials_policy(const DocumentArguments& arguments);
/// Files and folders of -d; what is left out is said.
std::vector<std::filesystem::path> list_sources(const DocumentArguments& arguments);
/// The tokenizer of -t; `chars` reads the sources for its vocabulary.
std::unique_ptr<Tokenizer> choose_tokenizer(const DocumentArguments& arguments,
                                            const std::vector<std::filesystem::path>& sources);
/// The file or folder of -t; absent for the built-in ones and for OpenAI's by name, whose ranks never change.
std::optional<TokenizerFile> tokenizer_file(const DocumentArguments& arguments);

/// "tokenized 12 MB of 1 GB, 80.1 MB/s, ETA 0:12".
std::string ingest_progress_text(std::uint64_t done, std::uint64_t total, double seconds);

/// Read all documents, tokenize them, and show progress, by one thread.
TokenizedTotals tokenize_documents(const DocumentArguments& arguments, const TokenizeVisitor& visitor);

}  // namespace lockstep
