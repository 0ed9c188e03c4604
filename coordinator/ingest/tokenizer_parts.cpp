#include "coordinator/ingest/tokenizer_parts.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "io/base/error.h"
#include "io/tokenizer/saved_files.h"
#include "io/tokenizer/tokenizer.h"

namespace lockstep {

namespace {

using nlohmann::json;

std::string dumped(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string text_of(const json& object, const char* name) {
    const auto field = object.find(name);
    return field != object.end() && field->is_string() ? field->get<std::string>() : std::string();
}

/// Null and absent mean the same.
std::string component_text(const json& file, const char* name) {
    const auto field = file.find(name);
    return field == file.end() || field->is_null() ? "none" : dumped(*field);
}

class Parts {
  public:
    explicit Parts(const json& description) : description_(description) {}

    std::vector<TokenizerPart> take() {
        const std::string type = text_of(description_, "type");
        add_text("type", type);
        add_text("--bos, --eos, --specials", text_of(description_, "bos") + ", " +
                                                 text_of(description_, "eos") + ", " +
                                                 text_of(description_, "specials"));
        // Older descriptions do not say.
        if (description_.contains("unicode")) add_text("Unicode tables", text_of(description_, "unicode"));
        if (type == "tokenizer.json") {
            add_file(parse_saved_json(text_of(description_, "file"), "tokenizer.json"));
            add_saved();
        } else if (type == "tiktoken") {
            add_text("encoding", text_of(description_, "encoding"));
            add_ranks(text_of(description_, "ranks"));
        } else if (type == "sentencepiece") {
            add_pieces();
            add_saved();
        } else if (type == "chars" && description_.contains("code_points")) {
            add_list("vocabulary", description_.at("code_points"), dumped);
        }
        return std::move(parts_);
    }

  private:
    void add_text(const std::string& name, std::string text) {
        parts_.push_back({name, false, {std::move(text)}});
    }

    template <class Entry>
    void add_list(const std::string& name, const json& list, const Entry& entry) {
        TokenizerPart part{name, true, {}};
        if (list.is_array())
            for (const json& item : list) part.entries.push_back(entry(item));
        parts_.push_back(std::move(part));
    }

    void add_file(const json& file) {
        if (!file.is_object()) return;
        const json model = file.contains("model") ? file.at("model") : json::object();
        add_vocabulary(model);
        add_list("merges", model.contains("merges") ? model.at("merges") : json(), [](const json& merge) {
            if (merge.is_string()) return merge.get<std::string>();
            const bool pair =
                merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
            return pair ? merge[0].get<std::string>() + " " + merge[1].get<std::string>() : dumped(merge);
        });
        json settings = model;
        for (const char* list : {"vocab", "merges"})
            if (settings.is_object()) settings.erase(list);
        add_text("model settings", dumped(settings));
        add_list("added tokens", file.contains("added_tokens") ? file.at("added_tokens") : json(), dumped);
        add_text("normalizer", component_text(file, "normalizer"));
        add_text("pre-tokenizer", component_text(file, "pre_tokenizer"));
        add_text("post-processor", component_text(file, "post_processor"));
        add_text("decoder", component_text(file, "decoder"));
    }

    /// Tokens by id, or pieces in order.
    void add_vocabulary(const json& model) {
        const json vocabulary = model.contains("vocab") ? model.at("vocab") : json();
        if (!vocabulary.is_object()) return add_list("vocabulary", vocabulary, dumped);
        std::vector<std::pair<std::uint64_t, std::string>> tokens;
        for (const auto& [token, id] : vocabulary.items())
            tokens.emplace_back(id.is_number_unsigned() ? id.get<std::uint64_t>() : 0, token);
        std::sort(tokens.begin(), tokens.end());
        TokenizerPart part{"vocabulary", true, {}};
        for (const auto& [id, token] : tokens) part.entries.push_back(token + " = " + std::to_string(id));
        parts_.push_back(std::move(part));
    }

    /// Lines of token and rank.
    void add_ranks(std::string_view ranks) {
        TokenizerPart part{"vocabulary", true, {}};
        while (!ranks.empty()) {
            const std::string_view line = ranks.substr(0, ranks.find('\n'));
            ranks.remove_prefix(std::min(line.size() + 1, ranks.size()));
            if (!line.empty()) part.entries.emplace_back(line);
        }
        parts_.push_back(std::move(part));
    }

    /// The model is asked for its pieces; of the rest of it only that it differs can be said.
    void add_pieces() {
        TokenizerPart part{"vocabulary", true, {}};
        const auto tokenizer = make_tokenizer_from_description(description_.dump());
        for (std::uint32_t id = 0; id < tokenizer->vocabulary_size(); ++id)
            part.entries.push_back(tokenizer->token_bytes(id));
        parts_.push_back(std::move(part));
        add_text("scores, normalization and settings of the model", text_of(description_, "model"));
    }

    void add_saved() {
        const SavedConfig saved =
            saved_config_of(text_of(description_, "config"), text_of(description_, "chat_template"));
        const auto name = [](const std::optional<std::string>& token) { return token.value_or("none"); };
        add_text("BOS, EOS, PAD of tokenizer_config.json",
                 name(saved.bos) + ", " + name(saved.eos) + ", " + name(saved.pad));
        add_text("chat template", saved.chat_template.empty() ? "none" : saved.chat_template);
        for (const auto& [title, text] : saved.named_templates)
            add_text("chat template '" + title + "'", text);
    }

    const json& description_;
    std::vector<TokenizerPart> parts_;
};

}  // namespace

std::vector<TokenizerPart> tokenizer_parts(const std::string& description_json) {
    try {
        const json description = parse_saved_json(description_json, "description");
        return description.is_object() ? Parts(description).take() : std::vector<TokenizerPart>();
    } catch (const Error&) {
        // Not a description that a tokenizer could be built from.
        return {};
    }
}

}  // namespace lockstep
