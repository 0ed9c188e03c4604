#include "coordinator/ingest/tokenize_document.h"

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "io/documents/chat_format.h"
#include "io/tokenizer/tokenizer_files.h"

namespace lockstep {
namespace {

/// "▁" stands in front of a document's first word alone; <s> is put around it.
std::unique_ptr<Tokenizer> first_word_tokenizer(bool with_bos) {
    nlohmann::json vocabulary = {{"<s>", 0}, {"</s>", 1}, {"\u2581", 2}, {"<t>", 3}};
    for (char c = 'a'; c <= 'z'; ++c) vocabulary[std::string(1, c)] = vocabulary.size();
    for (const char c : {'[', ']', '/', 'I', 'N', 'S', 'T'})
        vocabulary[std::string(1, c)] = vocabulary.size();
    nlohmann::json file = {
        {"added_tokens",
         {{{"id", 0}, {"content", "<s>"}, {"special", true}},
          {{"id", 1}, {"content", "</s>"}, {"special", true}},
          {{"id", 3}, {"content", "<t>"}, {"special", true}}}},
        {"pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}}},
        {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
    if (with_bos) {
        file["post_processor"] = {
            {"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
            {"pair", nlohmann::json::array()},
            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {0}}, {"tokens", {"<s>"}}}}}}};
    }
    SpecialsPolicy policy;
    policy.literal = LiteralSpecials::parse;
    return make_json_tokenizer(file.dump(), "", "", policy);
}

std::string spelled(const Tokenizer& tokenizer, const Document& document) {
    std::vector<std::uint32_t> ids;
    const TokenizedDocument tokenized = tokenize_document(tokenizer, SpecialsPolicy{}, document, ids);
    std::string text;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        for (const LossSpan& span : tokenized.loss_spans) text += span.begin == i ? "|" : "";
        text += tokenizer.token_bytes(ids[i]);
    }
    return text;
}

TEST(TokenizeDocumentTest, OnlyADocumentsFirstWordGetsWhatStandsInFront) {
    ChatText written;
    const std::vector<ChatMessage> messages{{"user", "hi"}, {"assistant", "yo"}};
    ASSERT_EQ(chat_format("llama2").write(messages, written), "");
    Document chat;
    chat.text = written.text;
    chat.chat = written.parts;
    const auto answer = [](std::string_view text, std::size_t prompt) {
        Document document;
        document.text = text;
        document.prompt = text.substr(0, prompt);
        document.has_prompt = true;
        return document;
    };
    const auto with_bos = first_word_tokenizer(true), without = first_word_tokenizer(false);
    // The format writes its BOS itself: its text is no document's first word.
    EXPECT_EQ(spelled(*with_bos, chat), "<s>[INST]\u2581hi\u2581[/INST]|\u2581yo\u2581</s>");
    EXPECT_EQ(spelled(*without, chat), "<s>[INST]\u2581hi\u2581[/INST]|\u2581yo\u2581</s>");
    // Here the tokenizer puts one around the text, whose first word is the document's.
    EXPECT_EQ(spelled(*with_bos, answer("hiyo", 2)), "<s>\u2581hi|yo");
    EXPECT_EQ(spelled(*without, answer("hiyo", 2)), "\u2581hi|yo</s>");
    EXPECT_EQ(spelled(*with_bos, answer("hi<t>yo", 5)), "<s>\u2581hi<t>|yo");
    EXPECT_EQ(spelled(*with_bos, answer("yo", 0)), "<s>|\u2581yo");
}

}  // namespace
}  // namespace lockstep
