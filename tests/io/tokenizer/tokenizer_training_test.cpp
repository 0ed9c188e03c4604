#include "io/tokenizer/training/tokenizer_training.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/training/pair_learning.h"
#include "tests/io/encoded.h"
#include "tests/support/error_of.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Texts = std::vector<std::string>;

TrainedTokenizer train(const Texts& texts, const TrainingOptions& options) {
    const auto source = [&](FunctionRef<void(std::string_view)> take) {
        for (const std::string& text : texts) take(text);
    };
    return train_byte_pairs(source, options, [](std::size_t) {});
}

TrainedTokenizer train_pieces(const Texts& texts, const TrainingOptions& options) {
    return train_unigram(
        [&](FunctionRef<void(std::string_view)> take) {
            for (const std::string& text : texts) take(text);
        },
        options);
}

std::unique_ptr<Tokenizer> loaded(const TrainedTokenizer& trained) {
    return make_json_tokenizer(trained.file, trained.config, "", SpecialsPolicy{});
}

/// Lines of words from a small, skewed vocabulary, some of them long.
std::string babble(std::uint64_t seed, std::size_t bytes) {
    const Philox random(seed, "babble");
    const char* const syllables[] = {"ka", "to", "mi", "ré", "sun", "al", "qu", "'s", "ing", "0", "42", "ß"};
    const char* const gaps[] = {" ", " ", " ", ", ", ".\n", "\n    ", "\t", " (", "\r\n", "  "};
    std::string text;
    for (std::uint64_t draw = 0; text.size() < bytes; draw += 8) {
        const std::uint64_t parts = 1 + random.below(draw, 4);
        for (std::uint64_t i = 0; i < parts; ++i)
            text += syllables[random.below(draw + 1 + i, 1 + random.below(draw + 6, std::size(syllables)))];
        text += gaps[random.below(draw + 7, std::size(gaps))];
    }
    return text;
}

LearnedPairs learn(const std::vector<std::pair<std::string, std::uint64_t>>& words, std::size_t symbols,
                   std::uint64_t count_min = 1) {
    WordCounts counts;
    for (const auto& [word, count] : words) counts.add(word, count);
    return learn_pairs(counts, {symbols, count_min}, [](std::size_t) {});
}

std::vector<std::string> learned_after_bytes(const LearnedPairs& learned) {
    return {learned.symbols.begin() + 256, learned.symbols.end()};
}

TEST(PairLearningTest, TakesTheMostFrequentPairFirst) {
    // low 5, lower 2, newest 6, widest 3: the example of Sennrich et al. without ends of words.
    const auto learned = learn({{"low", 5}, {"lower", 2}, {"newest", 6}, {"widest", 3}}, 256 + 4);
    // "es" and "st" both 9: e is the lower id. Then "est" 9; "lo" 7 before "ow" 7; "low" 7.
    EXPECT_THAT(learned_after_bytes(learned), ElementsAre("es", "est", "lo", "low"));
    // low×5, low e r ×2, n e w est ×6, w i d est ×3
    EXPECT_EQ(learned.text_symbols, 5U + 6U + 24U + 12U);
    EXPECT_EQ(learned.text_bytes, 15U + 10U + 36U + 18U);
}

TEST(PairLearningTest, CountsOverlapsAndReplacesFromTheLeft) {
    const auto learned = learn({{"aaaaa", 1}}, 256 + 8);
    // aa aa a: then (aa, aa) before (aa, a), both once, by the lower right id, which is a's.
    EXPECT_THAT(learned_after_bytes(learned), ElementsAre("aa", "aaa", "aaaaa"));
}

TEST(PairLearningTest, StopsAtRarePairsAndGivesNoSymbolTwice) {
    EXPECT_TRUE(learned_after_bytes(learn({{"ab", 1}, {"cd", 1}}, 300, 2)).empty());
    // "abc" comes about as ab+c and as a+bc.
    const auto learned = learn({{"abx", 9}, {"bcy", 8}, {"abc", 3}, {"bcz", 5}, {"abcq", 1}}, 300);
    auto symbols = learned.symbols;
    std::ranges::sort(symbols);
    EXPECT_EQ(std::ranges::adjacent_find(symbols), symbols.end());
}

TEST(WordCountsTest, PartsHaveTheWordsOfTheWhole) {
    for (const char* name : {"gpt2", "cl100k", "qwen2", "o200k"}) {
        const auto splitter = make_known_splitter(named_split_pattern(name));
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            const std::string text = babble(seed, 3000);
            std::vector<std::size_t> whole, parts;
            splitter->split(text, [&](auto ends) { whole.insert(whole.end(), ends.begin(), ends.end()); });
            for (std::size_t begin = 0; begin < text.size();) {
                const std::size_t end = find_piece_border(text, begin + 100);
                splitter->split(std::string_view(text).substr(begin, end - begin), [&](auto ends) {
                    for (const std::size_t e : ends) parts.push_back(begin + e);
                });
                begin = end;
            }
            ASSERT_EQ(whole, parts) << name << " " << seed;
        }
    }
}

TEST(BytePairTrainingTest, ThreadsDoNotShow) {
    Texts texts{babble(1, 3 << 20)};
    for (std::uint64_t i = 0; i < 300; ++i) texts.push_back(babble(100 + i, 4000));
    TrainingOptions options;
    options.vocabulary_size = 1500;
    const TrainedTokenizer one = train(texts, options);
    for (const int threads : {2, 3, 7}) {
        options.threads = threads;
        EXPECT_EQ(train(texts, options).file, one.file) << threads;
    }
    std::ranges::reverse(texts);
    EXPECT_EQ(train(texts, options).file, one.file) << "the order of the texts shows";
    EXPECT_EQ(one.vocabulary_size, 1500U);
}

TEST(BytePairTrainingTest, EncodesAsItWasTrainedAndDecodesBack) {
    const Texts texts{babble(5, 20000), "naïve 東京 \x01 line\r\n\tend "};
    for (const char* split : {"gpt2", "cl100k", "qwen2", "o200k"}) {
        TrainingOptions options;
        options.vocabulary_size = 600;
        options.split = split;
        options.specials = {"<|im_start|>", "<|im_end|>"};
        const TrainedTokenizer trained = train(texts, options);
        const auto tokenizer = loaded(trained);
        std::uint64_t tokens = 0;
        for (const std::string& text : texts) {
            const auto ids = encode(*tokenizer, text);
            EXPECT_EQ(tokenizer->decode(ids), text);
            tokens += ids.size();
        }
        EXPECT_EQ(tokens, trained.text_tokens) << split;
        EXPECT_EQ(tokenizer->eos_id(), 0U);
        EXPECT_EQ(tokenizer->id_of("<|im_end|>"), 2U);
        EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "<|im_end|> ž")), "<|im_end|> ž");
    }
}

TEST(BytePairTrainingTest, LearnsNoSymbolThatIsASpecial) {
    std::string text;
    for (int i = 0; i < 50; ++i) text += "<s> </s> <s>the\n";
    TrainingOptions options;
    options.vocabulary_size = 300;
    options.specials = {"<s>", "Ġthe"};
    const TrainedTokenizer trained = train({text, text + " the the the"}, options);
    for (const char* special : {"\"<s>\":", "\"Ġthe\":"}) {
        const std::size_t first = trained.file.find(special);
        ASSERT_NE(first, std::string::npos);
        EXPECT_EQ(trained.file.find(special, first + 1), std::string::npos) << special << " is there twice";
    }
    const auto tokenizer = loaded(trained);
    EXPECT_EQ(tokenizer->id_of("<s>"), 1U);
    EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text + " the")), text + " the");
}

TEST(BytePairTrainingTest, SaysWhatCannotBe) {
    TrainingOptions options;
    const auto refusal = [&](const Texts& texts = {"some text"}) {
        const Error error = error_of([&] { train(texts, options); });
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        return std::string(error.what());
    };
    options.vocabulary_size = 256;
    EXPECT_THAT(refusal(), HasSubstr("need at least 257"));
    options.vocabulary_size = (std::size_t{1} << 24U) + 1;
    EXPECT_THAT(refusal(), HasSubstr("at most 16777216"));
    options.vocabulary_size = 300;
    EXPECT_THAT(refusal({}), HasSubstr("no text to train on"));
    EXPECT_THAT(refusal({"", ""}), HasSubstr("no text to train on"));
    options.specials = {"<|user|>", "<|user|>"};
    EXPECT_THAT(refusal(), HasSubstr("'<|user|>' is given twice"));
    options.specials = {"x"};
    EXPECT_THAT(refusal(), HasSubstr("too short"));
    options.specials = {"Ġ"};
    EXPECT_THAT(refusal(), HasSubstr("'Ġ' is how the byte 32 is spelled"));
    options.specials = {};
    options.split = "gpt9";
    EXPECT_THAT(refusal(), HasSubstr("expected gpt2, cl100k"));
    options.split = "gpt2";
    options.count_min = 0;
    EXPECT_THAT(refusal(), HasSubstr("--count-min"));
}

TEST(BytePairTrainingTest, ExactlyTheAlphabetIsAVocabulary) {
    TrainingOptions options;
    options.vocabulary_size = 257;
    const auto tokenizer = loaded(train({"abc"}, options));
    EXPECT_EQ(tokenizer->vocabulary_size(), 257U);
    EXPECT_EQ(encode(*tokenizer, "abc").size(), 3U);
}

TEST(UnigramTrainingTest, IsLosslessAndKeepsSpecialsOutOfText) {
    TrainingOptions options;
    options.vocabulary_size = 500;
    options.specials = {"<|im_end|>"};
    const Texts texts{babble(7, 60000), "One two  three four.\nFive six seven, eight nine ten."};
    const TrainedTokenizer trained = train_pieces(texts, options);
    options.threads = 3;
    EXPECT_EQ(train_pieces(texts, options).file, trained.file);
    const auto tokenizer = loaded(trained);
    EXPECT_EQ(tokenizer->vocabulary_size(), 500U);
    EXPECT_EQ(tokenizer->token_bytes(*tokenizer->eos_id()), "<|endoftext|>");
    for (const std::string_view text : {" two  three\n", "東京 katomi <|im_end|> <0x41>", "\tx\r\n"}) {
        const auto ids = encode(*tokenizer, text);
        EXPECT_EQ(tokenizer->decode(ids), text);
        for (const std::uint32_t id : ids) EXPECT_FALSE(tokenizer->is_special(id)) << id;
    }
}

TEST(UnigramTrainingTest, SaysWhatCannotBe) {
    TrainingOptions options;
    const auto refusal = [&](const Texts& texts) {
        return std::string(error_of([&] { train_pieces(texts, options); }).what());
    };
    options.vocabulary_size = 258;
    EXPECT_THAT(refusal({"some text"}), HasSubstr("need more than 258"));
    options.vocabulary_size = 5000;
    EXPECT_THAT(refusal({}), HasSubstr("no text to train on"));
    EXPECT_THAT(refusal({"a few words"}), HasSubstr("cannot be trained on these texts: Vocabulary size"));
}

}  // namespace
}  // namespace lockstep
