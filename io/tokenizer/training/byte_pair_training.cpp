#include "io/base/error.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/training/pair_learning.h"
#include "io/tokenizer/training/tokenizer_training.h"
#include "io/tokenizer/training/trained_file.h"

namespace lockstep {

namespace {

constexpr std::size_t vocabulary_max = std::size_t{1} << 24U;

std::size_t symbols_wanted(const TrainingOptions& options) {
    const std::size_t fixed = 256 + trained_specials(options).size();
    if (options.vocabulary_size < fixed || options.vocabulary_size > vocabulary_max) {
        throw Error(ErrorCode::invalid_argument,
                    "a vocabulary of " + std::to_string(options.vocabulary_size) +
                        " was asked for; 256 bytes and " + std::to_string(fixed - 256) +
                        " special token(s) need at least " + std::to_string(fixed) + ", and at most " +
                        std::to_string(vocabulary_max) + " are possible");
    }
    return options.vocabulary_size - (fixed - 256);
}

/// A byte is a symbol of every vocabulary, under the character that stands for it.
void refuse_spellings_of_bytes(const TrainingOptions& options) {
    for (const std::string& special : trained_specials(options)) {
        for (const unsigned char byte : byte_level_order()) {
            const char stored = static_cast<char>(byte);
            if (mapped_bytes({&stored, 1}) != special) continue;
            throw Error(ErrorCode::invalid_argument, "special token '" + special + "' is how the byte " +
                                                         std::to_string(byte) +
                                                         " is spelled in the vocabulary; name it otherwise");
        }
    }
}

}  // namespace

TrainedTokenizer train_byte_pairs(TextSource texts, const TrainingOptions& options,
                                  FunctionRef<void(std::size_t)> progress) {
    const std::size_t symbols_max = symbols_wanted(options);
    refuse_spellings_of_bytes(options);
    const std::string_view pattern = named_split_pattern(options.split);
    if (pattern.empty()) {
        throw Error(ErrorCode::invalid_argument,
                    "--split is '" + options.split + "'; expected gpt2, cl100k, qwen2 or o200k");
    }
    if (options.count_min == 0)
        throw Error(ErrorCode::invalid_argument,
                    "pairs that never occur cannot be learned; --count-min is 0");
    const auto splitter = make_known_splitter(pattern);
    const WordCounts words = count_words(*splitter, texts, options.threads);
    if (words.size() == 0) throw Error(ErrorCode::invalid_argument, "there is no text to train on");

    TrainedTokenizer trained;
    trained.different_words = words.size();
    for (std::size_t i = 0; i < words.size(); ++i) trained.words += words.count(i);
    const LearnedPairs learned =
        learn_pairs(words, {symbols_max, options.count_min, trained_specials(options)}, progress);
    trained.vocabulary_size = learned.symbols.size() + (options.vocabulary_size - symbols_max);
    trained.text_bytes = learned.text_bytes;
    trained.text_tokens = learned.text_symbols;
    trained.file = byte_pair_file(learned, options);
    trained.config = config_file(options, "");
    return trained;
}

}  // namespace lockstep
