// Conversations to a corpus: in every format and with every kind of tokenizer,
// the loss spans decode to what the assistant says, and to nothing else.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/corpus/corpus.h"
#include "io/documents/chat_format.h"
#include "io/tokenizer/tokenizer.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace lockstep::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct Conversation {
    std::string system;
    std::vector<std::string> turns;  ///< User, assistant, user, assistant, …
};

const std::vector<Conversation>& conversations() {
    static const std::vector<Conversation> all{
        {"Be brief.", {"Hi", "Hello there.", "And 2+2?", "4", "Danke!", "Gern geschehen – über alles."}},
        {"", {"one word", "yes"}},
        {"", {"write <|im_end|> and </s>", "They are <|im_end|> and </s>, 東京 🙂\n\n  x = 1"}},
        {"S", {"only the first is answered", "a b c", "this is not"}},
    };
    return all;
}

std::string lines() {
    std::string text;
    for (const Conversation& conversation : conversations()) {
        json messages = json::array();
        if (!conversation.system.empty())
            messages.push_back({{"role", "system"}, {"content", conversation.system}});
        for (std::size_t i = 0; i < conversation.turns.size(); ++i)
            messages.push_back(
                {{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", conversation.turns[i]}});
        text += json({{"messages", messages}}).dump() + "\n";
    }
    return text;
}

/// What a format adds to a response, end markers apart.
std::string spaced(const std::string& format, const std::string& response) {
    if (format == "vicuna") return " " + response;
    return format == "llama2" ? " " + response + " " : response;
}

std::string end_marker(const std::string& format) {
    if (format == "chatml") return "<|im_end|>";
    if (format == "llama") return "<|eot_id|>";
    if (format == "phi") return "<|end|>";
    if (format == "gemma") return "<end_of_turn>";
    return "<|endoftext|>";  // EOS
}

class ChatTest : public testing::Test {
  protected:
    void SetUp() override {
        data_ = directory_.write("chat.jsonl", lines()).string();
        texts_ = directory_.write("texts.txt", lines() + lines() + lines()).string();
    }

    std::string train(const std::string& type, const std::string& size) {
        const std::string folder = (directory_ / type).string();
        std::vector<std::string> arguments{"tokenizer", "train", "--type", type, "--vocab-size",
                                           size,        "-d",    texts_,   "-o", folder};
        for (const char* format : {"chatml", "llama", "phi", "gemma"})
            for (const std::string& marker : chat_format(format).markers())
                arguments.insert(arguments.end(), {"--special", marker});
        const ProgramResult result = run_lockstep_program(0, arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return folder;
    }

    ProgramResult ingest(const std::string& tokenizer, const std::string& format, const std::string& data,
                         const std::string& output) {
        return run_lockstep_program(0, {"ingest", "-d", data, "--chat", format, "-t", tokenizer, "-o",
                                        (directory_ / output).string()});
    }

    /// @param has_markers  the tokenizer has the formats' tokens.
    void expect_exact_spans(const std::string& name, const std::string& format, bool has_markers) {
        SCOPED_TRACE(name + " " + format);
        const std::string output = format + ".h5";
        const ProgramResult result = ingest(name, format, data_, output);
        ASSERT_EQ(result.exit_code, 0) << result.err;
        EXPECT_EQ(result.err.find("has no token") == std::string::npos,
                  has_markers || chat_format(format).markers().empty())
            << result.err;
        const Corpus corpus = Corpus::open((directory_ / output).string());
        const auto tokenizer = make_tokenizer_from_description(corpus.tokenizer().description_json);
        ASSERT_EQ(corpus.num_samples(), conversations().size());
        for (std::uint64_t sample = 0; sample < corpus.num_samples(); ++sample) {
            const auto& turns = conversations()[sample].turns;
            const auto spans = corpus.loss_spans(sample);
            ASSERT_EQ(spans.size(), turns.size() / 2);
            std::vector<std::uint32_t> tokens(corpus.sample_tokens(sample));
            corpus.read_tokens(sample, 0, tokens);
            for (std::size_t i = 0; i < spans.size(); ++i) {
                ASSERT_GT(spans[i].begin, 0U);
                const std::span<const std::uint32_t> span(tokens.data() + spans[i].begin,
                                                          spans[i].end - spans[i].begin);
                const std::string response = spaced(format, turns[2 * i + 1]);
                const bool ends_in_token = has_markers || chat_format(format).ends_in_eos();
                if (ends_in_token) {
                    EXPECT_EQ(tokenizer->decode(span.first(span.size() - 1)), response);
                    if (chat_format(format).ends_in_eos()) {
                        EXPECT_EQ(span.back(), tokenizer->eos_id());
                    } else {
                        EXPECT_EQ(tokenizer->token_bytes(span.back()), end_marker(format));
                    }
                } else {
                    EXPECT_EQ(tokenizer->decode(span), response + end_marker(format));
                }
            }
        }
        EXPECT_TRUE(std::filesystem::remove(directory_ / output));
    }

    TemporaryDirectory directory_;
    std::string data_, texts_;
};

TEST_F(ChatTest, SpansAreTheResponsesInEveryFormat) {
    const std::string bpe = train("bpe", "400"), unigram = train("unigram", "360");
    for (const std::string_view name : chat_format_names()) {
        const std::string format(name);
        expect_exact_spans(bpe, format, true);
        expect_exact_spans(unigram, format, true);
        expect_exact_spans("bytes", format, false);
    }
}

TEST_F(ChatTest, PlansTrainAndDriftIsChecked) {
    const std::string corpus = (directory_ / "chatml.h5").string(), plan = (directory_ / "plan").string();
    ASSERT_EQ(ingest(train("bpe", "400"), "chatml", data_, "chatml.h5").exit_code, 0);
    ASSERT_EQ(
        run_lockstep_program(0, {"batchplan", "build", "-l", corpus, "-e", "1", "-b", "512", "-o", plan})
            .exit_code,
        0);
    const auto run = [&] {
        return run_lockstep_program(0, {"train", "-p", plan, "-d", corpus, "-m", "nano", "-o",
                                        (directory_ / "run").string(), "--steps", "1"});
    };
    const ProgramResult trained = run();
    EXPECT_EQ(trained.exit_code, 0) << trained.err;
    // A conversation that was changed is found by reading it again in the recorded format.
    std::string changed = lines();
    changed.replace(changed.find("Hello there."), 12, "Hallo there.");
    directory_.write("chat.jsonl", changed);
    const ProgramResult validated =
        run_lockstep_program(0, {"batchplan", "validate", "-p", plan, "-l", corpus, "--strict"});
    EXPECT_EQ(validated.exit_code, 65) << validated.out << validated.err;
    EXPECT_THAT(validated.err, HasSubstr("was changed since it was ingested"));
}

TEST_F(ChatTest, BadConversationsAreRefusedByLine) {
    const auto refused = [&](const std::string& format, const std::string& data, int code,
                             const std::string& noun) {
        const ProgramResult result = ingest("bytes", format, data, "bad.h5");
        EXPECT_EQ(result.exit_code, code) << result.err;
        EXPECT_THAT(result.err, HasSubstr(noun));
        EXPECT_FALSE(std::filesystem::exists(directory_ / "bad.h5"));
    };
    const std::string bad =
        directory_.write("bad.jsonl", lines() + R"({"messages":[{"role":"tool","content":"x"}]})" + "\n")
            .string();
    refused("chatml", bad, 65, "bad.jsonl:5: message 1: role 'tool' is unknown");
    refused("chatlm", data_, 2, "chat format 'chatlm' is unknown");
    refused("chatml", texts_, 2, "is not JSONL");
}

}  // namespace
}  // namespace lockstep::test
