// The tokenizer's verbs as a user runs them: figures that can be counted by hand,
// what doctor finds and mends, and what fingerprint saves.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace lockstep::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json asked(std::vector<std::string> arguments, int exit_code = 0) {
    arguments.insert(arguments.begin(), "tokenizer");
    arguments.push_back("--json");
    const ProgramResult result = run_lockstep_program(0, arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    return json::parse(result.out);
}

json finding(const json& answer, const std::string& name) {
    for (const json& one : answer.at("findings"))
        if (one.at("name") == name) return one;
    ADD_FAILURE() << "no finding '" << name << "' in " << answer;
    return {{"level", ""}, {"text", ""}};
}

class TokenizerVerbsTest : public testing::Test {
  protected:
    /// Byte-level BPE with the tokens of ChatML, learned from a text.
    std::string trained() {
        std::string text;
        for (int i = 0; i < 200; ++i)
            text += "the cat and the hat sat on the mat, " + std::to_string(i) + "\n";
        const std::string folder = (directory_ / "trained").string();
        const ProgramResult result = run_lockstep_program(
            0, {"tokenizer", "train", "--vocab-size", "280", "-d", directory_.write("t.txt", text).string(),
                "--special", "<|im_start|>", "--special", "<|im_end|>", "-o", folder});
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return folder;
    }

    TemporaryDirectory directory_;
};

/// What the program writes on a terminal.
std::string on_terminal(const std::vector<std::string>& arguments, const Environment& environment) {
    int terminal = -1, other_end = -1;
    if (openpty(&terminal, &other_end, nullptr, nullptr, nullptr) != 0)
        throw std::runtime_error("no terminal");
    const pid_t child = fork();
    if (child == 0) {
        dup2(other_end, STDOUT_FILENO);
        unsetenv("NO_COLOR");
        for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
        std::vector<char*> raw{const_cast<char*>(LOCKSTEP_BINARY)};
        for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
        raw.push_back(nullptr);
        execv(raw[0], raw.data());
        _exit(127);
    }
    close(other_end);
    std::string text;
    std::array<char, 4096> block{};
    for (ssize_t size = 0; (size = read(terminal, block.data(), block.size())) > 0;)
        text.append(block.data(), static_cast<std::size_t>(size));
    close(terminal);
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    return text;
}

TEST_F(TokenizerVerbsTest, ATerminalShowsBordersInColours) {
    const std::vector<std::string> encode{"tokenizer", "encode", "-t", "bytes", "--text", "a\nbcd"};
    const std::string ids = "97 10 98 99 100\r\n";
    const std::string borders =
        "\x1b[48;5;24ma\x1b[0m\x1b[48;5;94m\\n\x1b[0m\x1b[48;5;22mb\x1b[0m"
        "\x1b[48;5;53mc\x1b[0m\x1b[48;5;24md\x1b[0m\r\n";
    EXPECT_EQ(on_terminal(encode, {}), ids + borders);
    EXPECT_EQ(on_terminal(encode, {{"NO_COLOR", ""}}), ids + borders);
    EXPECT_EQ(on_terminal(encode, {{"NO_COLOR", "1"}}), ids);
    // A file is no terminal.
    EXPECT_EQ(run_lockstep_program(0, encode).out, "97 10 98 99 100\n");
}

TEST_F(TokenizerVerbsTest, WhatIsNotFollowedIsSaidOnce) {
    const std::string folder = trained();
    json file = json::parse(directory_.read("trained/tokenizer.json"));
    file["truncation"] = {{"max_length", 4}};
    directory_.write("trained/tokenizer.json", file.dump());
    const std::string texts = directory_.write("texts.txt", "the cat and the hat and the mat").string();
    const ProgramResult result =
        run_lockstep_program(0, {"ingest", "-d", texts, "-t", folder, "-o", (directory_ / "c.h5").string()});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const std::size_t at = result.err.find("not followed: truncation (");
    ASSERT_NE(at, std::string::npos) << result.err;
    EXPECT_EQ(result.err.find("not followed", at + 20), std::string::npos) << result.err;
}

TEST_F(TokenizerVerbsTest, TrainRefusesBeforeItReads) {
    const std::string text = directory_.write("t.txt", "the cat and the hat").string();
    const auto refused = [&](const std::vector<std::string>& more, int code, const char* noun) {
        std::vector<std::string> arguments{"tokenizer", "train", "--vocab-size", "280", "-d", text};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const ProgramResult result = run_lockstep_program(0, arguments);
        EXPECT_EQ(result.exit_code, code) << result.err;
        EXPECT_THAT(result.err, HasSubstr(noun));
    };
    const std::string output = (directory_ / "t.json").string();
    refused({"--type", "unigram", "--split", "cl100k", "-o", output}, 2, "--split and --count-min");
    refused({"-o", (directory_ / "absent" / "t.json").string()}, 66, "make it first");
}

TEST_F(TokenizerVerbsTest, DecodeUndoesEncode) {
    const std::string folder = trained(), text = "the hat, 東京 🙂\tand\n<|im_end|>";
    const json ids = asked({"encode", "-t", folder, "--text", text}).at("ids");
    ASSERT_EQ(ids.size(), 1U);
    std::vector<std::string> decode{"decode", "-t", folder};
    for (const json& id : ids.at(0)) decode.push_back(id.dump());
    EXPECT_EQ(asked(decode).at("texts").at(0), text);
    // Read as a special token, the marker is no text any more.
    const json parsed =
        asked({"encode", "-t", folder, "--specials", "parse", "--text", text}).at("ids").at(0);
    EXPECT_LT(parsed.size(), ids.at(0).size());
    const json found = asked({"vocab", "-t", folder, "--search", "<|im_end|>"});
    ASSERT_EQ(found.at("found"), 1);
    EXPECT_EQ(found.at("tokens").at(0).at("id"), parsed.back());
    EXPECT_EQ(found.at("tokens").at(0).at("special"), true);
}

TEST_F(TokenizerVerbsTest, InvalidUtf8IsRefusedOrReplaced) {
    const std::string text = "caf\xE9";
    std::vector<std::string> encode{"tokenizer", "encode", "-t", "bytes", "--text", text};
    EXPECT_EQ(run_lockstep_program(0, encode).exit_code, 65);
    EXPECT_EQ(asked({"encode", "-t", "bytes", "--text", text, "--invalid-utf8", "replace"}).at("ids"),
              json::parse("[[99, 97, 102, 239, 191, 189]]"));
    encode.insert(encode.end(), {"--invalid-utf8", "drop"});
    const ProgramResult unknown = run_lockstep_program(0, encode);
    EXPECT_EQ(unknown.exit_code, 2);
    EXPECT_THAT(unknown.err, HasSubstr("expected refuse or replace"));
}

TEST_F(TokenizerVerbsTest, OffsetsSayWhereTokensStand) {
    const std::vector<std::string> encode{"tokenizer", "encode", "-t", "bytes", "--text", "a\u00e9"};
    const auto with = [&](std::initializer_list<std::string> more) {
        std::vector<std::string> arguments = encode;
        arguments.insert(arguments.end(), more);
        const ProgramResult result = run_lockstep_program(0, arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result.out;
    };
    EXPECT_EQ(with({"--offsets"}), "0\t1\t97\ta\n1\t3\t195\t\uFFFD\n1\t3\t169\t\uFFFD\n");
    const auto object = nlohmann::json::parse(with({"--offsets", "--json"}));
    EXPECT_EQ(object.at("ids").dump(), "[[97,195,169]]");
    EXPECT_EQ(object.at("offsets").dump(), "[[[0,1],[1,3],[1,3]]]");
    EXPECT_FALSE(nlohmann::json::parse(with({"--json"})).contains("offsets"));
}

TEST_F(TokenizerVerbsTest, CompareCountsTextsWithOtherIds) {
    const std::string folder = trained();
    const std::string texts =
        directory_.write("two.jsonl", "{\"text\": \"the mat\"}\n{\"text\": \"xyz\"}\n").string();
    json answer = asked({"compare", "-t", folder, "--with", folder, "-d", texts});
    EXPECT_EQ(answer.at("same_fingerprint"), true);
    EXPECT_EQ(answer.at("texts_different"), 0);
    answer = asked({"compare", "-t", "bytes", "--with", folder, "-d", texts}, 1);
    EXPECT_EQ(answer.at("same_fingerprint"), false);
    EXPECT_EQ(answer.at("texts"), 2);
    EXPECT_EQ(answer.at("tokens").at(0), 10);
    EXPECT_LT(answer.at("tokens").at(1), 10);
}

TEST_F(TokenizerVerbsTest, FingerprintIsSavedAndNotReplaced) {
    const std::string folder = trained(), file = (directory_ / "fingerprint.json").string();
    const json shown = asked({"fingerprint", "-t", folder, "--save", file});
    EXPECT_EQ(json::parse(directory_.read("fingerprint.json")), shown);
    EXPECT_EQ(shown.at("vocabulary"), 280);
    EXPECT_TRUE(shown.at("eos").is_number());
    EXPECT_NE(asked({"fingerprint", "-t", "bytes"}).at("fingerprint"), shown.at("fingerprint"));

    const ProgramResult again =
        run_lockstep_program(0, {"tokenizer", "fingerprint", "-t", "bytes", "--save", file});
    EXPECT_EQ(again.exit_code, 73) << again.err;
    EXPECT_THAT(again.err, HasSubstr(file));
    EXPECT_EQ(json::parse(directory_.read("fingerprint.json")), shown);
    asked({"fingerprint", "-t", "bytes", "--save", file, "--force"});
    EXPECT_NE(json::parse(directory_.read("fingerprint.json")), shown);
}

TEST_F(TokenizerVerbsTest, DoctorCompletesAConfiguration) {
    const std::string folder = trained();
    // As some models come: a length somebody set, and nothing about texts' ends or chats.
    directory_.write("trained/tokenizer_config.json", R"({"model_max_length": 77})");
    EXPECT_EQ(finding(asked({"doctor", "-t", folder}), "chat_template").at("level"), "advice");

    const json fixed = asked({"doctor", "-t", folder, "--fix"});
    EXPECT_EQ(fixed.at("problems"), 0) << fixed;
    EXPECT_GE(fixed.at("fixed").size(), 2U) << fixed;
    for (const char* name : {"eos", "pad", "chat_template"})
        EXPECT_EQ(finding(fixed, name).at("level"), "good") << fixed;
    const json config = json::parse(directory_.read("trained/tokenizer_config.json"));
    EXPECT_EQ(config.at("model_max_length"), 77);
    EXPECT_EQ(config.at("eos_token"), "<|endoftext|>");
    EXPECT_EQ(config.at("pad_token"), "<|endoftext|>");
    EXPECT_THAT(config.at("chat_template").get<std::string>(), HasSubstr("<|im_start|>"));

    const std::string before = directory_.read("trained/tokenizer_config.json");
    EXPECT_EQ(asked({"doctor", "-t", folder, "--fix"}).at("fixed").size(), 0U);
    EXPECT_EQ(directory_.read("trained/tokenizer_config.json"), before);
}

TEST_F(TokenizerVerbsTest, DoctorNamesWhatItCannotMend) {
    const std::string folder = trained();
    json config = json::parse(directory_.read("trained/tokenizer_config.json"));
    config["chat_template"] = "{% for m in messages %}<|im_start|>{{ m }}<|nobody|>";
    const std::string text = config.dump();
    directory_.write("trained/tokenizer_config.json", text);
    const json answer = asked({"doctor", "-t", folder}, 1);
    EXPECT_EQ(answer.at("problems"), 2) << answer;
    EXPECT_THAT(finding(answer, "chat_template").at("text").get<std::string>(), HasSubstr("'for'"));
    EXPECT_THAT(finding(answer, "chat_tokens").at("text").get<std::string>(), HasSubstr("'<|nobody|>'"));
    // What is there stays, whatever it is worth.
    asked({"doctor", "-t", folder, "--fix"}, 1);
    EXPECT_EQ(json::parse(directory_.read("trained/tokenizer_config.json")).at("chat_template"),
              config.at("chat_template"));

    const std::string file = folder + "/tokenizer.json";
    const ProgramResult no_folder = run_lockstep_program(0, {"tokenizer", "doctor", "-t", file, "--fix"});
    EXPECT_EQ(no_folder.exit_code, 2);
    EXPECT_THAT(no_folder.err, HasSubstr("'" + file + "' is none"));
}

TEST_F(TokenizerVerbsTest, AnalyzeCountsWhatCanBeCountedByHand) {
    // Texts of 4 and 11 bytes; é is two of them.
    const std::string texts =
        directory_.write("two.jsonl", "{\"text\": \"a bb\"}\n{\"text\": \"b é a bb b\"}\n").string();
    const auto analyze = [&](const std::string& question, const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments{"analyze", question, "-t", "bytes", "-d", texts};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return asked(arguments);
    };
    const json efficiency = analyze("efficiency");
    EXPECT_EQ(efficiency.at("texts"), 2);
    EXPECT_EQ(efficiency.at("bytes"), 15);
    EXPECT_EQ(efficiency.at("tokens"), 15);
    EXPECT_DOUBLE_EQ(efficiency.at("characters_per_token").get<double>(), 14.0 / 15);
    EXPECT_DOUBLE_EQ(efficiency.at("tokens_per_text").get<double>(), 7.5);
    EXPECT_EQ(efficiency.at("longest"), 11);

    // a 2, b 6, space 5, two bytes of é 1 each.
    double bits = 0;
    for (const double count : {2.0, 6.0, 5.0, 1.0, 1.0}) bits -= count / 15 * std::log2(count / 15);
    const json entropy = analyze("entropy");
    EXPECT_NEAR(entropy.at("bits_per_token").get<double>(), bits, 1e-12);
    EXPECT_NEAR(entropy.at("perplexity").get<double>(), std::exp2(bits), 1e-9);
    EXPECT_NEAR(entropy.at("bits_per_byte").get<double>(), bits, 1e-12);
    EXPECT_DOUBLE_EQ(entropy.at("top_ten").get<double>(), 1);

    // At 6 tokens a text: two of padding, five of eleven cut off.
    const json waste = analyze("waste", {"--max-length", "6"});
    EXPECT_EQ(waste.at("padding"), 2);
    EXPECT_DOUBLE_EQ(waste.at("padding_share").get<double>(), 2.0 / 12);
    EXPECT_EQ(waste.at("lost"), 5);
    EXPECT_DOUBLE_EQ(waste.at("lost_share").get<double>(), 5.0 / 15);
    EXPECT_EQ(waste.at("cut_little"), 0);
    EXPECT_EQ(waste.at("cut_much"), 1);
    EXPECT_EQ(waste.at("cut_most"), 0);

    // Words: a 2, bb 2, b 2, é 1.
    const json oov = analyze("oov");
    EXPECT_EQ(oov.at("words"), 7);
    EXPECT_EQ(oov.at("different"), 4);
    EXPECT_DOUBLE_EQ(oov.at("with_fragments").get<double>(), 1.0 / 7);
    EXPECT_DOUBLE_EQ(oov.at("with_unknown").get<double>(), 0);
    ASSERT_EQ(oov.at("most_frequent").size(), 1U);
    EXPECT_EQ(oov.at("most_frequent").at(0).at("word"), "é");

    const json coverage = analyze("coverage");
    EXPECT_DOUBLE_EQ(coverage.at("fragments").get<double>(), 2.0 / 15);
    EXPECT_DOUBLE_EQ(coverage.at("whole_words").get<double>(), 4.0 / 7);
    EXPECT_EQ(coverage.at("texts_changed"), 0);

    const json fit = analyze("fit-score");
    double sum = 0;
    for (const char* part : {"length", "known", "words", "used"}) sum += fit.at(part).get<double>();
    EXPECT_NEAR(fit.at("fit").get<double>(), sum, 1e-9);
    EXPECT_NEAR(fit.at("words").get<double>(), 20 * 4.0 / 7, 1e-9);

    const json vocabulary = analyze("vocabulary", {"--count", "2"});
    EXPECT_EQ(vocabulary.at("used"), 5);
    EXPECT_EQ(vocabulary.at("once"), 2);
    ASSERT_EQ(vocabulary.at("most_frequent").size(), 2U);
    EXPECT_EQ(vocabulary.at("most_frequent").at(0).at("text"), "b");
    EXPECT_EQ(vocabulary.at("most_frequent").at(0).at("count"), 6);
}

TEST_F(TokenizerVerbsTest, NothingToAnalyzeIsSaid) {
    const std::string empty = directory_.write("empty.jsonl", "{\"text\": \"\"}\n").string();
    const ProgramResult result =
        run_lockstep_program(0, {"tokenizer", "analyze", "entropy", "-t", "bytes", "-d", empty});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("no tokens"));
}

}  // namespace
}  // namespace lockstep::test
