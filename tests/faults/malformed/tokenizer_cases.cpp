#include <nlohmann/json.hpp>

#include "io/tokenizer/base64.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/tokenizer_files.h"
#include "tests/faults/malformed/malformed_case.h"

namespace lockstep {

namespace {

using nlohmann::json;

json sound_file() {
    json vocabulary = json::object();
    for (unsigned b = 0; b < 256; ++b) vocabulary[mapped_bytes(std::string(1, static_cast<char>(b)))] = b;
    vocabulary["he"] = 256;
    return {{"version", "1.0"},
            {"added_tokens",
             {{{"id", 257}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", false}}}},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"post_processor", nullptr},
            {"decoder", {{"type", "ByteLevel"}}},
            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"h e"}}}}};
}

/// A Sequence in a Sequence in a Sequence …
std::string nested_sequences(const std::string& list, std::size_t levels) {
    std::string text;
    for (std::size_t i = 0; i < levels; ++i) text += R"({"type":"Sequence",")" + list + R"(":[)";
    for (std::size_t i = 0; i < levels; ++i) text += "]}";
    return text;
}

/// sound_file() with one of its parts as written.
std::string with_part(const std::string& part, const std::string& written) {
    json file = sound_file();
    file[part] = "HERE";
    std::string text = file.dump();
    return text.replace(text.find("\"HERE\""), 6, written);
}

/// Two codes: 2 for what is not supported, 65 for what is not a tokenizer.
void add_json(MalformedCases& cases) {
    const auto add_text = [&](const std::string& what, const std::string& text, int code,
                              const std::string& noun) {
        cases.push_back(
            {"tokenizer.json/" + what, code, {noun}, [text] { make_json_tokenizer(text, "", "", {}); }});
    };
    const auto add = [&](const std::string& what, const std::string& place, const json& value, int code,
                         const std::string& noun) {
        json file = sound_file();
        file[json::json_pointer(place)] = value;
        add_text(what, file.dump(), code, noun);
    };
    const std::string text = sound_file().dump(1);
    for (const std::size_t part : {0U, 1U, 2U, 5U, 8U, 9U})
        add_text("cut to " + std::to_string(part) + " tenths", text.substr(0, text.size() * part / 10), 65,
                 "");
    for (const char* whole : {"[]", "null", "7", "\"text\"", "{}"})
        add_text(std::string("all of it ") + whole, whole, 65, "");
    for (const char* place : {"/normalizer", "/pre_tokenizer", "/post_processor", "/decoder", "/model"}) {
        const std::string name = std::string(place).substr(1);
        add(name + " of an unknown type", place, {{"type", "Bogus"}}, 2, "Bogus");
        add(name + " without a type", place, {{"kind", "x"}}, 65, name);
        add(name + " is a number", place, 7, 65, name);
        add(name + " is a list", place, json::array({1}), 65, name);
        add(name + " has a type that is a number", place, {{"type", 7}}, 65, name);
    }
    add("vocab is a number", "/model/vocab", 7, 65, "vocab");
    add("vocab is empty", "/model/vocab", json::object(), 65, "");
    add("an id in quotes", "/model/vocab/he", "256", 65, "he");
    add("a negative id", "/model/vocab/he", -1, 65, "he");
    add("an id twice", "/model/vocab/he", 5, 65, "");
    add("an id far away", "/model/vocab/he", 4000000000U, 65, "");
    add("merges is a number", "/model/merges", 7, 65, "merges");
    add("a merge of one", "/model/merges/0", "he", 65, "merges[0]");
    add("a merge of three", "/model/merges/0", "h e l", 65, "merges[0]");
    add("a merge of unknown tokens", "/model/merges/0", "q q", 65, "merges[0]");
    add("a merge that is a number", "/model/merges/0", 7, 65, "merges[0]");
    add("a merge with nothing", "/model/merges/0", "h ", 65, "merges[0]");
    add("a merge of nothing", "/model/merges/0", json::array({"", "he"}), 65, "merges[0]");
    // Characters behind the first of a word are spelled with a prefix, which merging cuts off again.
    const auto add_prefixed = [&](const std::string& what, const json& merges, const std::string& noun) {
        json file = sound_file();
        file["pre_tokenizer"] = nullptr;
        file["model"]["continuing_subword_prefix"] = "##";
        for (const char* token : {"##", "###", "####"})
            file["model"]["vocab"][token] = file["model"]["vocab"].size();
        file["added_tokens"] = json::array();
        file["model"]["merges"] = merges;
        add_text(what, file.dump(), 65, noun);
    };
    add_prefixed("a merge with the prefix alone", {"h ##"}, "merges[0]");
    add_prefixed("a token made of itself", {"# ###", "## ###"}, "'###' is made of itself");
    add_prefixed("two tokens made of each other", {"# ####", "### ###"}, "made of itself, by way of");
    for (const auto& [part, list] : {std::pair{"normalizer", "normalizers"},
                                     {"pre_tokenizer", "pretokenizers"},
                                     {"post_processor", "processors"},
                                     {"decoder", "decoders"}}) {
        for (const std::size_t levels : {100U, 100'000U})
            add_text(std::string(part) + " of " + std::to_string(levels) + " sequences",
                     with_part(part, nested_sequences(list, levels)), 65, "nested");
    }
    add_text("lists nested without end", std::string(100'000, '['), 65, "nested");
    const auto add_replaced = [&](const std::string& what, const std::string& from, const std::string& to,
                                  const std::string& noun) {
        std::string compact = sound_file().dump();
        add_text(what, compact.replace(compact.find(from), from.size(), to), 65, noun);
    };
    add_replaced("a token twice", R"("he":256)", R"("he":256,"he":257)", "model.vocab: 'he' stands twice");
    add_replaced("a part twice", R"("normalizer":null)", R"("normalizer":null,"normalizer":null)",
                 "'normalizer' stands twice");
    add("an added token with an id of the vocabulary", "/added_tokens/0/id", 256, 65, "'he'");
    add("two added tokens with one id", "/added_tokens",
        {{{"id", 257}, {"content", "<a>"}}, {{"id", 257}, {"content", "<b>"}}}, 65, "added_tokens[1]");
    add("added tokens are a number", "/added_tokens", 7, 65, "added_tokens");
    add("an added token is a text", "/added_tokens/0", "x", 65, "added_tokens");
    add("an added token without content", "/added_tokens/0", {{"id", 257}}, 65, "added_tokens");
    add("an added token without an id", "/added_tokens/0", {{"content", "x"}}, 65, "added_tokens");
    add("an added token with a negative id", "/added_tokens/0/id", -1, 65, "added_tokens");
    add("a pattern that does not compile", "/pre_tokenizer",
        {{"type", "Split"}, {"pattern", {{"Regex", "(((("}}}, {"behavior", "Isolated"}, {"invert", false}},
        65, "((((");
}

std::string ranks() {
    std::string text;
    for (unsigned b = 0; b < 256; ++b)
        text += base64_encoded(std::string(1, static_cast<char>(b))) + " " + std::to_string(b) + "\n";
    return text;
}

void add_tiktoken(MalformedCases& cases) {
    const auto add = [&](const std::string& what, const std::string& text, const std::string& noun) {
        cases.push_back({"tiktoken/" + what, 65, {"tiktoken", noun}, [text] {
                             make_tiktoken_tokenizer(text, "cl100k_base", {});
                         }});
    };
    add("empty", "", "empty");
    add("blank lines", "\n\n\n", "empty");
    add("a line without a rank", ranks() + "aGU=\n", "line 257");
    add("a rank in words", ranks() + "aGU= two\n", "line 257");
    add("a negative rank", ranks() + "aGU= -1\n", "line 257");
    add("a rank beyond 2^31", ranks() + "aGU= 4294967295\n", "line 257");
    add("words after the rank", ranks() + "aGU= 256 x\n", "line 257");
    add("no base64", ranks() + "*** 256\n", "line 257");
    add("base64 cut short", ranks() + "aGU 256\n", "");
    add("an empty token", ranks() + " 256\n", "line 257");
    add("a rank twice", ranks() + "aGU= 255\n", "255");
    add("a token twice", ranks() + "AA== 256\n", "same token");
    add("a rank far away", ranks() + "aGU= 2000000000\n", "2000000000");
    add("a byte missing", ranks().substr(ranks().find('\n') + 1), "byte 0");
    cases.push_back({"tiktoken/a pattern nobody knows", 2, {"bogus"}, [] {
                         make_tiktoken_tokenizer(ranks(), "bogus", {});
                     }});
    cases.push_back(
        {"tiktoken/ranks nobody knows", 2, {"--pattern"}, [] { make_tiktoken_tokenizer(ranks(), "", {}); }});
}

}  // namespace

void add_tokenizer_cases(const MalformedWorld& world, MalformedCases& cases) {
    add_json(cases);
    add_tiktoken(cases);
    cases.push_back({"tokenizer.json/a configuration nested without end", 65, {"nested"}, [] {
                         make_json_tokenizer(sound_file().dump(), std::string(100'000, '['), "", {});
                     }});
    for (const auto& [what, bytes] : std::vector<std::pair<const char*, std::string>>{
             {"empty", ""},
             {"text", "hello"},
             {"cut", std::string("\x0a\x20", 2)},
             {"an empty piece",
              std::string("\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02\x0a\x07\x0a\0\x15\0\0\0\0", 25)}}) {
        cases.push_back({std::string("sentencepiece/") + what, 65, {"SentencePiece"}, [text = bytes] {
                             make_sentencepiece_tokenizer(text, {});
                         }});
    }
    cases.push_back({"tokenizer/absent", 66, {"nowhere.json"}, [&world] {
                         load_tokenizer(world.scratch / "nowhere.json");
                     }});
}

}  // namespace lockstep
