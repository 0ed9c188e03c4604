#include "coordinator/ingest/tokenize_document.h"

namespace lockstep {

TokenizedDocument tokenize_document(const Tokenizer& tokenizer, const SpecialsPolicy& policy,
                                    const Document& document, std::vector<std::uint32_t>& ids) {
    if (document.has_tokens) return {document.tokens, false, {}};
    ids.clear();
    if (!document.has_prompt) {
        encode_document(tokenizer, policy, document.text, ids);
        return {ids, false, {}};
    }
    // Prompt and response apart, so that the boundary is exact; specials as for a whole document.
    std::vector<std::uint32_t> specials;
    encode_document(tokenizer, policy, {}, specials);
    const bool begins = !specials.empty() && tokenizer.bos_id() && specials.front() == *tokenizer.bos_id();
    const bool ends = specials.size() > (begins ? 1U : 0U);
    if (begins) ids.push_back(specials.front());
    tokenizer.encode(document.prompt, ids);
    const auto begin = static_cast<std::uint32_t>(ids.size());
    tokenizer.encode(document.text.substr(document.prompt.size()), ids);
    if (ends) ids.push_back(specials.back());
    return {ids, true, {begin, static_cast<std::uint32_t>(ids.size())}};
}

CorpusTokenizer corpus_tokenizer_of(const Tokenizer& tokenizer) {
    CorpusTokenizer result;
    result.description_json = tokenizer.description_json();
    result.fingerprint = tokenizer.fingerprint();
    result.vocabulary_size = tokenizer.vocabulary_size();
    result.bos_id = tokenizer.bos_id();
    result.eos_id = tokenizer.eos_id();
    result.pad_id = tokenizer.pad_id();
    return result;
}

}  // namespace lockstep
