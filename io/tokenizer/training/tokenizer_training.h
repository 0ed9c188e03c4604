// io/tokenizer/training/tokenizer_training.h
//
// A vocabulary of one's own, learned from texts and written as a tokenizer.json
// that Hugging Face's engine and this one read with equal ids. The bytes written
// depend on the texts and the options alone, not on threads, machine or time.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/tokenizer/training/word_counts.h"

namespace lockstep {

struct TrainingOptions {
    std::size_t vocabulary_size = 0;    ///< Of all ids: specials, alphabet and what is learned.
    std::string split = "gpt2";         ///< BPE: gpt2, cl100k, qwen2 or o200k; how texts become words.
    std::uint64_t count_min = 2;        ///< BPE: pairs that occur less often are not merged.
    std::string eos = "<|endoftext|>";  ///< Ends documents; the first special. Empty: none.
    std::vector<std::string> specials;  ///< Further tokens that are no text, in the order of their ids.
    std::string chat_template;          ///< Jinja, for tokenizer_config.json; may be empty.
    int threads = 1;
};

struct TrainedTokenizer {
    std::string file;                 ///< tokenizer.json
    std::string config;               ///< tokenizer_config.json
    std::size_t vocabulary_size = 0;  ///< Less than wanted if no further pair was frequent enough.
    // Of BPE: what was counted, and what the texts come to in the new vocabulary.
    std::uint64_t words = 0, different_words = 0;
    std::uint64_t text_bytes = 0, text_tokens = 0;
};

/// Byte-level BPE: specials, 256 bytes, merges.
/// @throws Error{invalid_argument}: a vocabulary smaller than specials and bytes or greater than 2^24, an
///         unknown split, a special twice or empty, texts without any word.
TrainedTokenizer train_byte_pairs(TextSource texts, const TrainingOptions& options,
                                  FunctionRef<void(std::size_t)> progress);

/// Unigram by SentencePiece's trainer: unknown, specials, 256 bytes for what the pieces do not cover, pieces.
/// Spaces are kept as they are; nothing is normalized. Lines are read one by one, long ones in parts.
/// @throws Error{invalid_argument} as above, and if the texts give fewer pieces than wanted.
TrainedTokenizer train_unigram(TextSource texts, const TrainingOptions& options);

}  // namespace lockstep
