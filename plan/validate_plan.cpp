// The proof that a plan is sound: structure, coverage, targets, fingerprints, in
// this order, so that each may rely on those before. Coverage is shown by tiling
// every sample with its segments, not by building the plan again.

#include <algorithm>
#include <compare>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/error.h"
#include "plan/batch_plan.h"
#include "plan/dispositions.h"
#include "plan/lazarus/plan.h"
#include "plan/mixture.h"
#include "plan/plan_structure.h"

namespace lockstep {

namespace {

constexpr std::uint8_t kind_whole = 0;

[[noreturn]] void refuse(ErrorCode code, const std::string& what) {
    throw Error(code, "plan: " + what + "; build it again or take an intact copy");
}

std::uint64_t step_of_pack(const BatchPlan& plan, std::uint64_t pack) {
    const auto after = std::upper_bound(plan.step_begin.begin(), plan.step_begin.end(), pack);
    return static_cast<std::uint64_t>(after - plan.step_begin.begin()) - 1;
}

std::uint64_t step_of_segment(const BatchPlan& plan, std::uint64_t segment) {
    const auto after = std::upper_bound(plan.pack_begin.begin(), plan.pack_begin.end(), segment);
    return step_of_pack(plan, static_cast<std::uint64_t>(after - plan.pack_begin.begin()) - 1);
}

// --- Sources ---

void check_sources(const BatchPlan& plan, std::span<const SourceLengths> sources) {
    if (sources.size() != plan.sources.size()) {
        refuse(ErrorCode::fingerprint_mismatch, "it has " + std::to_string(plan.sources.size()) +
                                                    " sources, " + std::to_string(sources.size()) +
                                                    " were given");
    }
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const PlanSource& planned = plan.sources[i];
        const PlanSource& given = sources[i].source;
        const std::string where = "source " + std::to_string(i) + " '" + planned.name + "'";
        if (sources[i].sample_tokens.size() != planned.num_samples) {
            refuse(ErrorCode::fingerprint_mismatch, where + " has " + std::to_string(planned.num_samples) +
                                                        " samples, the one given " +
                                                        std::to_string(sources[i].sample_tokens.size()));
        }
        const auto agree = [&](std::string_view what, const Fingerprint& expected, const Fingerprint& found) {
            if (expected.empty() || found.empty() || expected == found) return;
            refuse(ErrorCode::fingerprint_mismatch, where + ": " + std::string(what) + ", expected " +
                                                        expected.brief() + ", found " + found.brief());
        };
        agree("lengths fingerprint", planned.lengths, given.lengths);
        agree("tokenizer fingerprint", planned.tokenizer, given.tokenizer);
        agree("content fingerprint", planned.corpus, given.corpus);
        agree("scores fingerprint", planned.scores, given.scores);
        if (!planned.tokenizer_hash.empty() && !given.tokenizer_hash.empty() &&
            planned.tokenizer_hash != given.tokenizer_hash) {
            refuse(ErrorCode::fingerprint_mismatch, where + ": tokenizer hash, expected '" +
                                                        planned.tokenizer_hash + "', found '" +
                                                        given.tokenizer_hash + "'");
        }
    }
}

/// Dispositions are a function of options and lengths.
void check_dispositions(const BatchPlan& plan, std::span<const SourceLengths> sources) {
    std::vector<Disposition> expected;
    try {
        expected = decide_fates(plan.options, sources).dispositions;
    } catch (const Error& error) {
        refuse(ErrorCode::corrupt_data,
               std::string("these samples could not have been planned: ") + error.what());
    }
    const auto [found, other] =
        std::mismatch(plan.dispositions.begin(), plan.dispositions.end(), expected.begin(), expected.end());
    if (found == plan.dispositions.end() && other == expected.end()) return;
    const std::uint64_t sample = found == plan.dispositions.end() ? other->sample
                                 : other == expected.end()        ? found->sample
                                                                  : std::min(found->sample, other->sample);
    refuse(ErrorCode::corrupt_data, "dispositions: sample " + std::to_string(sample) +
                                        " has another fate than its length and the options give it");
}

// --- Coverage ---

/// A piece of a split sample, as an epoch holds it.
struct Piece {
    std::uint64_t sample;
    std::uint32_t offset;
    std::uint32_t tokens;
    std::uint64_t segment;
    friend auto operator<=>(const Piece&, const Piece&) = default;
};

/// Shows for one epoch after another that the segments tile every planned sample exactly once.
class Coverage {
  public:
    Coverage(const BatchPlan& plan, std::span<const SourceLengths> sources)
        : plan_(plan), concatenated_(plan.options.packing == PackingPolicy::concatenate) {
        const std::uint64_t num_samples = plan.sources.back().sample_base + plan.sources.back().num_samples;
        kind_.assign(num_samples, kind_whole);
        for (const Disposition& row : plan.dispositions)
            kind_[row.sample] = static_cast<std::uint8_t>(row.kind);
        planned_tokens_.assign(num_samples, 0);
        learn_lengths(sources);
        for (const std::uint8_t kind : kind_) {
            if (is_single(kind)) ++singles_;
        }
    }

    void check_epoch(std::uint64_t epoch) {
        epoch_ = epoch;
        seen_.assign(kind_.size(), false);
        pieces_.clear();
        std::uint64_t found = 0;
        const std::uint64_t begin = plan_.pack_begin[plan_.step_begin[plan_.epoch_begin[epoch]]];
        const std::uint64_t end = plan_.pack_begin[plan_.step_begin[plan_.epoch_begin[epoch + 1]]];
        for (std::uint64_t segment = begin; segment < end; ++segment) {
            const std::uint64_t sample = plan_.segment_sample[segment];
            const std::uint8_t kind = kind_[sample];
            if (is_single(kind)) {
                check_single(segment);
                ++found;
            } else if (is_in_pieces(kind)) {
                pieces_.push_back(
                    {sample, plan_.segment_offset[segment], plan_.segment_tokens[segment], segment});
            } else {
                fail(segment, "is recorded as not planned");
            }
        }
        // A revision and drop_last (check_lazarus_tails) may leave samples out; nothing may ever come twice.
        if (found != singles_ && !plan_.parent && !plan_.options.drop_last) name_missing_sample();
        check_pieces();
    }

  private:
    bool is_single(std::uint8_t kind) const {
        return kind == kind_whole || kind == static_cast<std::uint8_t>(DispositionKind::no_target) ||
               (kind == static_cast<std::uint8_t>(DispositionKind::truncated) && !concatenated_);
    }
    /// Laid end to end, a truncated sample may be in pieces too.
    bool is_in_pieces(std::uint8_t kind) const {
        return kind == static_cast<std::uint8_t>(DispositionKind::split) ||
               (kind == static_cast<std::uint8_t>(DispositionKind::truncated) && concatenated_);
    }

    void learn_lengths(std::span<const SourceLengths> sources) {
        std::size_t sample = 0;
        for (const SourceLengths& source : sources) {
            for (const std::uint64_t tokens : source.sample_tokens) {
                planned_tokens_[sample++] = static_cast<std::uint32_t>(tokens);
            }
        }
        if (sources.empty()) return;
        for (const Disposition& row : plan_.dispositions) {
            planned_tokens_[row.sample] -= static_cast<std::uint32_t>(row.tokens_lost);
        }
    }

    /// Lengths that nobody brought are learned from the first epoch; the others must agree.
    void check_end(std::uint64_t sample, std::uint32_t end, std::uint64_t segment) {
        std::uint32_t& expected = planned_tokens_[sample];
        if (expected == 0) expected = end;
        if (expected != end) {
            fail(segment, "should be trained up to token " + std::to_string(expected) + ", ends at " +
                              std::to_string(end));
        }
    }

    void check_single(std::uint64_t segment) {
        const std::uint64_t sample = plan_.segment_sample[segment];
        if (plan_.segment_offset[segment] != 0) {
            fail(segment, "should begin at its first token, begins at " +
                              std::to_string(plan_.segment_offset[segment]));
        }
        check_end(sample, plan_.segment_tokens[segment], segment);
        if (seen_[sample]) fail(segment, "comes twice in epoch " + std::to_string(epoch_));
        seen_[sample] = true;
    }

    void check_pieces() {
        std::sort(pieces_.begin(), pieces_.end());
        std::uint64_t samples = 0;
        for (std::size_t i = 0; i < pieces_.size();) {
            const std::uint64_t sample = pieces_[i].sample;
            std::uint64_t end = 0;
            std::size_t last = i;
            for (; i < pieces_.size() && pieces_[i].sample == sample; last = i++) {
                // The overlap of one token: each piece after the first begins on the last token before it.
                const std::uint64_t expected = end == 0 ? 0 : end - 1;
                if (pieces_[i].offset != expected && !(plan_.parent && pieces_[i].offset > expected)) {
                    fail(pieces_[i].segment, "should have a piece that begins at token " +
                                                 std::to_string(expected) + ", next is " +
                                                 std::to_string(pieces_[i].offset));
                }
                end = std::uint64_t{pieces_[i].offset} + pieces_[i].tokens;
            }
            if (!plan_.parent) check_end(sample, static_cast<std::uint32_t>(end), pieces_[last].segment);
            ++samples;
        }
        const auto splits = static_cast<std::uint64_t>(
            std::ranges::count_if(kind_, [&](std::uint8_t kind) { return is_in_pieces(kind); }));
        if (samples != splits && !plan_.parent) {
            refuse(ErrorCode::corrupt_data, "epoch " + std::to_string(epoch_) + " (from step " +
                                                std::to_string(plan_.epoch_begin[epoch_]) + ") holds " +
                                                std::to_string(samples) + " of " + std::to_string(splits) +
                                                " split samples");
        }
    }

    [[noreturn]] void name_missing_sample() const {
        std::size_t sample = 0;
        while (!is_single(kind_[sample]) || seen_[sample]) ++sample;
        refuse(ErrorCode::corrupt_data, "sample " + std::to_string(sample) + " is missing from epoch " +
                                            std::to_string(epoch_) + " (from step " +
                                            std::to_string(plan_.epoch_begin[epoch_]) + ")");
    }

    [[noreturn]] void fail(std::uint64_t segment, const std::string& what) const {
        refuse(ErrorCode::corrupt_data, "step " + std::to_string(step_of_segment(plan_, segment)) +
                                            ", segment " + std::to_string(segment) + ": sample " +
                                            std::to_string(plan_.segment_sample[segment]) + " " + what);
    }

    const BatchPlan& plan_;
    const bool concatenated_;
    std::vector<std::uint8_t> kind_;             ///< (samples) DispositionKind or kind_whole.
    std::vector<std::uint32_t> planned_tokens_;  ///< (samples) where its last segment ends; 0: not known yet.
    std::vector<bool> seen_;
    std::vector<Piece> pieces_;
    std::uint64_t singles_ = 0;  ///< Samples planned in one segment.
    std::uint64_t epoch_ = 0;
};

// --- Mixtures ---

/// Over the run, every sample of a source with passes comes as often as it has passes; those of a source with
/// a weight come as often as each other, give or take one, and at most passes_max times. Pieces of a sample
/// come equally often and tile it.
void check_mixture_coverage(const BatchPlan& plan, std::span<const SourceLengths> sources) {
    const std::uint64_t num_samples = plan.sources.back().sample_base + plan.sources.back().num_samples;
    constexpr std::uint64_t samples_max = std::uint64_t{1} << 31U;
    if (sources.empty() && num_samples > samples_max) {
        refuse(ErrorCode::invalid_argument,
               "its sources name " + std::to_string(num_samples) +
                   " samples; give the sources with -l to check a mixture of so many");
    }
    std::vector<std::uint8_t> kind(num_samples, kind_whole);
    std::vector<std::uint32_t> lost(num_samples, 0);
    for (const Disposition& row : plan.dispositions) {
        kind[row.sample] = static_cast<std::uint8_t>(row.kind);
        lost[row.sample] = static_cast<std::uint32_t>(row.tokens_lost);
    }
    const auto fail = [&](std::uint64_t segment, const std::string& what) {
        refuse(ErrorCode::corrupt_data, "step " + std::to_string(step_of_segment(plan, segment)) +
                                            ", segment " + std::to_string(segment) + ": sample " +
                                            std::to_string(plan.segment_sample[segment]) + " " + what);
    };
    std::vector<std::uint32_t> passes(num_samples, 0);
    std::vector<std::uint32_t> end(num_samples, 0);  // Of whole samples; 0: not seen yet.
    std::vector<Piece> pieces;
    for (std::uint64_t segment = 0; segment < plan.num_segments(); ++segment) {
        const std::uint64_t sample = plan.segment_sample[segment];
        const std::uint32_t tokens = plan.segment_tokens[segment];
        if (kind[sample] == static_cast<std::uint8_t>(DispositionKind::split)) {
            pieces.push_back({sample, plan.segment_offset[segment], tokens, segment});
            continue;
        }
        if (kind[sample] == static_cast<std::uint8_t>(DispositionKind::dropped) ||
            kind[sample] == static_cast<std::uint8_t>(DispositionKind::empty)) {
            fail(segment, "is recorded as not planned");
        }
        if (plan.segment_offset[segment] != 0) fail(segment, "should begin at its first token");
        if (end[sample] == 0) end[sample] = tokens;
        if (end[sample] != tokens) fail(segment, "is trained to different ends");
        ++passes[sample];
    }
    std::sort(pieces.begin(), pieces.end());
    for (std::size_t i = 0; i < pieces.size();) {
        const std::uint64_t sample = pieces[i].sample;
        std::uint64_t piece_end = 0;
        while (i < pieces.size() && pieces[i].sample == sample) {
            const Piece& piece = pieces[i];
            if (piece.offset != (piece_end == 0 ? 0 : piece_end - 1)) {
                fail(piece.segment, "has a piece at token " + std::to_string(piece.offset) + " where " +
                                        std::to_string(piece_end == 0 ? 0 : piece_end - 1) +
                                        " should follow");
            }
            piece_end = std::uint64_t{piece.offset} + piece.tokens;
            std::uint32_t times = 0;
            for (; i < pieces.size() && pieces[i].sample == sample && pieces[i].offset == piece.offset; ++i) {
                if (pieces[i].tokens != piece.tokens) fail(pieces[i].segment, "is cut in different ways");
                ++times;
            }
            if (piece.offset == 0) passes[sample] = times;
            if (times != passes[sample])
                fail(piece.segment, "has pieces that come less often than its first");
        }
        end[sample] = static_cast<std::uint32_t>(piece_end);
    }
    for (std::size_t i = 0; i < plan.sources.size(); ++i) {
        const PlanSource& source = plan.sources[i];
        std::uint32_t least = std::numeric_limits<std::uint32_t>::max();
        std::uint32_t most = 0;
        for (std::uint64_t s = 0; s < source.num_samples; ++s) {
            const std::uint64_t sample = source.sample_base + s;
            if (kind[sample] == static_cast<std::uint8_t>(DispositionKind::dropped) ||
                kind[sample] == static_cast<std::uint8_t>(DispositionKind::empty)) {
                continue;
            }
            least = std::min(least, passes[sample]);
            most = std::max(most, passes[sample]);
            if (!sources.empty() && end[sample] > 0 &&
                end[sample] != sources[i].sample_tokens[s] - lost[sample]) {
                refuse(ErrorCode::corrupt_data,
                       "sample " + std::to_string(sample) + " should be trained up to token " +
                           std::to_string(sources[i].sample_tokens[s] - lost[sample]) + ", ends at " +
                           std::to_string(end[sample]));
            }
        }
        if (most == 0) continue;
        const std::uint64_t cap = source.passes_max > 0 ? source.passes_max : plan.options.epochs;
        const bool sound = source.passes > 0 ? least == source.passes && most == source.passes
                                             : most - least <= 1 && most <= cap;
        if (!sound) {
            refuse(ErrorCode::corrupt_data,
                   "source " + std::to_string(i) + " '" + source.name + "': its samples come " +
                       std::to_string(least) + " to " + std::to_string(most) +
                       " times in the run, expected " +
                       (source.passes > 0 ? std::to_string(source.passes)
                                          : "as often as each other and at most " + std::to_string(cap)));
        }
    }
}

// --- Targets ---

void check_targets_of_packs(const BatchPlan& plan, std::span<const SourceLengths> sources) {
    std::size_t source = 0;
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
        std::uint64_t targets = 0;
        for (std::uint64_t segment = plan.pack_begin[pack]; segment < plan.pack_begin[pack + 1]; ++segment) {
            const std::uint64_t sample = plan.segment_sample[segment];
            while (sample < plan.sources[source].sample_base) --source;
            while (sample >= plan.sources[source].sample_base + plan.sources[source].num_samples) ++source;
            targets += segment_targets(sources[source], sample - plan.sources[source].sample_base,
                                       plan.segment_offset[segment], plan.segment_tokens[segment]);
        }
        if (plan.pack_targets[pack] != targets) {
            refuse(ErrorCode::corrupt_data, "step " + std::to_string(step_of_pack(plan, pack)) + ", pack " +
                                                std::to_string(pack) + ": pack_targets, expected " +
                                                std::to_string(targets) + ", found " +
                                                std::to_string(plan.pack_targets[pack]));
        }
    }
}

void check_targets_of_epochs(const BatchPlan& plan) {
    std::optional<std::uint64_t> first;
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
        std::uint64_t targets = 0;
        const std::uint64_t end = plan.step_begin[plan.epoch_begin[epoch + 1]];
        for (std::uint64_t pack = plan.step_begin[plan.epoch_begin[epoch]]; pack < end; ++pack) {
            targets += plan.pack_targets[pack];
        }
        if (first.value_or(targets) != targets) {
            refuse(ErrorCode::corrupt_data, "pack_targets: epoch " + std::to_string(epoch) + " (from step " +
                                                std::to_string(plan.epoch_begin[epoch]) + ") has " +
                                                std::to_string(targets) + " targets, the first epoch " +
                                                std::to_string(*first));
        }
        first = targets;
    }
}

// --- Fingerprints ---

void check_fingerprints(const BatchPlan& plan) {
    const PlanFingerprints expected = fingerprint_plan(plan);
    const PlanFingerprints& found = plan.fingerprints;
    const auto differ = [](const std::string& what, const Fingerprint& stored,
                           const Fingerprint& recomputed) {
        refuse(ErrorCode::fingerprint_mismatch, "fingerprint of " + what + ": its content has " +
                                                    recomputed.brief() + "…, expected " + stored.brief() +
                                                    "… as recorded");
    };
    if (found == expected) return;
    for (std::size_t c = 0; c < expected.chunks.size() && c < found.chunks.size(); ++c) {
        if (found.chunks[c] == expected.chunks[c]) continue;
        differ("steps " + std::to_string(expected.chunk_begin[c]) + " to " +
                   std::to_string(expected.chunk_begin[c + 1]) + " (chunk " + std::to_string(c) + ")",
               found.chunks[c], expected.chunks[c]);
    }
    for (std::size_t e = 0; e < expected.epochs.size() && e < found.epochs.size(); ++e) {
        if (found.epochs[e] != expected.epochs[e]) {
            differ("epoch " + std::to_string(e), found.epochs[e], expected.epochs[e]);
        }
    }
    if (found.order != expected.order) differ("order", found.order, expected.order);
    if (found.settings != expected.settings) {
        differ("settings (options, algorithms, sources or dispositions)", found.settings, expected.settings);
    }
    if (found.plan != expected.plan) differ("plan", found.plan, expected.plan);
    refuse(ErrorCode::fingerprint_mismatch,
           "the fingerprint tree is cut into other chunks than its steps give");
}

}  // namespace

void validate_plan(const BatchPlan& plan, std::span<const SourceLengths> sources) {
    check_structure(plan);
    if (!sources.empty()) {
        check_sources(plan, sources);
        check_dispositions(plan, sources);
    }
    const bool mixture = is_mixture(plan.sources);
    if (!mixture) {
        Coverage coverage(plan, sources);
        for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) coverage.check_epoch(epoch);
    } else if (!plan.parent) {  // A revision may leave samples out.
        check_mixture_coverage(plan, sources);
    }
    check_lazarus_tails(plan, sources);
    if (!plan.pack_targets.empty()) {
        const bool countable =
            !sources.empty() && std::none_of(sources.begin(), sources.end(),
                                             [](const auto& source) { return source.lengths_only; });
        if (countable) check_targets_of_packs(plan, sources);
        if (!plan.parent && !mixture && !plan.options.drop_last) check_targets_of_epochs(plan);
    }
    check_fingerprints(plan);
}

}  // namespace lockstep
