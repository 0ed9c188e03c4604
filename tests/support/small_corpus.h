// tests/support/small_corpus.h
//
// Small corpora written by hand.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/base/philox.h"
#include "io/corpus/corpus.h"

namespace lockstep {

/// A sample that owns what a SampleRecord borrows.
struct SmallSample {
    std::vector<std::uint32_t> tokens;
    std::optional<std::vector<LossSpan>> spans;  ///< None: the whole sample is trained.
    std::string key;
    std::optional<double> score = {};
};

inline constexpr std::uint64_t small_vocabulary = 300;

/// `tag` tells tokenizers apart.
inline CorpusTokenizer small_tokenizer(const std::string& tag = "test-tokenizer") {
    CorpusTokenizer tokenizer;
    tokenizer.description_json = R"({"kind":"bytes"})";
    tokenizer.fingerprint = FingerprintBuilder(tag).finish();
    tokenizer.vocabulary_size = small_vocabulary;
    return tokenizer;
}

inline std::vector<std::uint32_t> small_tokens(std::size_t count, std::uint64_t seed) {
    const Philox random(seed, "small-tokens");
    std::vector<std::uint32_t> tokens;
    for (std::size_t i = 0; i < count; ++i) {
        tokens.push_back(static_cast<std::uint32_t>(random.below(i, small_vocabulary)));
    }
    return tokens;
}

/// Borrows from `sample`.
inline SampleRecord record_of(const SmallSample& sample, std::uint64_t source_offset) {
    SampleRecord record;
    record.tokens = sample.tokens;
    record.has_loss_spans = sample.spans.has_value();
    if (sample.spans) record.loss_spans = *sample.spans;
    record.key = sample.key;
    record.score = sample.score;
    record.source_offset = source_offset;
    record.source_digest = digest_of_array(std::span(sample.tokens));
    return record;
}

inline std::filesystem::path write_small_corpus(const std::filesystem::path& path,
                                                const std::vector<SmallSample>& samples,
                                                const CorpusTokenizer& tokenizer = small_tokenizer()) {
    CorpusWriter writer(path, tokenizer, Overwrite::yes);
    writer.add_source({"texts.jsonl", 1234, Digest{5, 6}});
    for (std::size_t i = 0; i < samples.size(); ++i) writer.add(record_of(samples[i], 10 * i));
    writer.publish();
    return path;
}

}  // namespace lockstep
