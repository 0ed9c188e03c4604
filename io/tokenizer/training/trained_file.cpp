#include "io/tokenizer/training/trained_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/tokenizer/byte_level.h"

namespace lockstep {

namespace {

using json = nlohmann::ordered_json;

json added_token(std::size_t id, const std::string& content) {
    return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
            {"rstrip", false}, {"normalized", false}, {"special", true}};
}

json added_tokens(const std::vector<std::string>& specials, std::size_t first_id) {
    json list = json::array();
    for (std::size_t i = 0; i < specials.size(); ++i) list.push_back(added_token(first_id + i, specials[i]));
    return list;
}

json byte_level(bool use_regex) {
    return {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json pre_tokenizer(const std::string& split) {
    if (split == "gpt2") return byte_level(true);
    const json pattern = {{"type", "Split"},
                          {"pattern", {{"Regex", std::string(named_split_pattern(split))}}},
                          {"behavior", "Isolated"},
                          {"invert", false}};
    return {{"type", "Sequence"}, {"pretokenizers", json::array({pattern, byte_level(false)})}};
}

/// An object's fields appended one by one: its own `operator[]` looks through all that are there.
class Fields {
  public:
    void add(const std::string& key, json value) {
        object_.get_ref<json::object_t&>().push_back({key, std::move(value)});
    }
    json take() { return std::move(object_); }

  private:
    json object_ = json::object();
};

}  // namespace

std::vector<std::string> trained_specials(const TrainingOptions& options) {
    std::vector<std::string> specials;
    if (!options.eos.empty()) specials.push_back(options.eos);
    specials.insert(specials.end(), options.specials.begin(), options.specials.end());
    for (std::size_t i = 0; i < specials.size(); ++i) {
        const std::string& special = specials[i];
        if (special.size() < 2)
            throw Error(ErrorCode::invalid_argument,
                        "special token '" + special + "' is too short to be told from text");
        if (std::find(specials.begin(), specials.begin() + static_cast<std::ptrdiff_t>(i), special) !=
            specials.begin() + static_cast<std::ptrdiff_t>(i))
            throw Error(ErrorCode::invalid_argument, "special token '" + special + "' is given twice");
    }
    return specials;
}

std::string byte_pair_file(const LearnedPairs& learned, const TrainingOptions& options) {
    const std::vector<std::string> specials = trained_specials(options);
    std::vector<std::string> spelled;
    for (const std::string& bytes : learned.symbols) spelled.push_back(mapped_bytes(bytes));
    Fields vocabulary;
    std::size_t id = 0;
    for (const std::string& special : specials) vocabulary.add(special, id++);
    for (const std::string& token : spelled) vocabulary.add(token, id++);
    json merges = json::array();
    for (const LearnedMerge& merge : learned.merges)
        merges.push_back(spelled[merge.left] + " " + spelled[merge.right]);
    const json file = {{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", added_tokens(specials, 0)},
                       {"normalizer", nullptr},
                       {"pre_tokenizer", pre_tokenizer(options.split)},
                       {"post_processor", nullptr},
                       {"decoder", byte_level(true)},
                       {"model",
                        {{"type", "BPE"},
                         {"dropout", nullptr},
                         {"unk_token", nullptr},
                         {"continuing_subword_prefix", nullptr},
                         {"end_of_word_suffix", nullptr},
                         {"fuse_unk", false},
                         {"byte_fallback", false},
                         {"ignore_merges", false},
                         {"vocab", vocabulary.take()},
                         {"merges", std::move(merges)}}}};
    return file.dump(1, ' ') + "\n";
}

std::string unigram_file(const std::vector<ScoredPiece>& pieces, const TrainingOptions& options) {
    std::vector<std::string> specials{pieces.front().piece};
    for (const std::string& special : trained_specials(options)) specials.push_back(special);
    json vocabulary = json::array();
    for (const ScoredPiece& piece : pieces) vocabulary.push_back(json::array({piece.piece, piece.score}));
    const json metaspace = {
        {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "never"}, {"split", true}};
    const json file = {
        {"version", "1.0"},
        {"truncation", nullptr},
        {"padding", nullptr},
        {"added_tokens", added_tokens(specials, 0)},
        {"normalizer", nullptr},
        {"pre_tokenizer", metaspace},
        {"post_processor", nullptr},
        {"decoder",
         {{"type", "Sequence"},
          {"decoders", json::array({{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                                    {{"type", "ByteFallback"}},
                                    {{"type", "Fuse"}}})}}},
        {"model",
         {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", std::move(vocabulary)}, {"byte_fallback", true}}}};
    return file.dump(1, ' ') + "\n";
}

std::string config_file(const TrainingOptions& options, const std::string& unknown) {
    json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
    if (!options.eos.empty()) config["eos_token"] = options.eos;
    if (!unknown.empty()) config["unk_token"] = unknown;
    if (!options.specials.empty()) config["additional_special_tokens"] = options.specials;
    if (!options.chat_template.empty()) config["chat_template"] = options.chat_template;
    return config.dump(1, ' ') + "\n";
}

}  // namespace lockstep
