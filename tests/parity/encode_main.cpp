// Answers the parity tests: one JSON request a line, one JSON answer a line.
//   {"tokenizer": PATH, "pattern": NAME, "specials": "text"|"parse"}        opens
//   {"texts": [...]} -> {"ids": [[...]], "decoded": [...]}                   encodes and decodes again
//   {"texts": [...], "offsets": true} -> also {"offsets": [[[begin, end]]]}  [bytes]
//   {"train": "bpe"|"unigram", "texts": [...], "vocabulary": N, "split": NAME, "specials": [...], "output":
//   PATH}
//   {"chat": FORMAT, "conversations": [[{"role", "content"}]], "bos": TEXT, "eos": TEXT}
//     -> {"written": [{"stretches": [[text, is trained]]} or {"problem"}]}; with "ids": true also "ids",
//     "spans"
//   {"bytes": [BASE64]} -> {"texts": [...]}                                  as --invalid-utf8 replace has
//   them
//   {"template": FORMAT} -> {"template": TEXT}                               as `tokenizer doctor --fix`
//   writes it
//   {"measure": PATH} -> {"seconds": CPU time, "tokens": N}                  a file of texts divided by NUL

#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "coordinator/ingest/tokenize_document.h"
#include "io/files/atomic_file.h"
#include "io/tokenizer/analysis/tokenizer_check.h"
#include "io/tokenizer/base64.h"
#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/training/tokenizer_training.h"
#include "io/tokenizer/utf8.h"

namespace {

double cpu_seconds() {
    return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

nlohmann::json measured(const lockstep::Tokenizer& tokenizer, const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    std::vector<std::uint32_t> ids;
    std::uint64_t tokens = 0;
    const double begin = cpu_seconds();
    for (std::size_t at = 0; at < all.size();) {
        const std::size_t end = std::min(all.find('\0', at), all.size());
        ids.clear();
        tokenizer.encode(std::string_view(all).substr(at, end - at), ids);
        tokens += ids.size();
        at = end + 1;
    }
    return {{"seconds", cpu_seconds() - begin}, {"tokens", tokens}};
}

nlohmann::json offsets_of(const lockstep::Tokenizer& tokenizer, const std::string& text,
                          const std::vector<std::uint32_t>& expected) {
    std::vector<std::uint32_t> ids;
    std::vector<lockstep::TokenOffsets> offsets;
    tokenizer.encode_with_offsets(text, ids, offsets);
    if (ids != expected || offsets.size() != ids.size())
        throw std::runtime_error("with offsets there are other ids for '" + text + "'");
    nlohmann::json pairs = nlohmann::json::array();
    for (const auto& token : offsets) pairs.push_back({token.begin, token.end});
    return pairs;
}

void train(const nlohmann::json& request) {
    lockstep::TrainingOptions options;
    options.vocabulary_size = request.at("vocabulary").get<std::size_t>();
    options.split = request.value("split", options.split);
    options.specials = request.value("specials", options.specials);
    options.threads = 2;
    const auto texts = [&](lockstep::FunctionRef<void(std::string_view)> take) {
        for (const auto& text : request.at("texts")) take(text.get_ref<const std::string&>());
    };
    const auto trained = request.at("train") == "unigram"
                             ? lockstep::train_unigram(texts, options)
                             : lockstep::train_byte_pairs(texts, options, [](std::size_t) {});
    lockstep::write_file_atomically(request.at("output").get<std::string>(), trained.file,
                                    lockstep::Overwrite::yes);
}

/// Neighbouring parts of the same fate as one, BOS and EOS spelled out.
nlohmann::json stretches_of(const lockstep::ChatText& chat, const std::string& bos, const std::string& eos) {
    nlohmann::json stretches = nlohmann::json::array();
    std::string text;
    for (std::size_t i = 0; i < chat.parts.size(); ++i) {
        const lockstep::ChatPart& part = chat.parts[i];
        text += chat.text.substr(part.begin, part.end - part.begin);
        // The first is the document's own.
        if (part.kind == lockstep::ChatPartKind::begin_of_text && i > 0) text += bos;
        if (part.kind == lockstep::ChatPartKind::end_of_text) text += eos;
        if (i + 1 < chat.parts.size() && chat.parts[i + 1].is_trained == part.is_trained) continue;
        stretches.push_back({text, part.is_trained});
        text.clear();
    }
    return stretches;
}

nlohmann::json written(const nlohmann::json& conversation, const nlohmann::json& request,
                       const lockstep::Tokenizer* tokenizer) {
    std::vector<lockstep::ChatMessage> messages;
    for (const auto& message : conversation)
        messages.push_back(
            {message.at("role").get<std::string>(), message.at("content").get_ref<const std::string&>()});
    lockstep::ChatText chat;
    const std::string problem =
        lockstep::chat_format(request.at("chat").get<std::string>()).write(messages, chat);
    if (!problem.empty()) return {{"problem", problem}};
    nlohmann::json answer{{"stretches", stretches_of(chat, request.at("bos").get<std::string>(),
                                                     request.at("eos").get<std::string>())}};
    if (tokenizer == nullptr) return answer;
    lockstep::Document document;
    document.text = chat.text;
    document.chat = chat.parts;
    std::vector<std::uint32_t> ids;
    const auto tokenized = lockstep::tokenize_document(*tokenizer, {}, document, ids);
    answer["spans"] = nlohmann::json::array();
    for (const auto& span : tokenized.loss_spans) answer["spans"].push_back({span.begin, span.end});
    answer["ids"] = ids;
    return answer;
}

}  // namespace

int main() {
    std::unique_ptr<lockstep::Tokenizer> tokenizer;
    for (std::string line; std::getline(std::cin, line);) {
        nlohmann::json answer = nlohmann::json::object();
        try {
            const nlohmann::json request = nlohmann::json::parse(line);
            if (request.contains("tokenizer")) {
                lockstep::TokenizerFileOptions options;
                options.pattern = request.value("pattern", "");
                if (request.value("specials", "text") == "parse")
                    options.policy.literal = lockstep::LiteralSpecials::parse;
                tokenizer = lockstep::load_tokenizer(request.at("tokenizer").get<std::string>(), options);
                const auto again = lockstep::make_tokenizer_from_description(tokenizer->description_json());
                answer["fingerprint"] = tokenizer->fingerprint().hex();
                answer["fingerprint_again"] = again->fingerprint().hex();
                answer["vocabulary"] = tokenizer->vocabulary_size();
                answer["before"] = tokenizer->ids_before();
                answer["after"] = tokenizer->ids_after();
            } else if (request.contains("train")) {
                train(request);
            } else if (request.contains("template")) {
                answer["template"] =
                    lockstep::chat_template_of_format(request.at("template").get<std::string>());
            } else if (request.contains("bytes")) {
                for (const auto& bytes : request.at("bytes"))
                    answer["texts"].push_back(
                        lockstep::lossy_utf8(lockstep::base64_decoded(bytes.get<std::string>()).value()));
            } else if (request.contains("chat")) {
                const bool with_ids = request.value("ids", false);
                for (const auto& conversation : request.at("conversations"))
                    answer["written"].push_back(
                        written(conversation, request, with_ids ? tokenizer.get() : nullptr));
            } else if (request.contains("measure")) {
                answer = measured(*tokenizer, request.at("measure").get<std::string>());
            } else {
                for (const auto& text : request.at("texts")) {
                    std::vector<std::uint32_t> ids;
                    tokenizer->encode(text.get_ref<const std::string&>(), ids);
                    answer["decoded"].push_back(tokenizer->decode(ids));
                    if (request.value("offsets", false))
                        answer["offsets"].push_back(offsets_of(*tokenizer, text, ids));
                    answer["ids"].push_back(std::move(ids));
                }
            }
        } catch (const std::exception& error) {
            answer["error"] = error.what();
        }
        std::cout << answer.dump() << std::endl;
    }
}
