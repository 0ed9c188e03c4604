// coordinator/ingest/tokenize_document.h
//
// One document to the tokens of one sample, as ingest stores them and as a later
// check makes them again.

#pragma once

#include <optional>
#include <span>
#include <vector>

#include "io/corpus/corpus.h"
#include "io/documents/document.h"
#include "io/tokenizer/tokenizer.h"

namespace lockstep {

struct TokenizedDocument {
    std::span<const std::uint32_t> tokens;
    bool has_loss_spans = false;       ///< False: all of it is trained.
    std::vector<LossSpan> loss_spans;  ///< Of the responses; ascending, none empty.
};

/// What is trained and what is not are tokenized apart, so that their border is exact. A conversation gets
/// the policy's BOS before it and ends as its format has it.
/// @param ids  holds the tokens until it is used again.
/// @throws Error{invalid_argument} if a chat format ends in EOS and the tokenizer has none.
TokenizedDocument tokenize_document(const Tokenizer& tokenizer, const SpecialsPolicy& policy,
                                    const Document& document, std::vector<std::uint32_t>& ids);

/// What a corpus says of this tokenizer. @param file  that it was read from, if from any.
CorpusTokenizer corpus_tokenizer_of(const Tokenizer& tokenizer, std::optional<TokenizerFile> file = {});

}  // namespace lockstep
