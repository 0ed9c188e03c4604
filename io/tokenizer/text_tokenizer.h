// io/tokenizer/text_tokenizer.h
//
// The pipeline all file tokenizers but SentencePiece's run in: added tokens of
// the raw text, normalization, added tokens of the normalized text, pieces, ids.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/tokenizer/model/token_model.h"
#include "io/tokenizer/pipeline/added_tokens.h"
#include "io/tokenizer/pipeline/decoder.h"
#include "io/tokenizer/pipeline/normalizer.h"
#include "io/tokenizer/pipeline/pre_tokenizer.h"
#include "io/tokenizer/pipeline/trim_offsets.h"
#include "io/tokenizer/tokenizer.h"

namespace lockstep {

/// Text to the pieces that a model sees.
struct TextPipeline {
    std::unique_ptr<Normalizer> normalizer;  ///< May be null.
    PreTokenizerPlan pre_tokenizer;
};

struct TokenizerParts {
    std::string name;
    SpecialsPolicy policy;
    std::vector<VocabularyEntry> vocabulary;  ///< As the file spells it (byte-level tokens mapped).
    std::vector<AddedToken> added;
    TextPipeline pipeline;
    std::optional<TextPipeline> continuing;  ///< Where text goes on, if that makes a difference.
    std::unique_ptr<TokenModel> model;
    std::unique_ptr<Decoder> decoder;
    std::vector<std::uint32_t> before, after;  ///< What the post-processor adds.
    std::vector<OffsetTrimming> trimmings;     ///< What it does to offsets.
    /// This token is for the post-processor the text it stands for (Unigram's unknown one).
    std::optional<std::uint32_t> unknown_as_text;
    std::optional<std::uint32_t> bos, eos, pad;
    std::string chat_template;
    std::map<std::string, std::string> named_templates;
    bool raw_tokens = false;     ///< The vocabulary holds bytes as they are, not mapped.
    std::string components;      ///< Canonical text of normalizer and pre-tokenizer, for the fingerprint.
    nlohmann::json description;  ///< From which an equal tokenizer is built; without the policy.
};

std::unique_ptr<Tokenizer> make_text_tokenizer(TokenizerParts parts);

}  // namespace lockstep
