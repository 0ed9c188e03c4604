#include "io/documents/json_document.h"

#include <simdjson.h>

#include <cmath>

#include "io/documents/document_block.h"

namespace lockstep {

static_assert(DocumentBlock::padding >= simdjson::SIMDJSON_PADDING);

struct JsonDocumentParser::State {
    explicit State(const DocumentOptions& given) : options(given) {}

    const DocumentOptions& options;
    simdjson::dom::parser parser;

    static std::string twice(std::string_view name) {
        return "field '" + std::string(name) + "' stands twice in one object";
    }

    static std::string set_text(std::optional<std::string_view>& field, std::string_view name,
                                simdjson::dom::element value) {
        if (field) return twice(name);
        std::string_view text;
        if (value.get_string().get(text) != simdjson::SUCCESS)
            return "field '" + std::string(name) + "' is not a string";
        field = text;
        return {};
    }

    static std::string set_key(std::optional<std::string>& key, std::string_view name,
                               simdjson::dom::element value) {
        if (key) return twice(name);
        std::string_view text;
        std::int64_t integer = 0;
        std::uint64_t large = 0;
        if (value.get_string().get(text) == simdjson::SUCCESS && !text.empty()) {
            key = std::string(text);
        } else if (value.get_int64().get(integer) == simdjson::SUCCESS) {
            key = std::to_string(integer);
        } else if (value.get_uint64().get(large) == simdjson::SUCCESS) {
            key = std::to_string(large);
        } else {
            return "field '" + std::string(name) + "' is neither an integer nor a string with content";
        }
        return {};
    }

    static std::string set_score(std::optional<double>& score, std::string_view name,
                                 simdjson::dom::element value) {
        if (score) return twice(name);
        double number = 0;
        if (value.get_double().get(number) != simdjson::SUCCESS || !std::isfinite(number))
            return "field '" + std::string(name) + "' is not a finite number";
        score = number;
        return {};
    }

    static std::string set_message(ChatMessage& message, simdjson::dom::element value) {
        simdjson::dom::object object;
        if (value.get_object().get(object) != simdjson::SUCCESS) return "not an object";
        std::optional<std::string_view> role, content;
        for (const auto& [name, field] : object) {
            std::string problem;
            if (name == "role") problem = set_text(role, name, field);
            if (name == "content") problem = set_text(content, name, field);
            if (!problem.empty()) return problem;
        }
        if (!role) return "no field 'role'";
        if (!content) return "no field 'content'";
        message = {std::string(*role), *content};
        return {};
    }

    static std::string set_messages(std::optional<std::vector<ChatMessage>>& messages,
                                    simdjson::dom::element value) {
        if (messages) return twice("messages");
        simdjson::dom::array array;
        if (value.get_array().get(array) != simdjson::SUCCESS) return "field 'messages' is not an array";
        messages.emplace();
        for (const simdjson::dom::element item : array) {
            messages->emplace_back();
            if (std::string problem = set_message(messages->back(), item); !problem.empty())
                return "message " + std::to_string(messages->size()) + ": " + problem;
        }
        return {};
    }

    bool is_content(std::string_view name) const {
        if (!options.chat.empty()) return name == "messages";
        return name == options.text_field || name == "prompt" || name == "response";
    }

    std::string set_content(JsonFields& fields, std::string_view name, simdjson::dom::element value) const {
        if (!options.chat.empty())
            return name == "messages" ? set_messages(fields.messages, value) : std::string();
        if (name == options.text_field) return set_text(fields.text, name, value);
        if (name == "prompt") return set_text(fields.prompt, name, value);
        if (name == "response") return set_text(fields.response, name, value);
        return {};
    }

    std::string set_field(JsonFields& fields, std::string_view name, simdjson::dom::element value) const {
        if (!options.score_field.empty() && name == options.score_field && !value.is_null()) {
            if (std::string problem = set_score(fields.score, name, value); !problem.empty()) return problem;
        }
        if (name == options.key_field && !is_content(name) && !value.is_null()) {
            if (std::string problem = set_key(fields.key, name, value); !problem.empty()) return problem;
        }
        return set_content(fields, name, value);
    }
};

JsonDocumentParser::JsonDocumentParser(const DocumentOptions& options)
    : state_(std::make_unique<State>(options)) {}

JsonDocumentParser::~JsonDocumentParser() = default;

std::string JsonDocumentParser::parse(std::string_view line, JsonFields& fields) {
    fields = {};
    simdjson::dom::object object;
    const auto failure = state_->parser.parse(line.data(), line.size(), false).get_object().get(object);
    if (failure != simdjson::SUCCESS) {
        const char* const advice = line.starts_with('[') ? "; expected one object a line, not an array" : "";
        return std::string("not one JSON object (") + simdjson::error_message(failure) + ")" + advice;
    }
    const bool chat = !state_->options.chat.empty();
    bool has_messages = false;
    for (const auto& [name, value] : object) {
        has_messages = has_messages || name == "messages";
        if (std::string problem = state_->set_field(fields, name, value); !problem.empty()) return problem;
    }
    if (chat) return fields.messages ? "" : "no field 'messages', which --chat needs";
    if (!fields.text && !(fields.prompt && fields.response)) {
        return "no field '" + state_->options.text_field + "', nor 'prompt' and 'response'; " +
               (has_messages ? "for 'messages' name a format with --chat"
                             : "name the field with --text-field");
    }
    return {};
}

}  // namespace lockstep
