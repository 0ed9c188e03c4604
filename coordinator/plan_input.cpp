#include "coordinator/plan_store.h"

#include <cerrno>
#include <fstream>
#include <string>

#include "io/base/error.h"

namespace lockstep {

namespace {

/// Told apart by content: a corpus begins with a binary block, lengths are text.
bool looks_like_corpus(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw_errno("read", path.string(), errno);
    std::string head(512, '\0');
    file.read(head.data(), static_cast<std::streamsize>(head.size()));
    head.resize(static_cast<std::size_t>(file.gcount()));
    return head.find('\0') != std::string::npos;
}

}  // namespace

PlanInput PlanInput::open(const std::filesystem::path& path, std::string name) {
    PlanInput input;
    input.name_ = name.empty() ? path.stem().string() : std::move(name);
    if (!looks_like_corpus(path)) {
        auto cache = std::make_shared<LengthCache>(read_lengths_jsonl(path));
        input.sample_tokens_.assign(cache->sample_tokens.begin(), cache->sample_tokens.end());
        input.cache_ = std::move(cache);
        return input;
    }
    auto corpus = std::make_shared<const Corpus>(Corpus::open(path));
    const auto begin = corpus->sample_begin();
    input.sample_tokens_.reserve(corpus->num_samples());
    for (std::size_t i = 0; i + 1 < begin.size(); ++i)
        input.sample_tokens_.push_back(static_cast<std::uint32_t>(begin[i + 1] - begin[i]));
    if (corpus->has_loss_spans()) {
        input.span_begin_.push_back(0);
        for (std::uint64_t sample = 0; sample < corpus->num_samples(); ++sample) {
            for (const LossSpan& span : corpus->loss_spans(sample)) {
                input.spans_.push_back(span.begin);
                input.spans_.push_back(span.end);
            }
            input.span_begin_.push_back(input.spans_.size() / 2);
        }
    }
    input.corpus_ = std::move(corpus);
    return input;
}

SourceLengths PlanInput::lengths() const {
    SourceLengths lengths;
    lengths.source.name = name_;
    lengths.sample_tokens = sample_tokens_;
    lengths.loss_span_begin = span_begin_;
    lengths.loss_spans = spans_;
    lengths.lengths_only = corpus_ == nullptr;
    if (corpus_) {
        lengths.source.lengths = corpus_->lengths_fingerprint();
        lengths.source.corpus = corpus_->content_fingerprint();
        lengths.source.tokenizer = corpus_->tokenizer().fingerprint;
        lengths.source.tokenizer_hash = corpus_->tokenizer().fingerprint.hex();
    } else {
        lengths.source.lengths = cache_->lengths_fingerprint();
        lengths.source.tokenizer_hash = cache_->tokenizer_hash;
    }
    return lengths;
}

std::string PlanInput::key(std::uint64_t sample) const {
    if (corpus_) return corpus_->has_keys() ? std::string(corpus_->key(sample)) : std::string();
    return cache_->keys.empty() ? std::string() : cache_->keys[sample];
}

}  // namespace lockstep
