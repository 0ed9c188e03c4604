#include "plan/plan_coverage.h"

#include <algorithm>
#include <limits>
#include <string>
#include <variant>

#include "io/base/error.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "plan: " + what + "; build it again or take an intact copy");
}

/// Looked for only now: chunks do not say of a segment which step it is in.
[[noreturn]] void fail(const PlanView& plan, std::uint64_t segment, std::uint64_t sample,
                       const std::string& what) {
    std::size_t index = 0;
    PlanChunkColumns chunk = plan.chunk(index);
    while (chunk.pack_begin.back() <= segment) chunk = plan.chunk(++index);
    const auto row_of = [](std::span<const std::uint64_t> begin, std::uint64_t row) {
        return static_cast<std::uint64_t>(std::ranges::upper_bound(begin, row) - begin.begin()) - 1;
    };
    const std::uint64_t pack = chunk.first_pack + row_of(chunk.pack_begin, segment);
    const std::uint64_t step = chunk.first_step + row_of(chunk.step_begin, pack);
    refuse("step " + std::to_string(step) + ", segment " + std::to_string(segment) + ": sample " +
           std::to_string(sample) + " " + what);
}

/// Where the next piece of a sample begins. One token overlaps: each after the first begins on the last token
/// of the one before.
std::uint64_t next_offset(std::uint64_t end) {
    return end == 0 ? 0 : end - 1;
}

/// Rows do not bound the samples of a mixture or a revision: memory is not given to any number on the word of
/// a plan alone.
const BatchPlan& within_memory(const PlanView& plan, std::span<const SourceLengths> sources) {
    constexpr std::uint64_t samples_max = std::uint64_t{1} << 31U, samples_a_row_max = 64;
    const PlanSource& last = plan.head->sources.back();
    const std::uint64_t num_samples = last.sample_base + last.num_samples;
    const std::uint64_t rows = plan.num_segments + plan.head->dispositions.size();
    if (!sources.empty() || num_samples <= samples_max || num_samples / samples_a_row_max <= rows)
        return *plan.head;
    throw Error(
        ErrorCode::corrupt_data,
        "plan: its sources name " + std::to_string(num_samples) + " samples for " + std::to_string(rows) +
            " segments and dispositions, expected at most 64 a row; check it with batchplan validate -l");
}

}  // namespace

SampleFates::SampleFates(const BatchPlan& head)
    : head_(head),
      concatenated_(head.options.packing == PackingPolicy::concatenate),
      num_samples_(head.sources.back().sample_base + head.sources.back().num_samples) {
    num_singles_ = num_samples_;
    if (head.dispositions.empty()) return;
    kind_.assign(num_samples_, 0);
    for (const Disposition& row : head.dispositions) {
        const auto kind = static_cast<std::uint8_t>(row.kind);
        kind_[row.sample] = kind;
        if (!is_single_kind(kind)) --num_singles_;
        if (is_pieces_kind(kind)) ++num_in_pieces_;
    }
}

bool SampleFates::is_single_kind(std::uint8_t kind) const {
    return kind == 0 || kind == static_cast<std::uint8_t>(DispositionKind::no_target) ||
           (kind == static_cast<std::uint8_t>(DispositionKind::truncated) && !concatenated_);
}

bool SampleFates::is_pieces_kind(std::uint8_t kind) const {
    return kind == static_cast<std::uint8_t>(DispositionKind::split) ||
           (kind == static_cast<std::uint8_t>(DispositionKind::truncated) && concatenated_);
}

std::uint32_t SampleFates::tokens_lost(std::uint64_t sample) const {
    if (kind_.empty() || kind_[sample] != static_cast<std::uint8_t>(DispositionKind::truncated)) return 0;
    const auto row = std::ranges::lower_bound(head_.dispositions, sample, {}, &Disposition::sample);
    return static_cast<std::uint32_t>(row->tokens_lost);
}

std::uint32_t SampleEnds::of(std::uint64_t sample) {
    const std::size_t source = source_.of(sample);
    return given_[source].sample_tokens[sample - planned_[source].sample_base] - fates_.tokens_lost(sample);
}

// --- Epochs ---

EpochCoverage::EpochCoverage(const PlanView& plan, std::span<const SourceLengths> sources)
    : plan_(plan), head_(*plan.head), fates_(within_memory(plan, sources)), ends_(fates_, head_, sources) {
    if (!ends_.known() && head_.num_epochs() > 1) learned_end_.assign(fates_.num_samples(), 0);
}

void EpochCoverage::add(const PlanChunkColumns& chunk) {
    if (chunk.first_step == head_.epoch_begin[epoch_]) seen_.assign(fates_.num_samples(), false);
    std::visit([&](auto samples) { add_segments(chunk, samples); }, chunk.segment_sample);
    if (chunk.first_step + chunk.num_steps() == head_.epoch_begin[epoch_ + 1]) end_epoch();
}

template <class Samples>
void EpochCoverage::add_segments(const PlanChunkColumns& chunk, Samples samples) {
    const std::uint64_t first_segment = chunk.pack_begin.front();
    for (std::size_t s = 0; s < samples.size(); ++s) {
        const std::uint64_t sample = samples[s];
        if (fates_.is_single(sample)) {
            check_single(sample, chunk.segment_offset[s], chunk.segment_tokens[s], first_segment + s);
        } else if (fates_.is_in_pieces(sample)) {
            pieces_.push_back({sample, chunk.segment_offset[s], chunk.segment_tokens[s], first_segment + s});
        } else {
            fail(plan_, first_segment + s, sample, "is recorded as not planned");
        }
    }
}

void EpochCoverage::check_single(std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens,
                                 std::uint64_t segment) {
    if (offset != 0) {
        fail(plan_, segment, sample, "should begin at its first token, begins at " + std::to_string(offset));
    }
    check_end(sample, tokens, segment);
    if (seen_[sample]) fail(plan_, segment, sample, "comes twice in epoch " + std::to_string(epoch_));
    seen_[sample] = true;
    ++num_seen_;
}

/// Lengths that nobody brought are learned from the first epoch; the others must agree.
void EpochCoverage::check_end(std::uint64_t sample, std::uint32_t end, std::uint64_t segment) {
    std::uint32_t expected = end;
    if (ends_.known()) {
        expected = ends_.of(sample);
    } else if (!learned_end_.empty()) {
        std::uint32_t& learned = learned_end_[sample];
        if (learned == 0) learned = end;
        expected = learned;
    }
    if (expected == end) return;
    fail(plan_, segment, sample,
         "should be trained up to token " + std::to_string(expected) + ", ends at " + std::to_string(end));
}

void EpochCoverage::end_epoch() {
    // A revision and drop_last (LazarusTails) may leave samples out; nothing may ever come twice.
    if (num_seen_ != fates_.num_singles() && !head_.parent && !head_.options.drop_last) name_missing_sample();
    check_pieces();
    pieces_.clear();
    num_seen_ = 0;
    ++epoch_;
}

void EpochCoverage::check_pieces() {
    std::sort(pieces_.begin(), pieces_.end());
    std::uint64_t samples = 0;
    for (std::size_t i = 0; i < pieces_.size();) {
        const std::uint64_t sample = pieces_[i].sample;
        std::uint64_t end = 0;
        std::size_t last = i;
        for (; i < pieces_.size() && pieces_[i].sample == sample; last = i++) {
            const std::uint64_t expected = next_offset(end);
            if (i > last && pieces_[i].offset == pieces_[last].offset) {
                fail(plan_, pieces_[i].segment, sample,
                     "has two pieces that begin at token " + std::to_string(pieces_[i].offset));
            }
            if (pieces_[i].offset != expected && !(head_.parent && pieces_[i].offset > expected)) {
                fail(plan_, pieces_[i].segment, sample,
                     "should have a piece that begins at token " + std::to_string(expected) + ", next is " +
                         std::to_string(pieces_[i].offset));
            }
            end = std::uint64_t{pieces_[i].offset} + pieces_[i].tokens;
        }
        const auto sample_end = static_cast<std::uint32_t>(end);
        // Of a revision the last pieces may be missing.
        const bool shorter = head_.parent && (!ends_.known() || sample_end < ends_.of(sample));
        if (!shorter) check_end(sample, sample_end, pieces_[last].segment);
        ++samples;
    }
    if (samples != fates_.num_in_pieces() && !head_.parent) {
        refuse("epoch " + std::to_string(epoch_) + " (from step " +
               std::to_string(head_.epoch_begin[epoch_]) + ") holds " + std::to_string(samples) + " of " +
               std::to_string(fates_.num_in_pieces()) + " split samples");
    }
}

void EpochCoverage::name_missing_sample() const {
    std::uint64_t sample = 0;
    while (!fates_.is_single(sample) || seen_[sample]) ++sample;
    refuse("sample " + std::to_string(sample) + " is missing from epoch " + std::to_string(epoch_) +
           " (from step " + std::to_string(head_.epoch_begin[epoch_]) + ")");
}

// --- Mixtures ---

MixtureCoverage::MixtureCoverage(const PlanView& plan, std::span<const SourceLengths> sources)
    : plan_(plan),
      head_(*plan.head),
      fates_(within_memory(plan, sources)),
      ends_(fates_, head_, sources),
      passes_(fates_.num_samples(), 0),
      end_(fates_.num_samples(), 0) {}

void MixtureCoverage::add(const PlanChunkColumns& chunk) {
    std::visit([&](auto samples) { add_segments(chunk, samples); }, chunk.segment_sample);
}

template <class Samples>
void MixtureCoverage::add_segments(const PlanChunkColumns& chunk, Samples samples) {
    const std::uint64_t first_segment = chunk.pack_begin.front();
    for (std::size_t s = 0; s < samples.size(); ++s) {
        const std::uint64_t sample = samples[s];
        const std::uint32_t offset = chunk.segment_offset[s];
        const std::uint32_t tokens = chunk.segment_tokens[s];
        if (fates_.is_in_pieces(sample)) {
            pieces_.push_back({sample, offset, tokens, first_segment + s});
            continue;
        }
        if (!fates_.is_single(sample)) fail(plan_, first_segment + s, sample, "is recorded as not planned");
        if (offset != 0) fail(plan_, first_segment + s, sample, "should begin at its first token");
        if (end_[sample] == 0) end_[sample] = tokens;
        if (end_[sample] != tokens) fail(plan_, first_segment + s, sample, "is trained to different ends");
        ++passes_[sample];
    }
}

void MixtureCoverage::finish() {
    check_pieces();
    for (std::size_t source = 0; source < head_.sources.size(); ++source) check_source(source);
}

void MixtureCoverage::check_pieces() {
    std::sort(pieces_.begin(), pieces_.end());
    for (std::size_t i = 0; i < pieces_.size();) {
        const std::uint64_t sample = pieces_[i].sample;
        std::uint64_t end = 0;
        while (i < pieces_.size() && pieces_[i].sample == sample) {
            const SamplePiece& piece = pieces_[i];
            if (piece.offset != next_offset(end) && !(head_.parent && piece.offset > next_offset(end))) {
                fail(plan_, piece.segment, sample,
                     "has a piece at token " + std::to_string(piece.offset) + " where " +
                         std::to_string(next_offset(end)) + " should follow");
            }
            end = std::uint64_t{piece.offset} + piece.tokens;
            std::uint32_t times = 0;
            for (; i < pieces_.size() && pieces_[i].sample == sample && pieces_[i].offset == piece.offset;
                 ++i) {
                if (pieces_[i].tokens != piece.tokens)
                    fail(plan_, pieces_[i].segment, sample, "is cut in different ways");
                ++times;
            }
            if (piece.offset == 0) passes_[sample] = times;
            if (times != passes_[sample] && !head_.parent)
                fail(plan_, piece.segment, sample, "has pieces that come less often than its first");
            passes_[sample] = std::max(passes_[sample], times);
        }
        end_[sample] = static_cast<std::uint32_t>(end);
    }
}

void MixtureCoverage::check_source(std::size_t index) {
    const PlanSource& source = head_.sources[index];
    std::uint32_t least = std::numeric_limits<std::uint32_t>::max();
    std::uint32_t most = 0;
    for (std::uint64_t s = 0; s < source.num_samples; ++s) {
        const std::uint64_t sample = source.sample_base + s;
        if (!fates_.is_single(sample) && !fates_.is_in_pieces(sample)) continue;
        least = std::min(least, passes_[sample]);
        most = std::max(most, passes_[sample]);
        if (!ends_.known() || end_[sample] == 0) continue;
        // Of a revision the last pieces may be missing.
        const bool may_be_shorter = head_.parent && fates_.is_in_pieces(sample);
        if (end_[sample] > ends_.of(sample) || (end_[sample] < ends_.of(sample) && !may_be_shorter)) {
            refuse("sample " + std::to_string(sample) + " should be trained up to token " +
                   std::to_string(ends_.of(sample)) + ", ends at " + std::to_string(end_[sample]));
        }
    }
    if (most == 0) return;
    const std::uint64_t passes_max = source.passes_max > 0 ? source.passes_max : head_.options.epochs;
    const std::uint64_t cap = source.passes > 0 ? source.passes : passes_max;
    const bool evenly = source.passes > 0 ? least == most && most == cap : most - least <= 1;
    if (most <= cap && (evenly || head_.parent)) return;
    refuse("source " + std::to_string(index) + " '" + source.name + "': its samples come " +
           std::to_string(least) + " to " + std::to_string(most) + " times in the run, expected " +
           (source.passes > 0 ? std::to_string(source.passes)
                              : "as often as each other and at most " + std::to_string(cap)));
}

}  // namespace lockstep
