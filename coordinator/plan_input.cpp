#include "coordinator/plan_input.h"

#include <string>

#include "io/columns/column_file.h"

namespace lockstep {

DuplicateIds duplicates_allowed(PlanCompat compat) {
    return compat == PlanCompat::lazarus ? DuplicateIds::last_wins : DuplicateIds::refuse;
}

PlanInput PlanInput::open(const std::filesystem::path& path, std::string name, DuplicateIds duplicates) {
    PlanInput input;
    input.name_ = name.empty() ? path.stem().string() : std::move(name);
    const bool columns = is_column_file(path);
    if (!columns || ColumnFile::format_of(path) == lengths_format) {
        input.cache_ = columns ? LengthCache::open_columns(path) : read_lengths_jsonl(path, duplicates);
        input.scores_ = fingerprint_of_scores(input.cache_->sample_score());
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
    input.scores_ = fingerprint_of_scores(corpus->sample_score());
    input.corpus_ = std::move(corpus);
    return input;
}

void PlanInput::verify_everything() const {
    if (corpus_) {
        corpus_->verify_everything();
    } else {
        cache_->verify_everything();
    }
}

SourceLengths PlanInput::lengths() const {
    SourceLengths lengths;
    lengths.source.name = name_;
    lengths.sample_tokens = cache_ ? cache_->sample_tokens() : sample_tokens_;
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
        lengths.source.tokenizer_hash = cache_->tokenizer_hash();
    }
    lengths.source.scores = scores_;
    lengths.sample_score = corpus_ ? corpus_->sample_score() : cache_->sample_score();
    return lengths;
}

std::string PlanInput::key(std::uint64_t sample) const {
    if (corpus_) return corpus_->has_keys() ? std::string(corpus_->key(sample)) : std::string();
    return std::string(cache_->key(sample));
}

std::span<const std::uint32_t> PlanInput::loss_tokens() const {
    return cache_ ? cache_->loss_tokens() : std::span<const std::uint32_t>();
}

}  // namespace lockstep
