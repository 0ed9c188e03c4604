// tests/support/sentencepiece_model.h
//
// A sound SentencePiece model of 500 pieces: bytes for what the pieces do not
// cover, the control pieces <s>, </s>, <|im_start|>, the user-defined <tool>.

#pragma once

#include <string>

namespace lockstep {

/// @param type  "unigram" or "bpe".
std::string trained_sentencepiece_model(const std::string& type);

}  // namespace lockstep
