#include "io/tokenizer/analysis/tokenizer_check.h"

#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/tokenizer/analysis/token_statistics.h"

namespace lockstep {

namespace {

constexpr std::string_view probes[] = {
    "Hello, world! It's 3.14 o'clock.",
    "  two  spaces   and\ttabs\n\n\tand lines\r\n",
    "for (int i = 0; i < n; ++i) { sum += a[i]; }",
    "naïve café – “quotes” … €",
    "Съешь ещё этих булок",
    "天地玄黃 いろは 한국어",
    "مرحبا שלום ภาษาไทย",
    "e\u0301 combining, ﬁ ligature, ½",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽",
    "UPPER lower Title",
};

class TokenizerCheck {
  public:
    explicit TokenizerCheck(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

    std::vector<Finding> run() {
        specials();
        ids();
        round_trip();
        reach();
        chat();
        return std::move(findings_);
    }

  private:
    void add(FindingLevel level, std::string name, std::string text) {
        findings_.push_back({level, std::move(name), std::move(text)});
    }

    std::string shown(std::uint32_t id) const {
        return "'" + tokenizer_.token_bytes(id) + "' (" + std::to_string(id) + ")";
    }

    void specials() {
        const auto eos = tokenizer_.eos_id(), pad = tokenizer_.pad_id(), bos = tokenizer_.bos_id();
        if (!eos) {
            add(FindingLevel::problem, "eos",
                "no end-of-text token is known: documents will run into each other; name it as eos_token in "
                "tokenizer_config.json");
        } else if (!tokenizer_.is_special(*eos)) {
            add(FindingLevel::problem, "eos",
                shown(*eos) + " ends texts but is not marked special; texts could spell it");
        } else {
            add(FindingLevel::good, "eos", shown(*eos) + " ends texts");
        }
        if (!pad) {
            add(FindingLevel::advice, "pad",
                "no padding token; packs need none, other software may (--fix names EOS)");
        } else {
            add(FindingLevel::good, "pad", shown(*pad) + " pads");
        }
        add(FindingLevel::good, "bos", bos ? shown(*bos) + " begins texts" : "texts begin without a token");
        if (bos && eos && *bos == *eos)
            add(FindingLevel::advice, "bos", "the token that begins texts also ends them");
    }

    void ids() {
        std::uint64_t holes = 0;
        std::uint32_t first = 0;
        for (std::uint32_t id = 0; id < tokenizer_.vocabulary_size(); ++id) {
            if (!tokenizer_.token_bytes(id).empty()) continue;
            if (holes++ == 0) first = id;
        }
        if (holes == 0) {
            add(FindingLevel::good, "ids",
                std::to_string(tokenizer_.vocabulary_size()) + " ids, all with a token");
        } else {
            add(FindingLevel::advice, "ids",
                std::to_string(holes) + " of " + std::to_string(tokenizer_.vocabulary_size()) +
                    " ids have no text, the first is " + std::to_string(first) +
                    ": rows of the model that are never trained");
        }
    }

    void round_trip() {
        std::string first;
        std::size_t changed = 0;
        for (const std::string_view probe : probes) {
            std::vector<std::uint32_t> ids;
            tokenizer_.encode(probe, ids);
            const std::string back = tokenizer_.decode(ids);
            if (back == probe) continue;
            if (changed++ == 0) first = "'" + std::string(probe) + "' comes back as '" + back + "'";
        }
        if (changed == 0) {
            add(FindingLevel::good, "round_trip", "texts of ten kinds decode to themselves");
        } else {
            add(FindingLevel::advice, "round_trip",
                std::to_string(changed) + " of 10 texts do not decode to themselves; " + first);
        }
    }

    void reach() {
        const std::vector<std::uint64_t> none(tokenizer_.vocabulary_size());
        const auto not_reached = vocabulary_of(tokenizer_, none).not_reached;
        if (not_reached.empty()) {
            add(FindingLevel::good, "reach", "the text of every token is encoded as that token");
        } else {
            add(FindingLevel::advice, "reach",
                "the text of " + std::to_string(not_reached.size()) +
                    " tokens is encoded otherwise, first of " + shown(not_reached.front()));
        }
    }

    void chat() {
        unnamed_template();
        for (const auto& [name, text] : tokenizer_.named_chat_templates())
            check_template("chat template '" + name + "'", text);
    }

    void unnamed_template() {
        const std::string jinja = tokenizer_.chat_template();
        if (jinja.empty()) {
            const std::string format = chat_format_of(tokenizer_);
            if (format.empty()) {
                add(FindingLevel::good, "chat_template", "no chat template, and no chat tokens");
            } else {
                add(FindingLevel::advice, "chat_template",
                    "the tokens of chat format " + format +
                        " are there, but no chat template (--fix adds it)");
            }
            return;
        }
        check_template("chat template", jinja);
    }

    void check_template(const std::string& what, const std::string& jinja) {
        const std::string problem = template_problem(jinja);
        if (!problem.empty()) {
            add(FindingLevel::problem, "chat_template", "the " + what + " is broken: " + problem);
        } else {
            add(FindingLevel::good, "chat_template", "the blocks of the " + what + " are closed");
        }
        for (const std::string& token : template_tokens(jinja)) {
            if (!tokenizer_.id_of(token))
                add(FindingLevel::problem, "chat_tokens",
                    "the " + what + " writes '" + token +
                        "', which is no token: models would see its letters");
        }
    }

    const Tokenizer& tokenizer_;
    std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> check_tokenizer(const Tokenizer& tokenizer) {
    return TokenizerCheck(tokenizer).run();
}

std::string repaired_config(const Tokenizer& tokenizer, std::string_view config,
                            std::vector<std::string>& changes) {
    using json = nlohmann::ordered_json;
    json object = config.empty() ? json::object() : json::parse(config, nullptr, false);
    if (!object.is_object())
        throw Error(ErrorCode::corrupt_data,
                    "tokenizer_config.json is not a JSON object; it is left as it is");
    const auto name = [&](const char* field, std::optional<std::uint32_t> id) {
        if (!id || (object.contains(field) && !object[field].is_null())) return;
        object[field] = tokenizer.token_bytes(*id);
        changes.push_back(std::string(field) + " is '" + tokenizer.token_bytes(*id) + "'");
    };
    name("bos_token", tokenizer.bos_id());
    name("eos_token", tokenizer.eos_id());
    name("pad_token", tokenizer.pad_id() ? tokenizer.pad_id() : tokenizer.eos_id());
    const std::string format = chat_format_of(tokenizer);
    if (tokenizer.chat_template().empty() && !format.empty()) {
        const std::string jinja(chat_template_of_format(format));
        // Those that have other names stay.
        if (object.contains("chat_template") && object["chat_template"].is_array()) {
            object["chat_template"].push_back({{"name", "default"}, {"template", jinja}});
        } else {
            object["chat_template"] = jinja;
        }
        changes.push_back("chat_template is that of " + format);
    }
    return object.dump(2) + "\n";
}

}  // namespace lockstep
