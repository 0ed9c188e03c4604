// coordinator/ingest/tokenize_document.h
//
// One document to the tokens of one sample, as ingest stores them and as a later
// check makes them again.

#pragma once

#include <span>
#include <vector>

#include "io/corpus.h"
#include "io/documents/document.h"
#include "io/tokenizer/tokenizer.h"

namespace lockstep {

struct TokenizedDocument {
    std::span<const std::uint32_t> tokens;
    bool has_loss_span = false;
    LossSpan loss_span;  ///< Of the response, with prompt and response.
};

/// @param ids  holds the tokens until it is used again.
TokenizedDocument tokenize_document(const Tokenizer& tokenizer, const SpecialsPolicy& policy,
                                    const Document& document, std::vector<std::uint32_t>& ids);

/// What a corpus says of this tokenizer.
CorpusTokenizer corpus_tokenizer_of(const Tokenizer& tokenizer);

}  // namespace lockstep
