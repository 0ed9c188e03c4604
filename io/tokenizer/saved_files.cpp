#include "io/tokenizer/saved_files.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "io/base/error.h"

namespace lockstep {

namespace {

using nlohmann::json;

/// Sound files have fewer than ten levels.
constexpr std::size_t depth_max = 64;

/// Each byte of JSON that is not inside a string, with its place.
template <class Take>
void each_outside_strings(std::string_view text, const Take& take) {
    bool inside = false;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (inside && text[at] == '\\') {
            ++at;
        } else if (text[at] == '"') {
            inside = !inside;
        } else if (!inside) {
            take(text[at], at);
        }
    }
}

std::string line_and_column(std::string_view text, std::size_t at) {
    const std::string_view before = text.substr(0, at);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0.
    return "line " + std::to_string(line) + ", column " + std::to_string(at - line_begin + 1);
}

std::size_t behind_blanks(std::string_view text, std::size_t at) {
    return text.find_first_not_of(" \t\r\n", at);
}

/// @param at  the quotation mark that opens it.
std::size_t behind_string(std::string_view text, std::size_t at) {
    for (++at; text[at] != '"'; ++at)
        if (text[at] == '\\') ++at;
    return at + 1;
}

std::size_t behind_value(std::string_view text, std::size_t at) {
    if (text[at] != '"' && text[at] != '{' && text[at] != '[') return text.find_first_of(",]} \t\r\n", at);
    std::size_t depth = 0;
    do {
        if (text[at] == '"') {
            at = behind_string(text, at);
            continue;
        }
        if (text[at] == '{' || text[at] == '[') ++depth;
        if (text[at] == '}' || text[at] == ']') --depth;
        ++at;
    } while (depth != 0);
    return at;
}

void require_shallow(std::string_view text, const std::string& file) {
    std::size_t depth = 0;
    each_outside_strings(text, [&](char c, std::size_t at) {
        if (c == '}' || c == ']') depth -= depth > 0 ? 1 : 0;
        if ((c != '{' && c != '[') || ++depth <= depth_max) return;
        throw Error(ErrorCode::corrupt_data, file + ": " + line_and_column(text, at) + ": nested more than " +
                                                 std::to_string(depth_max) +
                                                 " levels deep, which no tokenizer is");
    });
}

std::size_t num_names(const json& value) {
    std::size_t names = value.is_object() ? value.size() : 0;
    if (value.is_structured())
        for (const json& part : value) names += num_names(part);
    return names;
}

/// The first name that is there twice. @pre there is one in one object.
[[noreturn]] void refuse_repeated(std::string_view text, const std::string& file) {
    struct Open {
        std::set<std::string> names;
        std::string last;
    };
    std::vector<Open> open;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t begin = at;
        if (text[at] == '{') open.emplace_back();
        if (text[at] == '}') open.pop_back();
        at = text[at] == '"' ? behind_string(text, at) : at + 1;
        // Only names have a colon behind them.
        if (text[begin] != '"' || text[behind_blanks(text, at)] != ':') continue;
        open.back().last = json::parse(text.substr(begin, at - begin)).get<std::string>();
        if (open.back().names.insert(open.back().last).second) continue;
        std::string place;
        for (std::size_t i = 0; i + 1 < open.size(); ++i) place += (i == 0 ? "" : ".") + open[i].last;
        throw Error(ErrorCode::corrupt_data, file + ": " + line_and_column(text, begin) + ": " + place +
                                                 (place.empty() ? "" : ": ") + "'" + open.back().last +
                                                 "' stands twice; remove the one that does not count");
    }
    throw Error(ErrorCode::corrupt_data, file + ": a name stands twice in one object");
}

/// A token is given as text or as an object with `content`.
std::optional<std::string> token_of(const json& config, const char* field) {
    if (!config.is_object() || !config.contains(field)) return std::nullopt;
    const json& value = config.at(field);
    const json& text = value.is_object() && value.contains("content") ? value.at("content") : value;
    return text.is_string() ? std::optional(text.get<std::string>()) : std::nullopt;
}

/// One without a name, or several with one.
void read_templates(const json& config, SavedConfig& saved) {
    if (!config.is_object() || !config.contains("chat_template")) return;
    const json& value = config.at("chat_template");
    if (value.is_string()) saved.chat_template = value.get<std::string>();
    if (!value.is_array()) return;
    const auto text = [](const json& item, const char* field) {
        const auto place = item.is_object() ? item.find(field) : item.end();
        return item.is_object() && place != item.end() && place->is_string() ? place->get<std::string>()
                                                                             : std::string();
    };
    for (const json& item : value) {
        const std::string name = text(item, "name"), jinja = text(item, "template");
        if (!name.empty() && !jinja.empty())
            (name == "default" ? saved.chat_template : saved.named_templates[name]) = jinja;
    }
}

/// Flags that an added token has in tokenizer.json by their names there.
constexpr std::array token_flags{"special", "normalized", "single_word", "lstrip", "rstrip"};

bool flag_of(const json& token, const char* name) {
    const auto place = token.find(name);
    return place != token.end() && place->is_boolean() && place->get<bool>();
}

/// Whether added_tokens_decoder says of all its tokens what tokenizer.json says.
bool are_added(const json& decoder, const json& file, const Tokenizer& tokenizer) {
    std::map<std::string, const json*> added;
    if (file.is_object() && file.contains("added_tokens") && file.at("added_tokens").is_array())
        for (const json& token : file.at("added_tokens"))
            if (token.is_object() && token.contains("content") && token.at("content").is_string())
                added[token.at("content").get<std::string>()] = &token;
    for (const auto& [id, token] : decoder.items()) {
        const auto text = token_of(decoder, id.c_str());
        if (!text) continue;
        const auto known = tokenizer.id_of(*text);
        if (!known || std::to_string(*known) != id) return false;
        if (!file.is_object()) continue;
        const auto place = added.find(*text);
        if (place == added.end()) return false;
        for (const char* flag : token_flags)
            if (token.is_object() && token.contains(flag) &&
                flag_of(token, flag) != flag_of(*place->second, flag))
                return false;
    }
    return true;
}

}  // namespace

json parse_saved_json(std::string_view text, const std::string& file) {
    require_shallow(text, file);
    try {
        return json::parse(text);
    } catch (const json::exception& error) {
        // "[json.exception.parse_error.101] parse error at line 3, column 7: …"
        std::string why = error.what();
        why.erase(0, std::min(why.find("] ") + 2, why.size()));
        std::replace(why.begin(), why.end(), '\n', ' ');
        throw Error(ErrorCode::corrupt_data, file + ": " + why);
    }
}

void require_names_once(std::string_view text, const json& value, const std::string& file) {
    // Every name has one colon, and equal names are one entry. Counting is cheap; sets of names are not.
    std::size_t colons = 0;
    each_outside_strings(text, [&](char c, std::size_t) { colons += c == ':' ? 1 : 0; });
    if (colons != num_names(value)) refuse_repeated(text, file);
}

std::string place_in_json(std::string_view text, std::span<const std::string> path) {
    std::size_t value = text.find_first_of("{[");  // Behind a mark of byte order, perhaps.
    std::size_t place = value;
    for (const std::string& wanted : path) {
        const bool is_object = text[value] == '{';
        if (!is_object && text[value] != '[') break;
        std::size_t at = behind_blanks(text, value + 1), found = std::string_view::npos;
        for (std::size_t index = 0; text[at] != '}' && text[at] != ']'; ++index) {
            const std::size_t entry = at;
            std::string name = std::to_string(index);
            if (is_object) {
                const std::size_t end = behind_string(text, at);
                name = json::parse(text.substr(at, end - at)).get<std::string>();
                at = behind_blanks(text, behind_blanks(text, end) + 1);  // The colon.
            }
            if (name == wanted) {
                place = entry;
                found = at;
                break;
            }
            at = behind_blanks(text, behind_value(text, at));
            if (text[at] == ',') at = behind_blanks(text, at + 1);
        }
        if (found == std::string_view::npos) break;
        value = found;
    }
    return line_and_column(text, place);
}

SavedConfig saved_config_of(std::string_view text, std::string_view chat_template) {
    const json config = text.empty() ? json() : parse_saved_json(text, "tokenizer_config.json");
    const auto is_null = [&](const char* name) {
        return config.is_object() && config.contains(name) && config.at(name).is_null();
    };
    SavedConfig saved;
    saved.bos = token_of(config, "bos_token");
    saved.eos = token_of(config, "eos_token");
    saved.pad = token_of(config, "pad_token");
    saved.without_bos = is_null("bos_token");
    saved.without_eos = is_null("eos_token");
    saved.without_pad = is_null("pad_token");
    read_templates(config, saved);
    if (!chat_template.empty()) saved.chat_template = chat_template;
    return saved;
}

std::vector<std::string> ignored_settings(const SavedTexts& saved, const Tokenizer& tokenizer) {
    const auto parsed = [](const std::string& text, const char* name) {
        return text.empty() ? json() : parse_saved_json(text, name);
    };
    const json file = parsed(saved.tokenizer, "tokenizer.json");
    const json config = parsed(saved.config, "tokenizer_config.json");
    const json specials = parsed(saved.specials_map, "special_tokens_map.json");
    std::vector<std::string> ignored;
    for (const char* name : {"truncation", "padding"})
        if (file.is_object() && file.contains(name) && !file.at(name).is_null()) ignored.emplace_back(name);

    const std::vector<std::uint32_t> before = tokenizer.ids_before(), after = tokenizer.ids_after();
    const auto has = [](const std::vector<std::uint32_t>& ids, std::optional<std::uint32_t> id) {
        return id && std::find(ids.begin(), ids.end(), *id) != ids.end();
    };
    const auto wants = [&](const char* name, bool is_so) {
        return config.is_object() && config.contains(name) && config.at(name).is_boolean() &&
               config.at(name).get<bool>() != is_so;
    };
    if (wants("add_bos_token", has(before, tokenizer.bos_id()))) ignored.emplace_back("add_bos_token");
    // Where a post-processor adds nothing, an EOS is the ingest's own.
    const bool is_own = before.empty() && after.size() == 1 &&
                        !flag_of(config.is_object() ? config : json::object(), "add_eos_token");
    if (!is_own && wants("add_eos_token", has(after, tokenizer.eos_id())))
        ignored.emplace_back("add_eos_token");
    if (config.is_object() && config.contains("added_tokens_decoder") &&
        config.at("added_tokens_decoder").is_object() &&
        !are_added(config.at("added_tokens_decoder"), file, tokenizer))
        ignored.emplace_back("added_tokens_decoder");
    for (const auto& [name, id] : {std::pair{"bos_token", tokenizer.bos_id()},
                                   {"eos_token", tokenizer.eos_id()},
                                   {"pad_token", tokenizer.pad_id()}}) {
        const auto text = token_of(specials, name);
        if (text && tokenizer.id_of(*text) != id)
            ignored.push_back(std::string(name) + " of special_tokens_map.json");
    }
    return ignored;
}

}  // namespace lockstep
