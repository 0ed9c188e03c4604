// launch/cli/ingest.h
//
// Options and loop shared by the verbs that turn documents into tokens.

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/corpus.h"
#include "io/document_reader.h"
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

/// One document as tokens.
struct TokenizedDocument {
    std::span<const std::uint32_t> tokens;
    bool has_loss_span = false;
    LossSpan loss_span;  ///< Of the response, with prompt and response.
    const Document& document;
};

struct TokenizedTotals {
    std::uint64_t documents = 0, tokens = 0, bytes = 0, bad_lines = 0, empty = 0;
};

/// Called before and after each source's documents.
struct TokenizeVisitor {
    std::function<void(const Tokenizer&)> on_tokenizer;
    std::function<std::uint32_t(const std::string& name)> on_source;  ///< Returns the source's index.
    std::function<void(const TokenizedDocument&)> on_document;
    std::function<void(std::uint32_t index, const SourceSummary&)> on_source_end;
};

/// Read all documents, tokenize them, and show progress. `chars` reads the sources twice: first for its
/// vocabulary.
TokenizedTotals tokenize_documents(const DocumentArguments& arguments, const TokenizeVisitor& visitor);

}  // namespace lockstep
