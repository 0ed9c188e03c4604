// Figures computed by hand for a vocabulary of bytes and four tokens more.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/tokenizer/analysis/token_statistics.h"
#include "io/tokenizer/analysis/tokenizer_check.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/tokenizer_files.h"
#include "tests/support/error_of.h"

namespace lockstep {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Bytes 0 to 255, "ab" 256, " ab" 257, "12" 258, "xyz" 259, which nothing is merged to, then the specials.
std::unique_ptr<Tokenizer> small(const std::vector<std::string>& specials = {"<|endoftext|>"},
                                 const std::string& config = "") {
    json vocabulary = json::object();
    for (unsigned b = 0; b < 256; ++b) vocabulary[mapped_bytes(std::string(1, static_cast<char>(b)))] = b;
    vocabulary["ab"] = 256;
    vocabulary[mapped_bytes(" ab")] = 257;
    vocabulary["12"] = 258;
    vocabulary["xyz"] = 259;  // No merge makes it.
    json added = json::array();
    for (const std::string& special : specials)
        added.push_back({{"id", 260 + added.size()}, {"content", special}, {"special", true}});
    const json file = {
        {"version", "1.0"},
        {"added_tokens", added},
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
        {"decoder", {{"type", "ByteLevel"}}},
        {"model",
         {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", mapped_bytes(" ") + " ab", "1 2"}}}}};
    return make_json_tokenizer(file.dump(), config, "", SpecialsPolicy{});
}

TokenTally tally_of(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
    TokenTallying tallying(tokenizer);
    for (const std::string& text : texts) tallying.add(text);
    return tallying.take();
}

TEST(TokenTallyTest, CountsTokensCharactersAndWords) {
    const auto tokenizer = small();
    // "ab", " ab" | "c", " ab" | two bytes of é
    const TokenTally tally = tally_of(*tokenizer, {"ab ab", "c ab", "é"});
    EXPECT_EQ(tally.counts[256], 1U);
    EXPECT_EQ(tally.counts[257], 2U);
    EXPECT_EQ(tally.tokens(), 6U);
    EXPECT_THAT(tally.text_tokens, ElementsAre(2, 2, 2));
    EXPECT_EQ(tally.bytes, 5U + 4U + 2U);
    EXPECT_EQ(tally.characters, 5U + 4U + 1U);
    EXPECT_EQ(tally.num_words(), 5U);
    EXPECT_EQ(tally.words.size(), 3U);
    EXPECT_EQ(tally.texts_changed, 0U);
    const auto words = tokenize_words(*tokenizer, tally.words);
    ASSERT_EQ(words.size(), 3U);
    EXPECT_EQ(words[0].word, "ab");
    EXPECT_EQ(words[0].count, 3U);
    EXPECT_EQ(words[0].tokens, 1U);
    EXPECT_EQ(words[2].word, "é");
    EXPECT_TRUE(words[2].has_fragments);
    EXPECT_FALSE(words[1].has_fragments);
}

TEST(TokenStatisticsTest, Coverage) {
    const auto tokenizer = small();
    const TokenTally tally = tally_of(*tokenizer, {"ab ab", "c ab", "é"});
    const auto words = tokenize_words(*tokenizer, tally.words);
    const CoverageFigures figures = coverage_of(*tokenizer, tally, words);
    EXPECT_DOUBLE_EQ(figures.vocabulary_used, 5.0 / 261);
    EXPECT_DOUBLE_EQ(figures.fragments, 2.0 / 6);
    EXPECT_DOUBLE_EQ(figures.unknown, 0);
    EXPECT_DOUBLE_EQ(figures.whole_words, 4.0 / 5);
    const EfficiencyFigures efficiency = efficiency_of(tally);
    EXPECT_DOUBLE_EQ(efficiency.bytes_per_token, 11.0 / 6);
    EXPECT_DOUBLE_EQ(efficiency.characters_per_token, 10.0 / 6);
    EXPECT_DOUBLE_EQ(efficiency.tokens_per_word, 6.0 / 5);
    EXPECT_EQ(efficiency.p99, 2U);
    const FitScore fit = fit_of(efficiency, coverage_of(*tokenizer, tally, words));
    EXPECT_DOUBLE_EQ(fit.length, 40 * (10.0 / 6) / 4);
    EXPECT_DOUBLE_EQ(fit.known, 0) << "a third of the tokens are fragments";
    EXPECT_DOUBLE_EQ(fit.words, 16);
    EXPECT_DOUBLE_EQ(fit.used, 10 * (5.0 / 261) / 0.5);
    EXPECT_EQ(fit.grade(), 'F');
}

TEST(TokenStatisticsTest, Entropy) {
    const std::vector<std::uint64_t> counts{4, 2, 1, 1, 0, 0, 0, 0};
    const EntropyFigures figures = entropy_of(counts, 16);
    EXPECT_DOUBLE_EQ(figures.bits_per_token, 0.5 * 1 + 0.25 * 2 + 2 * 0.125 * 3);
    EXPECT_DOUBLE_EQ(figures.perplexity, std::exp2(1.75));
    EXPECT_DOUBLE_EQ(figures.normalized, 1.75 / 3);
    EXPECT_DOUBLE_EQ(figures.bits_per_byte, 1.75 * 8 / 16);
    EXPECT_DOUBLE_EQ(figures.top_ten, 1);
    EXPECT_DOUBLE_EQ(entropy_of(std::vector<std::uint64_t>(5), 0).bits_per_token, 0);
    EXPECT_THAT(most_frequent(counts, 3), ElementsAre(0, 1, 2));
}

TEST(TokenStatisticsTest, PercentilesAreNearestRanks) {
    TokenTally tally;
    for (std::uint32_t i = 1; i <= 10; ++i) tally.text_tokens.push_back(11 - i);
    const EfficiencyFigures figures = efficiency_of(tally);
    EXPECT_EQ(figures.median, 5U);
    EXPECT_EQ(figures.p90, 9U);
    EXPECT_EQ(figures.p99, 10U);
    EXPECT_EQ(figures.longest, 10U);
}

TEST(TokenStatisticsTest, Waste) {
    // To 100: 60 and 1 of padding; 5 of 105 lost, 100 of 200, 300 of 400.
    const WasteFigures figures = waste_of(std::vector<std::uint32_t>{40, 99, 100, 105, 200, 400}, 100);
    EXPECT_EQ(figures.padding, 61U);
    EXPECT_EQ(figures.lost, 405U);
    EXPECT_DOUBLE_EQ(figures.padding_share, 61.0 / 600);
    EXPECT_DOUBLE_EQ(figures.lost_share, 405.0 / 944);
    EXPECT_EQ(figures.cut_little, 1U);
    EXPECT_EQ(figures.cut_much, 1U);
    EXPECT_EQ(figures.cut_most, 1U);
}

TEST(TokenStatisticsTest, Vocabulary) {
    const auto tokenizer = small();
    const TokenTally tally = tally_of(*tokenizer, {"ab ab ab", "12"});
    const VocabularyFigures figures = vocabulary_of(*tokenizer, tally.counts);
    EXPECT_EQ(figures.used, 3U);
    EXPECT_EQ(figures.once, 2U);
    EXPECT_EQ(figures.specials, 1U);
    EXPECT_EQ(figures.fragments, 128U);
    EXPECT_EQ(figures.with_space, 1U);
    EXPECT_EQ(figures.words, 52U + 2U);
    EXPECT_EQ(figures.digits, 10U + 1U);
    EXPECT_EQ(figures.other, 128U - 62U);
    EXPECT_EQ(figures.by_bytes[1], 256U);
    EXPECT_EQ(figures.by_bytes[3], 2U);
    EXPECT_THAT(figures.not_reached, ElementsAre(259));
}

std::string finding(const Tokenizer& tokenizer, const std::string& name, FindingLevel level) {
    for (const Finding& found : check_tokenizer(tokenizer))
        if (found.name == name && found.level == level) return found.text;
    return "none";
}

TEST(TokenizerCheckTest, NamesWhatIsMissing) {
    EXPECT_THAT(finding(*small({}), "eos", FindingLevel::problem), HasSubstr("no end-of-text token"));
    EXPECT_THAT(finding(*small(), "eos", FindingLevel::good), HasSubstr("'<|endoftext|>' (260)"));
    EXPECT_THAT(finding(*small(), "pad", FindingLevel::advice), HasSubstr("no padding token"));
    EXPECT_THAT(finding(*small(), "reach", FindingLevel::advice), HasSubstr("1 tokens is encoded otherwise"));
    EXPECT_THAT(finding(*small(), "round_trip", FindingLevel::good), HasSubstr("ten kinds"));
    const auto chat = small({"<|endoftext|>", "<|im_start|>", "<|im_end|>"});
    EXPECT_THAT(finding(*chat, "chat_template", FindingLevel::advice), HasSubstr("chatml"));
    const auto broken =
        small({"<|endoftext|>"}, R"({"chat_template":"{% for m in messages %}{{ '<|user|>' }}"})");
    EXPECT_THAT(finding(*broken, "chat_template", FindingLevel::problem), HasSubstr("'for' is not closed"));
    EXPECT_THAT(finding(*broken, "chat_tokens", FindingLevel::problem), HasSubstr("'<|user|>'"));
}

TEST(TokenizerCheckTest, ReadsTheBlocksOfATemplate) {
    EXPECT_EQ(template_problem(""), "");
    EXPECT_EQ(template_problem("{% if a %}{% for b in c %}{{ b }}{%- endfor -%}{% else %}{% endif %}{# x #}"),
              "");
    EXPECT_EQ(template_problem("{% set a = 1 %}{% set b %}x{% endset %}"), "");
    EXPECT_EQ(template_problem("{% call(x) m() %}{% filter upper %}a{% endfilter %}{% endcall %}"), "");
    EXPECT_EQ(template_problem("{% block a %}{% with b = 1 %}{% endwith %}{% endblock a %}"), "");
    EXPECT_EQ(template_problem("{%- raw -%}{% if {{ {# {%- endraw -%}{% if a %}{% endif %}"), "");
    EXPECT_EQ(template_problem("{% raw %}{% endif %}"), "'raw' is not closed");
    EXPECT_EQ(template_problem("{% with a = 1 %}{% endif %}"), "'endif' closes nothing; 'with' is open");
    EXPECT_EQ(template_problem("{% if a %}"), "'if' is not closed");
    EXPECT_EQ(template_problem("{% if a %}{% endfor %}"), "'endfor' closes nothing; 'if' is open");
    EXPECT_EQ(template_problem("{% endif %}"), "'endif' closes nothing");
    EXPECT_THAT(template_problem("ab{{ c "), HasSubstr("'{{' at 2 is not closed"));
    for (const std::string_view format : {"chatml", "llama", "phi", "gemma"}) {
        EXPECT_EQ(template_problem(chat_template_of_format(format)), "");
        EXPECT_THAT(template_tokens(chat_template_of_format(format)), testing::Not(IsEmpty()));
    }
    EXPECT_THAT(template_tokens("{{ '<|im_start|>' + x + '<|im_end|>' }}{% if a < b and c > d %}"),
                ElementsAre("<|im_start|>", "<|im_end|>"));
    EXPECT_THAT(
        template_tokens("{# writes <eot> #}{{ '<s>' + x + '</s>' }}\n<start_of_turn>user\\n<end_of_turn>"),
        ElementsAre("<s>", "</s>", "<start_of_turn>", "<end_of_turn>"));
    EXPECT_THAT(template_tokens("{{ 'Answer in <b>bold</b>, call <function-name> within <tools></tools>:"
                                "\\n<tools>' }} a <|user|>"),
                ElementsAre("<|user|>"));
}

TEST(TokenizerCheckTest, RepairsAConfigurationAndKeepsWhatIsThere) {
    const auto tokenizer = small({"<|endoftext|>", "<|im_start|>", "<|im_end|>"});
    std::vector<std::string> changes;
    const json fixed =
        json::parse(repaired_config(*tokenizer, R"({"a":1,"eos_token":"<|im_end|>"})", changes));
    EXPECT_EQ(fixed.at("a"), 1);
    EXPECT_EQ(fixed.at("eos_token"), "<|im_end|>");
    EXPECT_EQ(fixed.at("pad_token"), "<|endoftext|>");
    EXPECT_THAT(fixed.at("chat_template").get<std::string>(), HasSubstr("<|im_start|>assistant"));
    EXPECT_EQ(changes.size(), 2U);
    const auto repaired = small({"<|endoftext|>", "<|im_start|>", "<|im_end|>"}, fixed.dump());
    changes.clear();
    repaired_config(*repaired, fixed.dump(), changes);
    EXPECT_THAT(changes, IsEmpty()) << "what was repaired needs no repair";
    EXPECT_EQ(error_of([&] { repaired_config(*tokenizer, "[]", changes); }).code(), ErrorCode::corrupt_data);
    const std::string named = R"({"chat_template": [{"name": "rag", "template": "{{ x }}{% if y %}"}]})";
    const auto other = small({"<|endoftext|>", "<|im_start|>", "<|im_end|>"}, named);
    EXPECT_THAT(finding(*other, "chat_template", FindingLevel::problem), HasSubstr("'rag'"));
    const json kept = json::parse(repaired_config(*other, named, changes)).at("chat_template");
    ASSERT_EQ(kept.size(), 2U);
    EXPECT_EQ(kept[0].at("name"), "rag");
    EXPECT_EQ(kept[1].at("name"), "default");
}

}  // namespace
}  // namespace lockstep
