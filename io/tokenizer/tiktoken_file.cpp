// OpenAI's rank files: "base64 rank" lines. Pattern and specials are not in them; they are known by the
// ranks' digest or by name.

#include <algorithm>
#include <array>
#include <charconv>

#include "io/base/error.h"
#include "io/base/fingerprint.h"
#include "io/tokenizer/base64.h"
#include "io/tokenizer/text_tokenizer.h"
#include "io/tokenizer/tokenizer_files.h"

namespace lockstep {

namespace {

struct Special {
    std::string text;
    std::uint32_t id;
};

struct Encoding {
    std::string_view name, pattern, ranks_sha256;
    std::vector<Special> specials;
};

/// As gpt-oss has them: what o200k leaves free up to 201,088 is reserved, and 200018 has two names, of which
/// the last is shown.
std::vector<Special> harmony_specials() {
    std::vector<Special> specials{
        {"<|startoftext|>", 199998}, {"<|endoftext|>", 199999}, {"<|return|>", 200002},
        {"<|constrain|>", 200003},   {"<|channel|>", 200005},   {"<|start|>", 200006},
        {"<|end|>", 200007},         {"<|message|>", 200008},   {"<|call|>", 200012}};
    const auto reserve = [&](std::uint32_t id) {
        specials.push_back({"<|reserved_" + std::to_string(id) + "|>", id});
    };
    for (const std::uint32_t id : {200000U, 200001U, 200004U, 200009U, 200010U, 200011U}) reserve(id);
    for (std::uint32_t id = 200013; id < 201088; ++id) reserve(id);
    specials.push_back({"<|endofprompt|>", 200018});
    return specials;
}

const std::vector<Encoding>& encodings() {
    constexpr std::string_view r50k = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
                               p50k = "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
                               cl100k = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
                               o200k = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d";
    // The first of equal digests is meant where only the ranks are given.
    static const std::vector<Encoding> all{
        {"r50k_base", split_pattern::gpt2, r50k, {{"<|endoftext|>", 50256}}},
        {"gpt2", split_pattern::gpt2, r50k, {{"<|endoftext|>", 50256}}},
        {"p50k_base", split_pattern::gpt2, p50k, {{"<|endoftext|>", 50256}}},
        {"p50k_edit",
         split_pattern::gpt2,
         p50k,
         {{"<|endoftext|>", 50256},
          {"<|fim_prefix|>", 50281},
          {"<|fim_middle|>", 50282},
          {"<|fim_suffix|>", 50283}}},
        {"cl100k_base",
         split_pattern::cl100k,
         cl100k,
         {{"<|endoftext|>", 100257},
          {"<|fim_prefix|>", 100258},
          {"<|fim_middle|>", 100259},
          {"<|fim_suffix|>", 100260},
          {"<|endofprompt|>", 100276}}},
        {"o200k_base", split_pattern::o200k, o200k, {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}},
        {"o200k_harmony", split_pattern::o200k, o200k, harmony_specials()},
    };
    return all;
}

std::string known_names() {
    std::string names;
    for (const Encoding& encoding : encodings())
        names += (names.empty() ? "" : ", ") + std::string(encoding.name);
    return names;
}

[[noreturn]] void refuse(std::size_t line, const std::string& why) {
    throw Error(ErrorCode::corrupt_data, "tiktoken ranks: line " + std::to_string(line) + ": " + why);
}

std::vector<VocabularyEntry> read_ranks(std::string_view text) {
    std::vector<VocabularyEntry> entries;
    std::size_t line_number = 0;
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = text.find('\n', at);
        if (end == std::string_view::npos) end = text.size();
        std::string_view line = text.substr(at, end - at);
        at = end + 1;
        ++line_number;
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty()) continue;
        const std::size_t space = line.find(' ');
        if (space == std::string_view::npos)
            refuse(line_number, "expected a base64 token, a space and a rank");
        auto token = base64_decoded(line.substr(0, space));
        if (!token || token->empty()) refuse(line_number, "the token is not base64");
        std::uint32_t rank = 0;
        const char* last = line.data() + line.size();
        const auto [stop, error] = std::from_chars(line.data() + space + 1, last, rank);
        if (error != std::errc{} || stop != last || rank > 0x7FFFFFFFU)
            refuse(line_number, "the rank is no number");
        entries.push_back({std::move(*token), rank});
    }
    if (entries.empty()) throw Error(ErrorCode::corrupt_data, "tiktoken ranks: the file is empty");
    return entries;
}

void require_unique(std::vector<VocabularyEntry>& entries) {
    std::sort(entries.begin(), entries.end(),
              [](const VocabularyEntry& a, const VocabularyEntry& b) { return a.token < b.token; });
    for (std::size_t i = 1; i < entries.size(); ++i) {
        if (entries[i].token == entries[i - 1].token)
            throw Error(ErrorCode::corrupt_data, "tiktoken ranks: ranks " +
                                                     std::to_string(entries[i - 1].id) + " and " +
                                                     std::to_string(entries[i].id) + " are the same token");
    }
    std::sort(entries.begin(), entries.end(),
              [](const VocabularyEntry& a, const VocabularyEntry& b) { return a.id < b.id; });
    for (std::size_t i = 1; i < entries.size(); ++i) {
        if (entries[i].id == entries[i - 1].id)
            throw Error(ErrorCode::corrupt_data,
                        "tiktoken ranks: rank " + std::to_string(entries[i].id) + " is there twice");
    }
    if (entries.back().id > 64 * entries.size() + (1U << 20U))
        throw Error(ErrorCode::corrupt_data, "tiktoken ranks: rank " + std::to_string(entries.back().id) +
                                                 " is far beyond the number of tokens");
    std::array<bool, 256> bytes{};
    for (const VocabularyEntry& entry : entries)
        if (entry.token.size() == 1) bytes[static_cast<unsigned char>(entry.token[0])] = true;
    for (std::size_t b = 0; b < 256; ++b) {
        if (!bytes[b])
            throw Error(ErrorCode::corrupt_data, "tiktoken ranks: no token for the byte " +
                                                     std::to_string(b) +
                                                     "; such texts could not be tokenized");
    }
}

const Encoding& encoding_of(std::string_view ranks, std::string_view name) {
    const std::string digest = sha256(std::as_bytes(std::span(ranks))).hex();
    for (const Encoding& encoding : encodings()) {
        if (name.empty() ? encoding.ranks_sha256 == digest : encoding.name == name) return encoding;
    }
    if (name.empty()) {
        throw Error(ErrorCode::invalid_argument,
                    "these tiktoken ranks (SHA-256 " + digest.substr(0, 12) +
                        "…) are not known, and their pattern is not in the file; pass --pattern NAME (" +
                        known_names() + ")");
    }
    throw Error(ErrorCode::invalid_argument,
                "--pattern '" + std::string(name) + "' is unknown; expected one of " + known_names());
}

}  // namespace

std::unique_ptr<Tokenizer> make_openai_tokenizer(std::string_view ranks, std::string_view name,
                                                 const SpecialsPolicy& policy) {
    const std::string expected(encoding_of(ranks, name).ranks_sha256);
    const std::string digest = sha256(std::as_bytes(std::span(ranks))).hex();
    if (digest != expected) {
        throw Error(ErrorCode::corrupt_data, "these are not the ranks of " + std::string(name) +
                                                 " that OpenAI published: SHA-256 " + digest.substr(0, 12) +
                                                 "…, expected " + expected.substr(0, 12) +
                                                 "…; get the file again, or pass its path if it is meant");
    }
    return make_tiktoken_tokenizer(ranks, name, policy);
}

std::unique_ptr<Tokenizer> make_tiktoken_tokenizer(std::string_view ranks, std::string_view name,
                                                   const SpecialsPolicy& policy) {
    const Encoding& encoding = encoding_of(ranks, name);
    TokenizerParts parts;
    parts.vocabulary = read_ranks(ranks);
    require_unique(parts.vocabulary);
    parts.name = encoding.name;
    parts.policy = policy;
    parts.raw_tokens = true;
    parts.pipeline.pre_tokenizer.byte_level = true;
    parts.pipeline.pre_tokenizer.splitter = make_splitter(encoding.pattern);
    BytePairOptions options;
    options.bytes = true;
    options.ignore_merges = true;
    parts.model = make_byte_pair_model(parts.vocabulary, rules_of_ranks(parts.vocabulary), options);
    const bool known = sha256(std::as_bytes(std::span(ranks))).hex() == encoding.ranks_sha256;
    if (known) {
        for (const Special& special : encoding.specials)
            parts.added.push_back({special.text, special.id, true});
        parts.eos = 50256;
        for (const Special& special : encoding.specials)
            if (special.text == "<|endoftext|>") parts.eos = special.id;
    } else {
        // Somebody's own ranks: the only special is the end of text, behind the last rank.
        parts.eos = parts.vocabulary.back().id + 1;
        parts.added.push_back({"<|endoftext|>", *parts.eos, true});
    }
    parts.components = "tiktoken\n" + std::string(encoding.pattern);
    parts.description = {{"type", "tiktoken"}, {"encoding", encoding.name}, {"ranks", std::string(ranks)}};
    return make_text_tokenizer(std::move(parts));
}

}  // namespace lockstep
