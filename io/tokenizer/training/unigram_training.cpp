// Unigram vocabularies by SentencePiece's own trainer (Kudo 2018, "Subword
// Regularization", arXiv:1804.10959), written as a tokenizer.json.

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>

#include "io/base/error.h"
#include "io/tokenizer/training/tokenizer_training.h"
#include "io/tokenizer/training/trained_file.h"

namespace lockstep {

namespace {

/// The trainer's sums depend on how its sentences are dealt to threads, so their number is fixed.
constexpr const char* trainer_threads = "8";
constexpr std::size_t line_bytes_max = 4096;
/// Specials and bytes are no pieces of text: never the best way through one that happens to spell them.
constexpr double no_text_score = -1000;

/// All lines as the trainer asks for them.
class Lines : public sentencepiece::SentenceIterator {
  public:
    explicit Lines(std::vector<std::string> lines) : lines_(std::move(lines)) {}

    bool done() const override { return at_ == lines_.size(); }
    void Next() override { ++at_; }
    const std::string& value() const override { return lines_[at_]; }
    sentencepiece::util::Status status() const override { return {}; }

  private:
    std::vector<std::string> lines_;
    std::size_t at_ = 0;
};

bool continues_character(char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

/// Where a line that is too long for the trainer is cut: before a space, else before a character.
std::size_t cut_of(std::string_view line) {
    if (line.size() <= line_bytes_max) return line.size();
    const std::size_t space = line.rfind(' ', line_bytes_max);
    if (space != std::string_view::npos && space > 0) return space;
    std::size_t cut = line_bytes_max;
    while (continues_character(line[cut])) --cut;
    return cut;
}

std::vector<std::string> lines_of(TextSource texts) {
    std::vector<std::string> lines;
    texts([&](std::string_view text) {
        while (!text.empty()) {
            const std::size_t end = std::min(text.find('\n'), text.size());
            for (std::string_view line = text.substr(0, end); !line.empty();) {
                const std::size_t cut = cut_of(line);
                lines.emplace_back(line.substr(0, cut));
                line.remove_prefix(cut);
            }
            text.remove_prefix(std::min(end + 1, text.size()));
        }
    });
    return lines;
}

/// Every character that specials and the names of bytes are written with: as pieces of their own they make
/// texts that spell such a token cheaper than the token.
std::string characters_of_tokens(const std::vector<std::string>& specials) {
    std::string characters = "<0x123456789ABCDEF>";
    for (const std::string& special : specials) characters += special;
    std::erase(characters, ' ');
    return characters;
}

std::string trained_model(std::vector<std::string> lines, std::size_t pieces, const std::string& characters) {
    Lines iterator(std::move(lines));
    std::string model;
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        std::unordered_map<std::string, std::string>{{"model_type", "unigram"},
                                                     {"vocab_size", std::to_string(pieces)},
                                                     {"byte_fallback", "true"},
                                                     {"required_chars", characters},
                                                     {"normalization_rule_name", "identity"},
                                                     {"remove_extra_whitespaces", "false"},
                                                     {"add_dummy_prefix", "false"},
                                                     {"shuffle_input_sentence", "false"},
                                                     {"max_sentence_length", std::to_string(line_bytes_max)},
                                                     {"num_threads", trainer_threads},
                                                     {"unk_id", "0"},
                                                     {"bos_id", "-1"},
                                                     {"eos_id", "-1"},
                                                     {"pad_id", "-1"},
                                                     {"minloglevel", "2"}},
        &iterator, &model);
    if (!status.ok()) {
        std::string why(status.message());
        // "INTERNAL: src/trainer.cc(582) [condition] what a reader understands"
        if (const std::size_t condition = why.find("] "); condition != std::string::npos)
            why.erase(0, condition + 2);
        throw Error(ErrorCode::invalid_argument, "a unigram vocabulary of " + std::to_string(pieces) +
                                                     " cannot be trained on these texts: " + why);
    }
    return model;
}

std::vector<ScoredPiece> pieces_of(const std::string& model, const std::vector<std::string>& specials) {
    sentencepiece::SentencePieceProcessor processor;
    if (!processor.LoadFromSerializedProto(model).ok())
        throw Error(ErrorCode::bug, "SentencePiece does not read the model that it made");
    std::vector<ScoredPiece> pieces{{processor.IdToPiece(0), no_text_score}};
    for (const std::string& special : specials) pieces.push_back({special, no_text_score});
    for (int id = 1; id < processor.GetPieceSize(); ++id) {
        const double score =
            processor.IsByte(id) ? no_text_score : static_cast<double>(processor.GetScore(id));
        pieces.push_back({processor.IdToPiece(id), score});
    }
    return pieces;
}

}  // namespace

TrainedTokenizer train_unigram(TextSource texts, const TrainingOptions& options) {
    const std::vector<std::string> specials = trained_specials(options);
    const std::size_t fixed = 1 + 256 + specials.size();
    if (options.vocabulary_size <= fixed) {
        throw Error(ErrorCode::invalid_argument,
                    "a vocabulary of " + std::to_string(options.vocabulary_size) +
                        " was asked for; the unknown token, 256 bytes and " +
                        std::to_string(specials.size()) + " special token(s) need more than " +
                        std::to_string(fixed));
    }
    std::vector<std::string> lines = lines_of(texts);
    if (lines.empty()) throw Error(ErrorCode::invalid_argument, "there is no text to train on");
    const std::string model = trained_model(std::move(lines), options.vocabulary_size - specials.size(),
                                            characters_of_tokens(specials));
    const std::vector<ScoredPiece> pieces = pieces_of(model, specials);

    TrainedTokenizer trained;
    trained.vocabulary_size = pieces.size();
    trained.file = unigram_file(pieces, options);
    trained.config = config_file(options, pieces.front().piece);
    return trained;
}

}  // namespace lockstep
