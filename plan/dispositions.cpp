#include "plan/dispositions.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "io/base/error.h"

namespace lockstep {

namespace {

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

/// Where samples are laid end to end: what the pack being filled still holds.
struct PackRoom {
    std::uint32_t tokens_max;
    std::uint32_t segments_max;
    std::uint32_t tokens = 0;
    std::uint32_t segments = 0;

    void open() {
        tokens = tokens_max;
        segments = segments_max;
    }
};

enum class FateRows : std::uint8_t { all, dispositions };

/// Cuts the samples of one source and appends to the fates.
class Cutter {
  public:
    Cutter(const PlanOptions& options, const SourceLengths& source, std::uint64_t sample_base, FateRows rows,
           bool record_targets, Fates& fates)
        : source_(source),
          sample_base_(sample_base),
          limit_(segment_tokens_max(options)),
          policy_(options.long_policy),
          has_spans_(!source.loss_span_begin.empty()),
          rows_(rows),
          record_targets_(record_targets),
          fates_(fates) {
        if (policy_ == LongPolicy::automatic) policy_ = has_spans_ ? LongPolicy::error : LongPolicy::split;
    }

    /// @param pack_room  of the pack being filled end to end; null unless samples are concatenated.
    void cut(std::uint64_t sample, PackRoom* pack_room) {
        const std::uint32_t tokens = source_.sample_tokens[sample];
        if (has_spans_) check_spans(source_, sample);
        if (tokens == 0) {
            record(sample, DispositionKind::empty, 0);
        } else if (pack_room != nullptr && may_be_cut(tokens)) {
            chain(sample, policy_ == LongPolicy::truncate ? std::min(tokens, limit_) : tokens, *pack_room);
        } else if (tokens <= limit_) {
            const std::uint32_t targets = append(sample, 0, tokens);
            if (targets == 0) record(sample, DispositionKind::no_target, 0);
        } else {
            cut_long(sample, tokens);
        }
    }

  private:
    bool may_be_cut(std::uint32_t tokens) const {
        return tokens <= limit_ || policy_ == LongPolicy::split || policy_ == LongPolicy::truncate;
    }

    /// Lay a sample down where the last one ended, cutting it where packs are full.
    void chain(std::uint64_t sample, std::uint32_t tokens, PackRoom& pack) {
        std::uint32_t targets = 0;
        std::uint32_t pieces = 0;
        for (std::uint32_t offset = 0;;) {
            // A last single token of room could hold no target of a longer sample.
            if (pack.tokens == 0 || pack.segments == 0 || (pack.tokens == 1 && tokens - offset > 1)) {
                pack.open();
            }
            const std::uint32_t piece = std::min(pack.tokens, tokens - offset);
            if (piece < 2 && offset + piece < tokens) {
                refuse_long(sample, tokens, "pieces need at least 2 tokens, raise -b");
            }
            targets += append(sample, offset, piece);
            ++pieces;
            pack.tokens -= piece;
            --pack.segments;
            if (offset + piece == tokens) break;
            offset += piece - 1;
        }
        const std::uint32_t whole = source_.sample_tokens[sample];
        if (tokens < whole) {
            record(sample, DispositionKind::truncated, whole - tokens);
        } else if (pieces > 1) {
            record(sample, DispositionKind::split, 0);
        } else if (targets == 0) {
            record(sample, DispositionKind::no_target, 0);
        }
    }

    void cut_long(std::uint64_t sample, std::uint32_t tokens) {
        switch (policy_) {
            case LongPolicy::split:
                split(sample, tokens);
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
        const std::uint32_t targets = segment_targets(source_, sample, offset, tokens);
        if (rows_ == FateRows::dispositions) return targets;
        SegmentTable& table = fates_.segments;
        table.sample.push_back(sample_base_ + sample);
        table.offset.push_back(offset);
        table.own_tokens.push_back(tokens);
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
    const FateRows rows_;
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

namespace {

/// What a source's lengths allow, learned in one pass over them.
struct LengthScan {
    bool all_whole = true;                 ///< None is 0 or over the limit.
    std::vector<std::uint64_t> one_token;  ///< The samples of a single token; all, if all_whole.
};

LengthScan scan_lengths(std::span<const std::uint32_t> sample_tokens, std::uint32_t limit) {
    constexpr std::size_t block = 4096;
    LengthScan scan;
    for (std::size_t begin = 0; begin < sample_tokens.size() && scan.all_whole; begin += block) {
        const auto lengths = sample_tokens.subspan(begin, std::min(block, sample_tokens.size() - begin));
        std::uint32_t not_whole = 0;
        std::uint32_t ones = 0;
        for (const std::uint32_t tokens : lengths) {
            not_whole += tokens - 1 >= limit ? 1U : 0U;  // 0 tokens are 2^32 - 1 beyond 1.
            ones += tokens == 1 ? 1U : 0U;
        }
        scan.all_whole = not_whole == 0;
        for (std::size_t i = 0; ones > 0; ++i) {
            if (lengths[i] != 1) continue;
            scan.one_token.push_back(begin + i);
            --ones;
        }
    }
    return scan;
}

/// Of each source; nothing unless every sample is one whole segment, as most are.
std::optional<std::vector<LengthScan>> scans_of_whole_samples(const PlanOptions& options,
                                                              std::span<const SourceLengths> sources) {
    if (options.packing == PackingPolicy::concatenate) return std::nullopt;
    std::vector<LengthScan> scans;
    for (const SourceLengths& source : sources) {
        scans.push_back(scan_lengths(source.sample_tokens, segment_tokens_max(options)));
        if (!scans.back().all_whole) return std::nullopt;
    }
    return scans;
}

/// One whole segment a sample: lengths are the table.
Fates fates_of_whole_samples(std::span<const SourceLengths> sources, std::span<const LengthScan> scans,
                             FateRows rows, bool any_spans) {
    Fates fates;
    SegmentTable& table = fates.segments;
    if (rows == FateRows::dispositions) {
        // Nothing of the table is asked for.
    } else if (sources.size() == 1) {
        table.tokens = sources.front().sample_tokens;
    } else {
        std::size_t num_samples = 0;
        for (const SourceLengths& source : sources) num_samples += source.sample_tokens.size();
        table.own_tokens.reserve(num_samples);
        for (const SourceLengths& source : sources) {
            table.own_tokens.insert(table.own_tokens.end(), source.sample_tokens.begin(),
                                    source.sample_tokens.end());
        }
        table.tokens = table.own_tokens;
    }
    std::uint64_t sample_base = 0;
    const auto has_no_target = [&](std::uint64_t sample) {
        fates.dispositions.push_back({sample_base + sample, DispositionKind::no_target, 0});
    };
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const SourceLengths& source = sources[i];
        if (any_spans) {
            for (std::uint64_t sample = 0; sample < source.sample_tokens.size(); ++sample) {
                if (!source.loss_span_begin.empty()) check_spans(source, sample);
                const std::uint32_t targets =
                    segment_targets(source, sample, 0, source.sample_tokens[sample]);
                if (rows == FateRows::all) table.targets.push_back(targets);
                if (targets == 0) has_no_target(sample);
            }
        } else {
            for (const std::uint64_t sample : scans[i].one_token) has_no_target(sample);
        }
        sample_base += source.sample_tokens.size();
    }
    return fates;
}

Fates decide(const PlanOptions& options, std::span<const SourceLengths> sources, FateRows rows) {
    std::uint64_t num_samples = 0;
    bool any_spans = false;
    for (const SourceLengths& source : sources) {
        check_span_table(source);
        num_samples += source.sample_tokens.size();
        any_spans = any_spans || !source.loss_span_begin.empty();
    }
    if (const auto scans = scans_of_whole_samples(options, sources)) {
        return fates_of_whole_samples(sources, *scans, rows, any_spans);
    }

    Fates fates;
    if (rows == FateRows::all) {
        fates.segments.sample.reserve(num_samples);
        fates.segments.offset.reserve(num_samples);
        fates.segments.own_tokens.reserve(num_samples);
        if (any_spans) fates.segments.targets.reserve(num_samples);
    }
    PackRoom pack{options.token_budget, options.segments_per_pack_max == 0
                                            ? std::numeric_limits<std::uint32_t>::max()
                                            : options.segments_per_pack_max};
    const bool concatenate = options.packing == PackingPolicy::concatenate;
    std::uint64_t sample_base = 0;
    for (const SourceLengths& source : sources) {
        Cutter cutter(options, source, sample_base, rows, any_spans, fates);
        for (std::uint64_t sample = 0; sample < source.sample_tokens.size(); ++sample) {
            cutter.cut(sample, concatenate ? &pack : nullptr);
        }
        sample_base += source.sample_tokens.size();
    }
    fates.segments.tokens = fates.segments.own_tokens;
    return fates;
}

}  // namespace

Fates decide_fates(const PlanOptions& options, std::span<const SourceLengths> sources) {
    return decide(options, sources, FateRows::all);
}

std::vector<Disposition> decide_dispositions(const PlanOptions& options,
                                             std::span<const SourceLengths> sources) {
    return decide(options, sources, FateRows::dispositions).dispositions;
}

}  // namespace lockstep
