// Hugging Face's tokenizer.json, and what tokenizer_config.json adds to it.

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "io/base/error.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/description.h"
#include "io/tokenizer/saved_files.h"
#include "io/tokenizer/text_tokenizer.h"
#include "io/tokenizer/tokenizer_files.h"

namespace lockstep {

namespace {

using nlohmann::json;

std::uint32_t id_of(const Component& model, const std::string& token, const json& value) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > 0x7FFFFFFFU)
        model.part("vocab").refuse_entry(
            token, "token '" + token + "' has the id " + value.dump() + ", which is none");
    return value.get<std::uint32_t>();
}

/// BPE and WordPiece: an object of token to id.
std::vector<VocabularyEntry> vocabulary_of(const Component& model) {
    const Component vocabulary = model.part("vocab");
    if (!vocabulary.object.is_object()) vocabulary.refuse("not an object of tokens and ids");
    std::vector<VocabularyEntry> entries;
    entries.reserve(vocabulary.object.size());
    for (const auto& [token, id] : vocabulary.object.items())
        entries.push_back({token, id_of(model, token, id)});
    std::sort(entries.begin(), entries.end(), [](const VocabularyEntry& a, const VocabularyEntry& b) {
        return std::tie(a.id, a.token) < std::tie(b.id, b.token);
    });
    for (std::size_t i = 1; i < entries.size(); ++i) {
        if (entries[i].id == entries[i - 1].id) {
            vocabulary.refuse_entry(entries[i].token, "tokens '" + entries[i - 1].token + "' and '" +
                                                          entries[i].token + "' both have the id " +
                                                          std::to_string(entries[i].id));
        }
    }
    if (!entries.empty() && entries.back().id > 64 * entries.size() + (1U << 20U))
        vocabulary.refuse_entry(entries.back().token, "the id " + std::to_string(entries.back().id) +
                                                          " is far beyond the number of tokens");
    return entries;
}

using IdMap = std::unordered_map<std::string, std::uint32_t>;

IdMap map_of(const std::vector<VocabularyEntry>& vocabulary) {
    IdMap ids;
    ids.reserve(vocabulary.size());
    for (const VocabularyEntry& entry : vocabulary) ids[entry.token] = entry.id;
    return ids;
}

/// "a b" or ["a", "b"].
std::pair<std::string, std::string> merge_pair(const Component& model, const json& merge, std::size_t index) {
    const auto refuse = [&](const std::string& why) { model.part("merges", index).refuse(why); };
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
        return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    if (!merge.is_string()) refuse("neither \"a b\" nor [\"a\", \"b\"]");
    const auto text = merge.get<std::string>();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
        refuse("'" + text + "' is not two tokens with one space between them");
    return {text.substr(0, space), text.substr(space + 1)};
}

std::vector<MergeRule> rules_of(const Component& model, const IdMap& ids, std::size_t prefix_bytes) {
    const json& merges = model.array("merges");
    std::vector<MergeRule> rules;
    rules.reserve(merges.size());
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < merges.size(); ++i) {
        if (merges[i].is_string() && merges[i].get_ref<const std::string&>().starts_with("#version"))
            continue;
        const auto [left, right] = merge_pair(model, merges[i], i);
        if (left.empty() || right.size() <= prefix_bytes)
            model.part("merges", i)
                .refuse("merges '" + left + "' and '" + right + "', of which one is empty" +
                        (prefix_bytes == 0 ? "" : " (the second without its continuing_subword_prefix)") +
                        "; a merge is of two tokens with text");
        const auto id = [&](const std::string& token) {
            const auto place = ids.find(token);
            if (place == ids.end())
                model.part("merges", i)
                    .refuse("needs the token '" + token + "', which is not in the vocabulary");
            return place->second;
        };
        rules.push_back(
            {id(left), id(right), rank++, id(left + right.substr(std::min(prefix_bytes, right.size())))});
    }
    return rules;
}

/// No token may be made of itself. Only what is cut off continuing tokens can bring that about: without a
/// prefix every merge makes a longer token than those it is made of.
void refuse_cycles(const Component& model, const std::vector<MergeRule>& rules,
                   const std::vector<VocabularyEntry>& vocabulary) {
    std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> made_with;
    std::unordered_map<std::uint32_t, std::size_t> open;  // Parts whose own making is not settled yet.
    for (const MergeRule& rule : rules) {
        for (const std::uint32_t part : {rule.left, rule.right}) made_with[part].push_back(rule.result);
        open[rule.result] += 2;
    }
    std::vector<std::uint32_t> settled;
    for (const auto& [part, results] : made_with)
        if (!open.contains(part)) settled.push_back(part);
    while (!settled.empty()) {
        const std::uint32_t part = settled.back();
        settled.pop_back();
        const auto uses = made_with.find(part);
        if (uses == made_with.end()) continue;
        for (const std::uint32_t result : uses->second)
            if (--open[result] == 0) settled.push_back(result);
    }
    std::erase_if(open, [](const auto& entry) { return entry.second == 0; });
    if (open.empty()) return;
    // From any of those that are left, parts that are left lead into a circle.
    std::unordered_map<std::uint32_t, std::uint32_t> part_of;
    for (const MergeRule& rule : rules) {
        for (const std::uint32_t part : {rule.left, rule.right})
            if (open.contains(rule.result) && open.contains(part)) part_of[rule.result] = part;
    }
    const auto first =
        std::find_if(rules.begin(), rules.end(), [&](const MergeRule& r) { return open.contains(r.result); });
    std::uint32_t token = first->result;
    for (std::size_t step = 0; step < open.size(); ++step) token = part_of.at(token);
    const auto text = [&](std::uint32_t id) {
        const auto entry = std::find_if(vocabulary.begin(), vocabulary.end(),
                                        [&](const VocabularyEntry& e) { return e.id == id; });
        return "'" + entry->token + "'";
    };
    const std::uint32_t part = part_of.at(token);
    model.refuse("merges: the token " + text(token) + " is made of itself" +
                 (part == token ? "" : ", by way of " + text(part)));
}

std::unique_ptr<TokenModel> byte_pair_model(const Component& model, std::vector<VocabularyEntry> vocabulary,
                                            bool bytes) {
    if (model.has("dropout") && model.object.at("dropout") != 0)
        model.refuse("dropout is not supported: ids would be random");
    const IdMap ids = map_of(vocabulary);
    BytePairOptions options;
    options.bytes = bytes;
    options.ignore_merges = model.flag_or("ignore_merges", false);
    options.byte_fallback = model.flag_or("byte_fallback", false);
    options.fuse_unknown = model.flag_or("fuse_unk", false);
    options.continuing_prefix = model.text_or("continuing_subword_prefix", "");
    options.end_suffix = model.text_or("end_of_word_suffix", "");
    // The reference spells prefix and suffix in bytes too and loses the offsets of what follows.
    if (options.byte_fallback && !(options.continuing_prefix.empty() && options.end_suffix.empty()))
        throw ComponentError(
            ErrorCode::invalid_argument,
            "model: byte_fallback with continuing_subword_prefix or end_of_word_suffix is not "
            "supported",
            model.path);
    if (model.has("unk_token")) {
        const auto place = ids.find(model.text("unk_token"));
        if (place != ids.end()) options.unknown_id = place->second;
    }
    std::vector<MergeRule> rules = rules_of(model, ids, options.continuing_prefix.size());
    if (!options.continuing_prefix.empty()) refuse_cycles(model, rules, vocabulary);
    if (bytes) {
        // CLIP marks the ends of words on top of byte level: its pieces stay mapped characters.
        const bool marked = !options.continuing_prefix.empty() || !options.end_suffix.empty();
        options.bytes = !marked;
        if (!marked) {
            std::erase_if(vocabulary, [](VocabularyEntry& entry) {
                auto raw = unmapped_bytes(entry.token);
                if (raw) entry.token = std::move(*raw);
                return !raw;
            });
        }
    }
    return make_byte_pair_model(vocabulary, std::move(rules), std::move(options));
}

std::unique_ptr<TokenModel> word_piece_model(const Component& model,
                                             const std::vector<VocabularyEntry>& vocabulary) {
    const IdMap ids = map_of(vocabulary);
    const std::string unknown = model.text_or("unk_token", "[UNK]");
    const auto place = ids.find(unknown);
    if (place == ids.end()) model.refuse("unk_token '" + unknown + "' is not in the vocabulary");
    WordPieceOptions options;
    options.unknown_id = place->second;
    options.continuing_prefix = model.text_or("continuing_subword_prefix", "##");
    options.word_characters_max = model.number_or("max_input_chars_per_word", 100);
    return make_word_piece_model(vocabulary, std::move(options));
}

std::unique_ptr<TokenModel> unigram_model(const Component& model, std::vector<VocabularyEntry>& vocabulary) {
    const json& list = model.array("vocab");
    std::vector<UnigramPiece> pieces;
    for (const json& item : list) {
        if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number())
            model.refuse("vocab[" + std::to_string(pieces.size()) + "] is not [piece, score]");
        vocabulary.push_back({item[0].get<std::string>(), static_cast<std::uint32_t>(pieces.size())});
        pieces.push_back({item[0].get<std::string>(), item[1].get<double>()});
    }
    std::optional<std::uint32_t> unknown;
    if (model.has("unk_id")) {
        const std::uint64_t id = model.number_or("unk_id", 0);
        if (id >= pieces.size()) model.refuse("unk_id " + std::to_string(id) + " is beyond the vocabulary");
        unknown = static_cast<std::uint32_t>(id);
    }
    if (pieces.empty()) model.refuse("the vocabulary is empty");
    return make_unigram_model(std::move(pieces), unknown, model.flag_or("byte_fallback", false));
}

/// What the file says the ids of its added tokens are; the reference only warns if it gives others, but an id
/// of two tokens is a broken file.
void require_own_ids(const Component& root, const IdMap& vocabulary) {
    std::unordered_map<std::uint64_t, std::string> claimed;
    for (std::size_t i = 0; i < root.array("added_tokens").size(); ++i) {
        const Component item = root.part("added_tokens", i);
        const std::uint64_t id = item.number_or("id", 0);
        const std::string content = item.text("content");
        if (content.empty()) continue;  // The reference takes no notice of it.
        const auto [place, is_new] = claimed.emplace(id, content);
        if (!is_new && place->second != content)
            item.refuse("'" + content + "' has the id " + std::to_string(id) + ", as '" + place->second +
                        "' has; give it one of its own");
    }
    const std::string* first = nullptr;
    for (const auto& [token, id] : vocabulary) {
        const auto place = claimed.find(id);
        if (place == claimed.end() || place->second == token) continue;
        if (first == nullptr || vocabulary.at(*first) > id) first = &token;
    }
    if (first == nullptr) return;
    const std::uint32_t id = vocabulary.at(*first);
    root.part("added_tokens")
        .refuse("'" + claimed[id] + "' has the id " + std::to_string(id) + ", which is that of '" + *first +
                "' in the vocabulary; give it one of its own");
}

/// Ids as the reference gives them: a token of the vocabulary keeps its id; others follow the largest one.
std::vector<AddedToken> added_tokens_of(const json& file, const IdMap& vocabulary) {
    std::vector<AddedToken> tokens;
    if (!file.contains("added_tokens") || file["added_tokens"].is_null()) return tokens;
    const Component root{file, ""};
    std::optional<std::uint32_t> largest;
    std::unordered_map<std::string, std::size_t> places;
    for (std::size_t i = 0; i < root.array("added_tokens").size(); ++i) {
        const Component item = root.part("added_tokens", i);
        if (!item.object.is_object()) item.refuse("not an object");
        AddedToken token;
        token.content = item.text("content");
        if (!item.object.contains("id") || !item.object.at("id").is_number_unsigned())
            item.refuse("needs an id, a number of 0 or more");
        if (token.content.empty()) continue;
        token.special = item.flag_or("special", false);
        token.normalized = item.flag_or("normalized", !token.special);
        token.single_word = item.flag_or("single_word", false);
        token.strip_left = item.flag_or("lstrip", false);
        token.strip_right = item.flag_or("rstrip", false);
        const auto again = places.find(token.content);
        const auto known = vocabulary.find(token.content);
        const auto size = static_cast<std::uint32_t>(vocabulary.size());
        if (again != places.end()) {
            token.id = tokens[again->second].id;
            tokens[again->second] = token;
            continue;
        }
        token.id = known != vocabulary.end()     ? known->second
                   : largest && *largest >= size ? *largest + 1
                                                 : size;
        largest = std::max(largest.value_or(0), token.id);
        places[token.content] = tokens.size();
        tokens.push_back(std::move(token));
    }
    require_own_ids(root, vocabulary);
    return tokens;
}

/// What stands before and after the text of one sequence.
class Surroundings {
  public:
    void read(const Component& post) {
        const std::string type = post.type();
        if (type == "Sequence") {
            for (std::size_t i = 0; i < post.array("processors").size(); ++i)
                read(post.part("processors", i));
        } else if (type == "TemplateProcessing") {
            read_template(post);
        } else if (type == "BertProcessing" || type == "RobertaProcessing") {
            before.push_back(pair_id(post, "cls"));
            after.push_back(pair_id(post, "sep"));
        } else if (type != "ByteLevel") {
            post.refuse_type();
        }
        if ((type == "RobertaProcessing" || type == "ByteLevel") && post.flag_or("trim_offsets", true))
            trimmings.push_back({post.flag_or("add_prefix_space", true)});
    }

    std::vector<std::uint32_t> before, after;
    std::vector<OffsetTrimming> trimmings;

  private:
    std::uint32_t pair_id(const Component& post, const char* name) const {
        const json& pair = post.array(name);
        if (pair.size() != 2 || !pair[1].is_number_unsigned())
            post.refuse(std::string("'") + name + "' is not [token, id]");
        return checked(post, pair[1].get<std::uint64_t>());
    }

    static std::uint32_t checked(const Component& post, std::uint64_t id) {
        if (id > 0x7FFFFFFFU) post.refuse("special token id " + std::to_string(id) + " is none");
        return static_cast<std::uint32_t>(id);
    }

    void read_template(const Component& post) {
        bool seen = false;
        for (std::size_t i = 0; i < post.array("single").size(); ++i) {
            const Component item = post.part("single", i);
            if (item.object.contains("Sequence")) {
                if (seen) item.refuse("a template with the text twice is not supported");
                seen = true;
            } else if (item.object.contains("SpecialToken")) {
                const std::string name = item.part("SpecialToken").text("id");
                const Component special = post.part("special_tokens");
                if (!special.object.contains(name))
                    item.refuse("special token '" + name + "' is not defined");
                const Component definition = special.part(name.c_str());
                for (const json& id : definition.array("ids")) {
                    if (!id.is_number_unsigned()) definition.refuse("an id is not a number");
                    (seen ? after : before).push_back(checked(definition, id.get<std::uint64_t>()));
                }
            } else {
                item.refuse("neither Sequence nor SpecialToken");
            }
        }
    }
};

/// The first of the names that is a token.
std::optional<std::uint32_t> first_named(const IdMap& ids, std::initializer_list<const char*> names) {
    for (const char* name : names) {
        const auto place = ids.find(name);
        if (place != ids.end()) return place->second;
    }
    return std::nullopt;
}

std::optional<std::uint32_t> configured(const std::optional<std::string>& token, const IdMap& ids) {
    const auto place = token ? ids.find(*token) : ids.end();
    return place == ids.end() ? std::nullopt : std::optional(place->second);
}

void find_specials(TokenizerParts& parts, const IdMap& vocabulary, const SavedConfig& config) {
    IdMap ids = vocabulary;
    for (const AddedToken& token : parts.added) ids[token.content] = token.id;
    parts.bos = configured(config.bos, ids);
    parts.eos = configured(config.eos, ids);
    parts.pad = configured(config.pad, ids);
    if (!parts.bos && !parts.before.empty()) parts.bos = parts.before.back();
    if (!parts.eos && !parts.after.empty()) parts.eos = parts.after.front();
    // By name only what the file calls special: a vocabulary may have learned "<s>" from its texts.
    IdMap specials;
    for (const AddedToken& token : parts.added)
        if (token.special) specials[token.content] = token.id;
    if (!parts.bos && !config.without_bos)
        parts.bos = first_named(specials, {"<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "[CLS]"});
    if (!parts.eos && !config.without_eos) {
        parts.eos = first_named(specials,
                                {"<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]"});
    }
    if (!parts.pad && !config.without_pad) parts.pad = first_named(specials, {"<pad>", "[PAD]", "<|pad|>"});
}

std::string model_type(const Component& model) {
    if (model.has("type")) return model.text("type");
    // Older files do not say.
    if (model.has("merges")) return "BPE";
    if (model.has("unk_id")) return "Unigram";
    if (model.has("continuing_subword_prefix") && model.has("max_input_chars_per_word")) return "WordPiece";
    if (!model.has("vocab")) model.refuse("has neither a type nor a vocab");
    throw ComponentError(
        ErrorCode::invalid_argument,
        "model: names no type, and by its fields it is none of BPE (merges), Unigram (unk_id) "
        "and WordPiece (continuing_subword_prefix, max_input_chars_per_word); WordLevel is "
        "not supported",
        model.path);
}

/// Fields that are null or missing mean the same.
json without_nulls(const json& value) {
    if (value.is_array()) {
        json out = json::array();
        for (const json& item : value) out.push_back(without_nulls(item));
        return out;
    }
    if (!value.is_object()) return value;
    json out = json::object();
    for (const auto& [key, item] : value.items())
        if (!item.is_null()) out[key] = without_nulls(item);
    return out;
}

/// A normalizer or pre_tokenizer that puts nothing in front of a text and takes nothing away there.
json without_prefix(json component) {
    if (!component.is_object()) return component;
    const json type = component.value("type", json());
    if (type == "Prepend") return nullptr;
    if (type == "Strip") component["strip_left"] = false;
    if (type == "ByteLevel") component["add_prefix_space"] = false;
    if (type == "Metaspace") {
        component.erase("add_prefix_space");
        component["prepend_scheme"] = "never";
    }
    for (const char* list : {"normalizers", "pretokenizers"}) {
        if (!component.contains(list) || !component[list].is_array()) continue;
        json parts = json::array();
        for (const json& part : component[list]) {
            const json left = without_prefix(part);
            if (!left.is_null()) parts.push_back(left);
        }
        component[list] = parts;
    }
    return component;
}

TextPipeline pipeline_of(const Component& root) {
    TextPipeline pipeline;
    if (root.has("normalizer")) pipeline.normalizer = make_normalizer(root.part("normalizer"));
    std::optional<Component> pre;
    if (root.has("pre_tokenizer")) pre.emplace(root.part("pre_tokenizer"));
    pipeline.pre_tokenizer = plan_pre_tokenizer(pre ? &*pre : nullptr);
    return pipeline;
}

TokenizerParts parts_of(const json& file, const SavedConfig& config) {
    const Component root{file, ""};
    if (!file.is_object()) throw Error(ErrorCode::corrupt_data, "tokenizer.json: not an object");
    if (root.has("version") && root.text_or("version", "") != "1.0")
        throw Error(ErrorCode::incompatible_version,
                    "tokenizer.json: version '" + root.text("version") + "'; this build reads 1.0");

    TokenizerParts parts;
    parts.name = "tokenizer.json";
    parts.pipeline = pipeline_of(root);
    std::optional<Component> decoder;
    if (root.has("decoder")) decoder.emplace(root.part("decoder"));
    parts.decoder = make_decoder(decoder ? &*decoder : nullptr);

    const Component model = root.part("model");
    if (!model.object.is_object()) model.refuse("not an object");
    const std::string type = model_type(model);
    if (type == "BPE") {
        parts.vocabulary = vocabulary_of(model);
        parts.model = byte_pair_model(model, parts.vocabulary, parts.pipeline.pre_tokenizer.byte_level);
    } else if (type == "WordPiece") {
        parts.vocabulary = vocabulary_of(model);
        parts.model = word_piece_model(model, parts.vocabulary);
    } else if (type == "Unigram") {
        parts.model = unigram_model(model, parts.vocabulary);
        if (model.has("unk_id"))
            parts.unknown_as_text = static_cast<std::uint32_t>(model.number_or("unk_id", 0));
    } else {
        model.refuse_type();
    }
    // Models over characters see byte-level pieces as the file does: mapped.
    const bool marked = type == "BPE" && !(model.text_or("continuing_subword_prefix", "").empty() &&
                                           model.text_or("end_of_word_suffix", "").empty());
    PreTokenizerPlan& plan = parts.pipeline.pre_tokenizer;
    plan.model_maps = plan.model_maps || (plan.byte_level && (type != "BPE" || marked));
    const json continuing{{"normalizer", without_prefix(file.value("normalizer", json()))},
                          {"pre_tokenizer", without_prefix(file.value("pre_tokenizer", json()))}};
    if (continuing["normalizer"] != file.value("normalizer", json()) ||
        continuing["pre_tokenizer"] != file.value("pre_tokenizer", json())) {
        parts.continuing = pipeline_of(Component{continuing, ""});
        parts.continuing->pre_tokenizer.model_maps = plan.model_maps;
    }

    const IdMap vocabulary = map_of(parts.vocabulary);
    parts.added = added_tokens_of(file, vocabulary);
    if (root.has("post_processor")) {
        Surroundings around;
        around.read(root.part("post_processor"));
        parts.before = std::move(around.before);
        parts.after = std::move(around.after);
        parts.trimmings = std::move(around.trimmings);
    }
    find_specials(parts, vocabulary, config);
    parts.chat_template = config.chat_template;
    parts.named_templates = config.named_templates;
    const auto canonical = [&](const char* name) {
        return root.has(name) ? without_nulls(file.at(name)).dump() : std::string("null");
    };
    parts.components = canonical("normalizer") + "\n" + canonical("pre_tokenizer");
    return parts;
}

}  // namespace

std::unique_ptr<Tokenizer> make_json_tokenizer(std::string_view text, std::string_view config_text,
                                               std::string_view chat_template, const SpecialsPolicy& policy) {
    const json file = parse_saved_json(text, "tokenizer.json");
    require_names_once(text, file, "tokenizer.json");
    try {
        TokenizerParts parts = parts_of(file, saved_config_of(config_text, chat_template));
        parts.policy = policy;
        parts.description = {{"type", "tokenizer.json"},
                             {"file", std::string(text)},
                             {"config", std::string(config_text)},
                             {"chat_template", std::string(chat_template)}};
        return make_text_tokenizer(std::move(parts));
    } catch (const ComponentError& error) {
        throw Error(error.code(),
                    "tokenizer.json: " + place_in_json(text, error.path()) + ": " + error.what());
    }
}

}  // namespace lockstep
