// Conversations as each format has them written, and what of it is trained.

#include "io/documents/chat_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "io/base/error.h"
#include "io/documents/document_reader.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

const std::vector<ChatMessage> two_turns{
    {"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello."}, {"user", "2+2?"}, {"assistant", "4"}};

/// What is trained between « », BOS as ^, EOS as $.
std::string marked(const ChatText& chat) {
    std::string text;
    bool trained = false;
    std::size_t at = 0;
    for (const ChatPart& part : chat.parts) {
        EXPECT_EQ(part.begin, at);
        at = part.end;
        if (part.is_trained != trained) text += trained ? "»" : "«";
        trained = part.is_trained;
        text += chat.text.substr(part.begin, part.end - part.begin);
        if (part.kind == ChatPartKind::begin_of_text) text += "^";
        if (part.kind == ChatPartKind::end_of_text) text += "$";
    }
    EXPECT_EQ(at, chat.text.size());
    return text + (trained ? "»" : "");
}

std::string written(std::string_view format, const std::vector<ChatMessage>& messages = two_turns) {
    ChatText chat;
    EXPECT_EQ(chat_format(format).write(messages, chat), "");
    return marked(chat);
}

std::string refused(std::string_view format, const std::vector<ChatMessage>& messages) {
    ChatText chat;
    return chat_format(format).write(messages, chat);
}

TEST(ChatFormatTest, WritesEachFormatAsItsModelsHaveIt) {
    EXPECT_EQ(written("chatml"),
              "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
              "<|im_start|>assistant\n«Hello.<|im_end|>»\n<|im_start|>user\n2+2?<|im_end|>\n"
              "<|im_start|>assistant\n«4<|im_end|>»\n");
    EXPECT_EQ(written("llama"),
              "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
              "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
              "<|start_header_id|>assistant<|end_header_id|>\n\n«Hello.<|eot_id|>»"
              "<|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|>"
              "<|start_header_id|>assistant<|end_header_id|>\n\n«4<|eot_id|>»");
    EXPECT_EQ(written("llama2"),
              "^[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]« Hello. $»^[INST] 2+2? [/INST]« 4 $»");
    EXPECT_EQ(written("phi"),
              "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n«Hello.<|end|>»\n"
              "<|user|>\n2+2?<|end|>\n<|assistant|>\n«4<|end|>»\n");
    EXPECT_EQ(
        written("gemma"),
        "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n«Hello.<end_of_turn>»\n"
        "<start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n«4<end_of_turn>»\n");
    EXPECT_EQ(written("zephyr"),
              "<|system|>\nBe brief.$\n<|user|>\nHi$\n<|assistant|>\n«Hello.$»\n"
              "<|user|>\n2+2?$\n<|assistant|>\n«4$»\n");
    EXPECT_EQ(written("vicuna"), "Be brief. USER: Hi ASSISTANT:« Hello.$»USER: 2+2? ASSISTANT:« 4$»");
    EXPECT_EQ(written("alpaca"),
              "Be brief.\n\n### Instruction:\nHi\n\n### Response:\n«Hello.$»"
              "\n\n### Instruction:\n2+2?\n\n### Response:\n«4$»");
}

TEST(ChatFormatTest, HasWordsOfItsOwnWithoutASystemMessage) {
    const std::vector<ChatMessage> short_one{{"user", "Hi"}, {"assistant", "Hello."}};
    EXPECT_THAT(written("alpaca", short_one), testing::StartsWith("Below is an instruction"));
    EXPECT_THAT(written("vicuna", short_one), testing::StartsWith("A chat between a curious user"));
    EXPECT_EQ(written("llama2", short_one), "^[INST] Hi [/INST]« Hello. $»");
    EXPECT_EQ(written("gemma", {{"user", " Hi\n"}, {"assistant", "\nHello. "}}),
              "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n«Hello.<end_of_turn>»\n");
}

TEST(ChatFormatTest, TrimsWhatTheModelsOwnTemplatesTrim) {
    // Python's str.strip(): all of Unicode's white space and four separators, but no mark of byte order and
    // no space of no width.
    const std::string blank = " \t\x0B\x1C\x1F\xC2\x85\xC2\xA0\xE2\x80\xA8\xE3\x80\x80";
    const std::string kept =
        "\xEF\xBB\xBF"
        "a\xE2\x80\x8B";
    const std::string content = blank + kept + blank;
    EXPECT_EQ(written("llama", {{"user", blank}, {"assistant", content}}),
              "<|start_header_id|>user<|end_header_id|>\n\n<|eot_id|>"
              "<|start_header_id|>assistant<|end_header_id|>\n\n«" +
                  kept + "<|eot_id|>»");
    // What Llama 2 has between its marks is trimmed as one, so a system message keeps what follows it.
    EXPECT_EQ(written("llama2", {{"system", " s "}, {"user", " Hi "}, {"assistant", " Hello. "}}),
              "^[INST] <<SYS>>\n s \n<</SYS>>\n\n Hi [/INST]« Hello. $»");
    EXPECT_EQ(written("llama2", {{"system", "s"}, {"user", " "}, {"assistant", "Hello."}}),
              "^[INST] <<SYS>>\ns\n<</SYS>> [/INST]« Hello. $»");
}

TEST(ChatFormatTest, RefusesWhatIsNoConversation) {
    for (const std::string_view format : chat_format_names()) {
        EXPECT_THAT(refused(format, {}), HasSubstr("no messages"));
        EXPECT_THAT(refused(format, {{"user", "Hi"}}), HasSubstr("nothing would be trained"));
        EXPECT_THAT(refused(format, {{"user", "Hi"}, {"assistant", " \n"}}),
                    HasSubstr("message 2: the assistant"));
        EXPECT_THAT(refused(format, {{"user", "Hi"}, {"tool", "x"}}), HasSubstr("message 2: role 'tool'"));
        EXPECT_THAT(refused(format, {{"user", "Hi"}, {"system", "x"}, {"assistant", "y"}}),
                    HasSubstr("message 2: a system message"));
    }
    for (const std::string_view format : {"llama2", "gemma", "vicuna", "alpaca"}) {
        EXPECT_THAT(refused(format, {{"assistant", "Hello."}}),
                    HasSubstr("message 1: the role is assistant"));
        EXPECT_THAT(refused(format, {{"system", "x"}, {"user", "a"}, {"user", "b"}, {"assistant", "c"}}),
                    HasSubstr("message 3: the role is user"));
    }
    EXPECT_THAT(error_of([] { chat_format("chatlm"); }).what(), HasSubstr("expected one of chatml, llama,"));
}

class ChatLinesTest : public testing::Test {
  protected:
    std::string problem(const std::string& line, const std::string& chat = "chatml") {
        const auto file = directory_.write("chat.jsonl", R"({"messages":[{"role":"user","content":"a"},)"
                                                         R"({"role":"assistant","content":"b"}],"text":7})"
                                                         "\n" +
                                                             line + "\n");
        DocumentOptions options;
        options.chat = chat;
        std::uint64_t bad = 0;
        return error_of([&] { read_documents(file, 0, options, bad, [](const Document&) {}); }).what();
    }
    TemporaryDirectory directory_;
};

TEST_F(ChatLinesTest, NamesTheLineAndTheMessage) {
    const auto place = HasSubstr("chat.jsonl:2: ");
    EXPECT_THAT(problem(R"({"text":"x"})"), testing::AllOf(place, HasSubstr("no field 'messages'")));
    EXPECT_THAT(problem(R"({"messages":{}})"), testing::AllOf(place, HasSubstr("is not an array")));
    EXPECT_THAT(problem(R"({"messages":[]})"), testing::AllOf(place, HasSubstr("no messages")));
    EXPECT_THAT(problem(R"({"messages":["x"]})"),
                testing::AllOf(place, HasSubstr("message 1: not an object")));
    EXPECT_THAT(problem(R"({"messages":[{"role":"user"}]})"), HasSubstr("message 1: no field 'content'"));
    EXPECT_THAT(problem(R"({"messages":[{"content":"a"}]})"), HasSubstr("message 1: no field 'role'"));
    EXPECT_THAT(problem(R"({"messages":[{"role":"user","content":3}]})"),
                HasSubstr("message 1: field 'content' is not a string"));
    EXPECT_THAT(problem(R"({"messages":[{"role":"user","role":"user","content":""}]})"),
                HasSubstr("field 'role' stands twice"));
    EXPECT_THAT(problem(R"({"messages":[{"role":"boss","content":"x"}]})"),
                testing::AllOf(place, HasSubstr("role 'boss' is unknown")));
    EXPECT_THAT(problem(R"({"messages":[],"messages":[]})"), HasSubstr("stands twice"));
    EXPECT_THAT(problem(R"({"prompt":"x"})", ""), HasSubstr("chat.jsonl:1: field 'text' is not a string"));
}

TEST_F(ChatLinesTest, WithoutAFormatItSaysHowToNameOne) {
    const auto file = directory_.write("chat.jsonl", R"({"messages":[{"role":"user","content":"a"}]})");
    std::uint64_t bad = 0;
    EXPECT_THAT(error_of([&] { read_documents(file, 0, {}, bad, [](const Document&) {}); }).what(),
                HasSubstr("--chat"));
}

}  // namespace
}  // namespace lockstep
