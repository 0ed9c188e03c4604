// io/documents/json_document.h
//
// One line of JSONL to the fields that matter here.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/documents/document.h"

namespace lockstep {

/// The views live until the next line is parsed.
struct JsonFields {
    std::optional<std::string_view> text, prompt, response;
    std::optional<std::string> key;
    std::optional<double> score;                       ///< Only with DocumentOptions::score_field.
    std::optional<std::vector<ChatMessage>> messages;  ///< Only with DocumentOptions::chat.
};

class JsonDocumentParser {
  public:
    explicit JsonDocumentParser(const DocumentOptions& options);
    ~JsonDocumentParser();
    JsonDocumentParser(const JsonDocumentParser&) = delete;
    JsonDocumentParser& operator=(const JsonDocumentParser&) = delete;

    /// @param line  followed in memory by at least DocumentBlock::padding readable bytes.
    /// @return what is wrong with the line; empty: nothing, and `fields` are filled.
    std::string parse(std::string_view line, JsonFields& fields);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
