#include "plan/dispositions.h"

#include <algorithm>
#include <limits>
#include <string>

#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr std::uint64_t sample_tokens_max = std::numeric_limits<std::uint32_t>::max();

std::string sample_text(const SourceLengths& source, std::uint64_t sample) {
    std::string text = "sample " + std::to_string(sample);
    if (!source.source.name.empty()) text += " of '" + source.source.name + "'";
    return text;
}

std::span<const std::uint32_t> spans_of(const SourceLengths& source, std::uint64_t sample) {
    const std::uint64_t begin = source.loss_span_begin[sample];
    return source.loss_spans.subspan(2 * begin, 2 * (source.loss_span_begin[sample + 1] - begin));
}

/// The span table as a whole; what lies inside a sample is checked with the sample.
void check_span_table(const SourceLengths& source) {
    const auto begin = source.loss_span_begin;
    if (begin.empty()) return;
    const bool sound = begin.size() == source.sample_tokens.size() + 1 && begin.front() == 0 &&
                       std::is_sorted(begin.begin(), begin.end()) && source.loss_spans.size() % 2 == 0 &&
                       begin.back() == source.loss_spans.size() / 2;
    if (!sound) {
        throw Error(
            ErrorCode::corrupt_data,
            "the loss span table of '" + source.source.name +
                "' does not ascend from 0 to its number of spans, one entry a sample; ingest it again");
    }
}

void check_spans(const SourceLengths& source, std::uint64_t sample) {
    std::uint64_t previous = 0;
    const auto spans = spans_of(source, sample);
    for (std::size_t i = 0; i < spans.size(); i += 2) {
        if (spans[i] < previous || spans[i + 1] < spans[i] || spans[i + 1] > source.sample_tokens[sample]) {
            throw Error(ErrorCode::corrupt_data,
                        sample_text(source, sample) + " has a loss span [" + std::to_string(spans[i]) + ", " +
                            std::to_string(spans[i + 1]) +
                            "); expected ascending disjoint ranges within its " +
                            std::to_string(source.sample_tokens[sample]) + " tokens");
        }
        previous = spans[i + 1];
    }
}

/// Cuts the samples of one source and appends to the fates.
class Cutter {
  public:
    Cutter(const PlanOptions& options, const SourceLengths& source, std::uint64_t sample_base,
           bool record_targets, Fates& fates)
        : source_(source),
          sample_base_(sample_base),
          limit_(segment_tokens_max(options)),
          policy_(options.long_policy),
          has_spans_(!source.loss_span_begin.empty()),
          record_targets_(record_targets),
          fates_(fates) {
        if (policy_ == LongPolicy::automatic) policy_ = has_spans_ ? LongPolicy::error : LongPolicy::split;
    }

    void cut(std::uint64_t sample) {
        const std::uint64_t tokens = source_.sample_tokens[sample];
        if (has_spans_) check_spans(source_, sample);
        if (tokens == 0) {
            record(sample, DispositionKind::empty, 0);
        } else if (tokens <= limit_) {
            const std::uint32_t targets = append(sample, 0, static_cast<std::uint32_t>(tokens));
            if (targets == 0) record(sample, DispositionKind::no_target, 0);
        } else {
            cut_long(sample, tokens);
        }
    }

  private:
    void cut_long(std::uint64_t sample, std::uint64_t tokens) {
        if (tokens > sample_tokens_max) {
            throw Error(ErrorCode::invalid_argument,
                        sample_text(source_, sample) + " has " + std::to_string(tokens) +
                            " tokens; at most 2^32 - 1 can be addressed, divide it");
        }
        switch (policy_) {
            case LongPolicy::split:
                split(sample, static_cast<std::uint32_t>(tokens));
                break;
            case LongPolicy::truncate:
                append(sample, 0, limit_);
                record(sample, DispositionKind::truncated, tokens - limit_);
                break;
            case LongPolicy::drop:
                record(sample, DispositionKind::dropped, tokens);
                break;
            case LongPolicy::automatic:
            case LongPolicy::error:
                refuse_long(sample, tokens, "choose --long split, truncate or drop, or raise -b");
        }
    }

    void split(std::uint64_t sample, std::uint32_t tokens) {
        if (limit_ < 2) refuse_long(sample, tokens, "pieces need at least 2 tokens, raise -b");
        const std::uint32_t stride = limit_ - 1;
        for (std::uint32_t offset = 0;; offset += stride) {
            const std::uint32_t piece = std::min(limit_, tokens - offset);
            append(sample, offset, piece);
            if (offset + piece == tokens) break;
        }
        record(sample, DispositionKind::split, 0);
    }

    /// @return targets of the new segment.
    std::uint32_t append(std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens) {
        SegmentTable& table = fates_.segments;
        if (table.tokens.size() == std::numeric_limits<SegmentIndex>::max()) {
            throw Error(ErrorCode::invalid_argument,
                        "an epoch has 2^32 segments or more; divide the corpus or raise -b");
        }
        table.sample.push_back(sample_base_ + sample);
        table.offset.push_back(offset);
        table.tokens.push_back(tokens);
        const std::uint32_t targets = segment_targets(source_, sample, offset, tokens);
        if (record_targets_) table.targets.push_back(targets);
        return targets;
    }

    void record(std::uint64_t sample, DispositionKind kind, std::uint64_t tokens_lost) {
        fates_.dispositions.push_back({sample_base_ + sample, kind, tokens_lost});
    }

    [[noreturn]] void refuse_long(std::uint64_t sample, std::uint64_t tokens,
                                  const std::string& advice) const {
        throw Error(ErrorCode::invalid_argument, sample_text(source_, sample) + " has " +
                                                     std::to_string(tokens) + " tokens, over the " +
                                                     std::to_string(limit_) + " a pack may hold; " + advice);
    }

    const SourceLengths& source_;
    const std::uint64_t sample_base_;
    const std::uint32_t limit_;
    LongPolicy policy_;
    const bool has_spans_;
    const bool record_targets_;
    Fates& fates_;
};

}  // namespace

std::uint32_t segment_targets(const SourceLengths& source, std::uint64_t sample_in_source,
                              std::uint32_t offset, std::uint32_t tokens) {
    if (source.loss_span_begin.empty()) return tokens - 1;
    // 64 bits: a sample may end at 2^32 - 1.
    const std::uint64_t begin = std::uint64_t{offset} + 1;
    const std::uint64_t end = std::uint64_t{offset} + tokens;
    std::uint64_t targets = 0;
    const auto spans = spans_of(source, sample_in_source);
    for (std::size_t i = 0; i < spans.size(); i += 2) {
        const std::uint64_t low = std::max<std::uint64_t>(begin, spans[i]);
        const std::uint64_t high = std::min<std::uint64_t>(end, spans[i + 1]);
        if (low < high) targets += high - low;
    }
    return static_cast<std::uint32_t>(targets);
}

Fates decide_fates(const PlanOptions& options, std::span<const SourceLengths> sources) {
    Fates fates;
    std::uint64_t num_samples = 0;
    bool any_spans = false;
    for (const SourceLengths& source : sources) {
        check_span_table(source);
        num_samples += source.sample_tokens.size();
        any_spans = any_spans || !source.loss_span_begin.empty();
    }
    fates.segments.sample.reserve(num_samples);
    fates.segments.offset.reserve(num_samples);
    fates.segments.tokens.reserve(num_samples);
    if (any_spans) fates.segments.targets.reserve(num_samples);

    std::uint64_t sample_base = 0;
    for (const SourceLengths& source : sources) {
        Cutter cutter(options, source, sample_base, any_spans, fates);
        for (std::uint64_t sample = 0; sample < source.sample_tokens.size(); ++sample) cutter.cut(sample);
        sample_base += source.sample_tokens.size();
    }
    return fates;
}

}  // namespace lockstep
