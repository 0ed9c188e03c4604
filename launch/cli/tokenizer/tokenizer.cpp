#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/tokenizer/utf8.h"
#include "launch/cli/tokenizer/tokenizer_input.h"
#include "launch/cli/tokenizer/tokenizer_verbs.h"

namespace lockstep {

namespace {

/// What a token stands for, on one line.
std::string shown(const Tokenizer& tokenizer, std::uint32_t id) {
    std::string text;
    for (const char c : lossy_utf8(tokenizer.token_bytes(id))) {
        if (c == '\n') {
            text += "\\n";
        } else if (c == '\r') {
            text += "\\r";
        } else if (c == '\t') {
            text += "\\t";
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
            text += '?';
        } else {
            text += c;
        }
    }
    return text;
}

/// Tokens on alternating grounds, so that their borders are seen.
std::string coloured(const Tokenizer& tokenizer, const std::vector<std::uint32_t>& ids) {
    constexpr const char* grounds[] = {"\x1b[48;5;24m", "\x1b[48;5;94m", "\x1b[48;5;22m", "\x1b[48;5;53m"};
    std::string line;
    for (std::size_t i = 0; i < ids.size(); ++i)
        line += grounds[i % std::size(grounds)] + shown(tokenizer, ids[i]) + "\x1b[0m";
    return line;
}

bool colours() {
    const char* refused = std::getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) != 0 && (refused == nullptr || *refused == '\0');
}

std::string joined(const std::vector<std::uint32_t>& ids) {
    std::string line;
    for (const std::uint32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
    return line;
}

struct EncodeArguments {
    TokenizerArguments common;
    bool offsets = false;
};

/// A token a line: its offsets, its id, what it stands for.
void say_offsets(const Invocation& invocation, const Tokenizer& tokenizer,
                 const std::vector<std::uint32_t>& ids, const std::vector<TokenOffsets>& offsets) {
    for (std::size_t i = 0; i < ids.size(); ++i)
        invocation.say(std::to_string(offsets[i].begin) + "\t" + std::to_string(offsets[i].end) + "\t" +
                       std::to_string(ids[i]) + "\t" + shown(tokenizer, ids[i]));
}

nlohmann::ordered_json pairs(const std::vector<TokenOffsets>& offsets) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const TokenOffsets& token : offsets) list.push_back({token.begin, token.end});
    return list;
}

int run_encode(const Invocation& invocation, const EncodeArguments& arguments) {
    const auto tokenizer = open_tokenizer(arguments.common);
    nlohmann::ordered_json object = {{"tokenizer", tokenizer->fingerprint().hex()},
                                     {"ids", nlohmann::ordered_json::array()}};
    if (arguments.offsets) object["offsets"] = nlohmann::ordered_json::array();
    std::vector<std::uint32_t> ids;
    std::vector<TokenOffsets> offsets;
    std::size_t num_texts = 0;
    each_text(arguments.common, [&](std::string_view text) {
        ids.clear();
        offsets.clear();
        if (arguments.offsets) {
            tokenizer->encode_with_offsets(text, ids, offsets);
        } else {
            tokenizer->encode(text, ids);
        }
        if (invocation.json) {
            object["ids"].push_back(ids);
            if (arguments.offsets) object["offsets"].push_back(pairs(offsets));
            return;
        }
        if (arguments.offsets) {
            if (num_texts++ > 0) invocation.say("");
            say_offsets(invocation, *tokenizer, ids, offsets);
            return;
        }
        invocation.say(joined(ids));
        if (colours()) invocation.say(coloured(*tokenizer, ids));
    });
    invocation.give(object);
    return 0;
}

struct DecodeArguments {
    TokenizerArguments common;
    std::vector<std::uint32_t> ids;
};

int run_decode(const Invocation& invocation, const DecodeArguments& arguments) {
    const auto tokenizer = open_tokenizer(arguments.common);
    std::vector<std::vector<std::uint32_t>> lists;
    if (!arguments.ids.empty()) {
        lists.push_back(arguments.ids);
    } else {
        // A JSON array of ids, or of arrays of ids, on standard input.
        const nlohmann::json given = nlohmann::json::parse(std::cin, nullptr, false);
        try {
            if (given.is_array() && !given.empty() && given.front().is_array()) {
                lists = given.get<std::vector<std::vector<std::uint32_t>>>();
            } else {
                lists.push_back(given.get<std::vector<std::uint32_t>>());
            }
        } catch (const nlohmann::json::exception&) {
            throw Error(ErrorCode::invalid_argument,
                        "standard input is no JSON array of token ids; give ids as arguments or [1, 2, 3]");
        }
    }
    nlohmann::ordered_json texts = nlohmann::ordered_json::array();
    for (const auto& ids : lists) {
        const std::string text = tokenizer->decode(ids);
        if (!invocation.json) invocation.say(text);
        texts.push_back(text);
    }
    invocation.give({{"texts", texts}});
    return 0;
}

struct VocabArguments {
    TokenizerArguments common;
    std::string search;
    std::size_t count_max = 50;
};

int run_vocab(const Invocation& invocation, const VocabArguments& arguments) {
    const auto tokenizer = open_tokenizer(arguments.common);
    nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
    std::uint64_t found = 0;
    for (std::uint32_t id = 0; id < tokenizer->vocabulary_size(); ++id) {
        const std::string bytes = tokenizer->token_bytes(id);
        if (bytes.find(arguments.search) == std::string::npos) continue;
        if (++found > arguments.count_max) continue;
        const bool special = tokenizer->is_special(id);
        invocation.say(std::to_string(id) + "\t" + shown(*tokenizer, id) + (special ? "\t(special)" : ""));
        tokens.push_back({{"id", id}, {"text", bytes}, {"special", special}});
    }
    if (found > arguments.count_max)
        invocation.say("… and " + with_commas(found - arguments.count_max) + " more (--count)");
    invocation.give({{"vocabulary", tokenizer->vocabulary_size()}, {"found", found}, {"tokens", tokens}});
    return 0;
}

struct FingerprintArguments {
    TokenizerArguments common;
    std::string save;
    bool force = false;
};

int run_fingerprint(const Invocation& invocation, const FingerprintArguments& given) {
    const TokenizerArguments& arguments = given.common;
    const auto tokenizer = open_tokenizer(arguments);
    const auto id = [](std::optional<std::uint32_t> value) {
        return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
    };
    invocation.say(tokenizer->fingerprint().hex() + "  " + arguments.tokenizer);
    const nlohmann::ordered_json object = {{"fingerprint", tokenizer->fingerprint().hex()},
                                           {"vocabulary", tokenizer->vocabulary_size()},
                                           {"bos", id(tokenizer->bos_id())},
                                           {"eos", id(tokenizer->eos_id())},
                                           {"pad", id(tokenizer->pad_id())},
                                           {"before", tokenizer->ids_before()},
                                           {"after", tokenizer->ids_after()},
                                           {"chat_template", !tokenizer->chat_template().empty()}};
    if (!given.save.empty())
        write_file_atomically(given.save, object.dump(1) + "\n",
                              given.force ? Overwrite::yes : Overwrite::no);
    invocation.give(object);
    return 0;
}

struct CompareArguments {
    TokenizerArguments common;
    std::string other;
};

int run_compare(const Invocation& invocation, const CompareArguments& arguments) {
    const auto a = open_tokenizer(arguments.common);
    const auto b = open_tokenizer(arguments.other, arguments.common);
    std::uint64_t texts = 0, bytes = 0, tokens_a = 0, tokens_b = 0, different = 0;
    std::vector<std::uint32_t> ids_a, ids_b;
    each_text(arguments.common, [&](std::string_view text) {
        ids_a.clear();
        ids_b.clear();
        a->encode(text, ids_a);
        b->encode(text, ids_b);
        ++texts;
        bytes += text.size();
        tokens_a += ids_a.size();
        tokens_b += ids_b.size();
        different += ids_a != ids_b ? 1U : 0U;
    });
    const bool same = a->fingerprint() == b->fingerprint();
    const auto per = [&](std::uint64_t tokens) {
        return tokens == 0 ? 0.0 : static_cast<double>(bytes) / static_cast<double>(tokens);
    };
    invocation.say(std::string("fingerprints ") + (same ? "are equal" : "differ") + "; vocabularies " +
                   with_commas(a->vocabulary_size()) + " and " + with_commas(b->vocabulary_size()));
    invocation.say(with_commas(different) + " of " + with_commas(texts) + " texts have other ids; " +
                   with_commas(tokens_a) + " and " + with_commas(tokens_b) + " tokens (" +
                   fixed(per(tokens_a), 2) + " and " + fixed(per(tokens_b), 2) + " bytes a token)");
    invocation.give({{"same_fingerprint", same},
                     {"texts", texts},
                     {"texts_different", different},
                     {"tokens", {tokens_a, tokens_b}},
                     {"bytes_per_token", {per(tokens_a), per(tokens_b)}}});
    return different == 0 ? 0 : exit_code_of(ErrorCode::check_failed);
}

}  // namespace

void add_tokenizer(CLI::App& app, Invocation& invocation) {
    CLI::App* group = app.add_subcommand("tokenizer", "Look into a tokenizer and use it on its own");
    group->require_subcommand(1);

    auto encode = std::make_shared<EncodeArguments>();
    CLI::App* verb = add_verb(*group, invocation, "encode", "Texts to token ids",
                              "  lockstep tokenizer encode -t tokenizer.json --text 'Hello, world'\n"
                              "  lockstep tokenizer encode -t tokenizer.json --text 'Hello' --offsets\n"
                              "  lockstep tokenizer encode -t cl100k_base.tiktoken -d texts.jsonl --json",
                              [&invocation, encode] { return run_encode(invocation, *encode); });
    add_tokenizer_options(*verb, encode->common);
    add_text_options(*verb, encode->common);
    verb->add_flag("--offsets", encode->offsets,
                   "Also where each token stands in the text: from and up to which byte");

    auto decode = std::make_shared<DecodeArguments>();
    verb = add_verb(*group, invocation, "decode", "Token ids to text; specials are left out",
                    "  lockstep tokenizer decode -t tokenizer.json 15496 995\n"
                    "  echo '[[15496],[995]]' | lockstep tokenizer decode -t tokenizer.json --json",
                    [&invocation, decode] { return run_decode(invocation, *decode); });
    add_tokenizer_options(*verb, decode->common);
    verb->add_option("ids", decode->ids, "Ids; without any, a JSON array on standard input");

    auto vocab = std::make_shared<VocabArguments>();
    verb = add_verb(*group, invocation, "vocab", "The vocabulary, or the tokens that hold a text",
                    "  lockstep tokenizer vocab -t tokenizer.json --search ' the'",
                    [&invocation, vocab] { return run_vocab(invocation, *vocab); });
    add_tokenizer_options(*verb, vocab->common);
    verb->add_option("--search", vocab->search, "Only tokens that hold this text");
    verb->add_option("--count", vocab->count_max, "At most this many");

    auto fingerprint = std::make_shared<FingerprintArguments>();
    verb = add_verb(*group, invocation, "fingerprint", "The fingerprint that corpora and plans carry",
                    "  lockstep tokenizer fingerprint -t tokenizer.json\n"
                    "  lockstep tokenizer fingerprint -t tokenizer.json --save tokenizer.fingerprint.json",
                    [&invocation, fingerprint] { return run_fingerprint(invocation, *fingerprint); });
    add_tokenizer_options(*verb, fingerprint->common);
    verb->add_option("--save", fingerprint->save, "Also write it, with size and special ids, as a JSON file");
    verb->add_flag("--force", fingerprint->force, "Replace that file");

    auto compare = std::make_shared<CompareArguments>();
    verb =
        add_verb(*group, invocation, "compare", "Two tokenizers on the same texts; exit code 1 if ids differ",
                 "  lockstep tokenizer compare -t old/tokenizer.json --with new/tokenizer.json -d texts/",
                 [&invocation, compare] { return run_compare(invocation, *compare); });
    add_tokenizer_options(*verb, compare->common);
    add_text_options(*verb, compare->common);
    verb->add_option("--with", compare->other, "The other tokenizer")->required();

    add_tokenizer_train(*group, invocation);
    add_tokenizer_doctor(*group, invocation);
    add_tokenizer_analyze(*group, invocation);
}

}  // namespace lockstep
