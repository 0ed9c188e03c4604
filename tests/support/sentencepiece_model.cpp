#include "tests/support/sentencepiece_model.h"

#include <sentencepiece_trainer.h>

#include <stdexcept>
#include <unordered_map>
#include <vector>

namespace lockstep {

namespace {

/// Lines of words of a few syllables, with sentences of other scripts between.
std::vector<std::string> training_lines() {
    const std::vector<std::string> syllables{"ka", "to",  "mi",  "ré",  "sun", "al", "the",
                                             "qu", "ick", "fox", "ing", "42",  "ß",  "on"};
    const std::vector<std::string> sentences{"The quick brown fox jumps over the lazy dog, twice.",
                                             "Привет, мир! Как дела?", "你好，世界。", "x->y(a, b);"};
    std::vector<std::string> lines;
    std::size_t state = 20261121;
    const auto below = [&](std::size_t n) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        return (state >> 33U) % n;
    };
    for (std::size_t line = 0; line < 400; ++line) {
        std::string text = sentences[below(sentences.size())];
        for (std::size_t word = 0; word < 8; ++word) {
            text += ' ';
            for (std::size_t parts = 1 + below(3); parts > 0; --parts)
                text += syllables[below(syllables.size())];
        }
        lines.push_back(text);
    }
    return lines;
}

class Lines : public sentencepiece::SentenceIterator {
  public:
    bool done() const override { return at_ == lines_.size(); }
    void Next() override { ++at_; }
    const std::string& value() const override { return lines_[at_]; }
    sentencepiece::util::Status status() const override { return {}; }

  private:
    std::vector<std::string> lines_ = training_lines();
    std::size_t at_ = 0;
};

}  // namespace

std::string trained_sentencepiece_model(const std::string& type) {
    Lines lines;
    std::string model;
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        std::unordered_map<std::string, std::string>{{"model_type", type},
                                                     {"vocab_size", "500"},
                                                     {"byte_fallback", "true"},
                                                     {"control_symbols", "<|im_start|>"},
                                                     {"user_defined_symbols", "<tool>"},
                                                     {"num_threads", "1"},
                                                     {"minloglevel", "2"}},
        &lines, &model);
    if (!status.ok()) throw std::runtime_error("no model: " + std::string(status.message()));
    return model;
}

}  // namespace lockstep
