#include "coordinator/ingest/tokenize_document.h"

#include <utility>

#include "io/base/error.h"

namespace lockstep {

namespace {

/// A conversation's parts to ids. Neighbouring text of the same fate is tokenized as one, as an engine given
/// the whole string would do between two markers.
class ChatTokens {
  public:
    ChatTokens(const Tokenizer& tokenizer, const SpecialsPolicy& policy, std::vector<std::uint32_t>& ids)
        : tokenizer_(tokenizer), policy_(policy), ids_(ids) {
        // Put around the text, which is encoded as if they were not there.
        append_ids_before(tokenizer, policy, ids_);
        has_bos_ = !ids_.empty() && ids_.back() == tokenizer.bos_id();
    }

    std::vector<LossSpan> take(const Document& document) {
        for (const ChatPart& part : document.chat) {
            if (part.is_trained != trained_) {
                flush();
                trained_ = part.is_trained;
                if (trained_) span_begin_ = ids_.size();
            }
            if (part.kind == ChatPartKind::text) {
                add_text(document.text, part);
            } else if (part.kind == ChatPartKind::marker) {
                add_marker(document.text, part);
            } else {
                flush_text();
                add_own(part.kind);
            }
        }
        flush();
        return std::move(spans_);
    }

  private:
    void add_text(std::string_view text, const ChatPart& part) {
        // Parts follow each other without holes, so what is pending is one stretch of the text.
        if (pending_.empty()) {
            pending_ = text.substr(part.begin, part.end - part.begin);
        } else {
            pending_ = {pending_.data(), pending_.size() + (part.end - part.begin)};
        }
    }

    void add_marker(std::string_view text, const ChatPart& part) {
        const auto id = tokenizer_.id_of(text.substr(part.begin, part.end - part.begin));
        if (!id) {
            add_text(text, part);
            return;
        }
        flush_text();
        add_id(*id);
    }

    void add_own(ChatPartKind kind) {
        if (kind == ChatPartKind::begin_of_text) {
            const auto bos = tokenizer_.bos_id();
            if (has_bos_) {
                place_ = TextPlace::after_special;
            } else if (bos && policy_.bos == AddSpecial::automatic) {
                add_id(*bos);
            }
            has_bos_ = false;
            return;
        }
        const auto eos = tokenizer_.eos_id();
        if (!eos) {
            throw Error(ErrorCode::invalid_argument,
                        "the chat format ends responses in EOS, which the tokenizer does not have; choose "
                        "another format or tokenizer");
        }
        add_id(*eos);
    }

    void add_id(std::uint32_t id) {
        ids_.push_back(id);
        place_ = TextPlace::after_special;
    }

    void flush_text() {
        if (pending_.empty()) return;
        tokenizer_.encode_part(pending_, place_, ids_);
        place_ = TextPlace::after_text;
        pending_ = {};
    }

    void flush() {
        flush_text();
        if (trained_ && ids_.size() > span_begin_)
            spans_.push_back(
                {static_cast<std::uint32_t>(span_begin_), static_cast<std::uint32_t>(ids_.size())});
        trained_ = false;
    }

    const Tokenizer& tokenizer_;
    const SpecialsPolicy& policy_;
    std::vector<std::uint32_t>& ids_;
    TextPlace place_ = TextPlace::document_start;
    bool has_bos_ = false;  ///< The tokenizer's own stands where the format writes its first.
    std::string_view pending_;
    bool trained_ = false;
    std::size_t span_begin_ = 0;
    std::vector<LossSpan> spans_;
};

}  // namespace

TokenizedDocument tokenize_document(const Tokenizer& tokenizer, const SpecialsPolicy& policy,
                                    const Document& document, std::vector<std::uint32_t>& ids) {
    if (document.has_tokens) return {document.tokens, false, {}};
    ids.clear();
    if (!document.chat.empty()) {
        std::vector<LossSpan> spans = ChatTokens(tokenizer, policy, ids).take(document);
        return {ids, true, std::move(spans)};
    }
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
    const bool is_first = begin == (begins ? 1U : 0U);
    const TextPlace place = is_first                           ? TextPlace::document_start
                            : tokenizer.is_special(ids.back()) ? TextPlace::after_special
                                                               : TextPlace::after_text;
    tokenizer.encode_part(document.text.substr(document.prompt.size()), place, ids);
    if (ends) ids.push_back(specials.back());
    const auto end = static_cast<std::uint32_t>(ids.size());
    std::vector<LossSpan> spans;
    if (begin < end) spans.push_back({begin, end});
    return {ids, true, std::move(spans)};
}

CorpusTokenizer corpus_tokenizer_of(const Tokenizer& tokenizer, std::optional<TokenizerFile> file) {
    CorpusTokenizer result;
    result.description_json = tokenizer.description_json();
    result.fingerprint = tokenizer.fingerprint();
    result.vocabulary_size = tokenizer.vocabulary_size();
    result.bos_id = tokenizer.bos_id();
    result.eos_id = tokenizer.eos_id();
    result.pad_id = tokenizer.pad_id();
    result.file = std::move(file);
    return result;
}

}  // namespace lockstep
