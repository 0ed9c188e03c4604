#include "worker/replay.h"

#include <algorithm>
#include <span>
#include <string>

#include "io/base/error.h"
#include "kernels/cross_entropy.h"

namespace lockstep {

void SampleSource::add(std::shared_ptr<const Corpus> corpus) {
    sample_begin_.push_back(sample_begin_.back() + corpus->num_samples());
    corpora_.push_back(std::move(corpus));
}

SampleSource::Place SampleSource::find(std::uint64_t global_sample) const {
    const auto after = std::upper_bound(sample_begin_.begin(), sample_begin_.end(), global_sample);
    if (after == sample_begin_.end()) {
        throw Error(ErrorCode::corrupt_data, "the plan names sample " + std::to_string(global_sample) +
                                                 ", but its corpora hold only " +
                                                 std::to_string(sample_begin_.back()));
    }
    const auto index = static_cast<std::size_t>(after - sample_begin_.begin()) - 1;
    return {corpora_[index].get(), global_sample - sample_begin_[index]};
}

namespace {

/// Mark position `i` of the segment as predicting the next token where a loss span says so. Returns the
/// number of targets.
std::uint32_t set_targets(const SampleSource::Place& place, std::uint64_t offset,
                          std::span<const std::uint32_t> ids, std::span<std::int32_t> targets) {
    std::fill(targets.begin(), targets.end(), ignored_target);
    std::uint32_t count = 0;
    const auto predict = [&](std::uint64_t begin, std::uint64_t end) {  // predicted tokens, segment-relative
        for (std::uint64_t p = std::max<std::uint64_t>(begin, 1); p < end; ++p) {
            targets[p - 1] = static_cast<std::int32_t>(ids[p]);
            ++count;
        }
    };
    if (!place.corpus->has_loss_spans()) {
        predict(0, ids.size());
        return count;
    }
    for (const LossSpan& span : place.corpus->loss_spans(place.sample)) {
        const std::uint64_t begin = std::max<std::uint64_t>(span.begin, offset);
        const std::uint64_t end = std::min<std::uint64_t>(span.end, offset + ids.size());
        if (begin < end) predict(begin - offset, end - offset);
    }
    return count;
}

constexpr std::uint64_t segments_ahead = 4;

void prefetch(const PlanSlice& slice, std::uint64_t segment, const SampleSource& samples) {
    const SampleSource::Place place = samples.find(slice.segment_sample[segment]);
    place.corpus->prefetch_tokens(place.sample, slice.segment_offset[segment]);
}

}  // namespace

void build_batch(const PlanSlice& slice, std::size_t index, std::uint64_t step, const SampleSource& samples,
                 PackedBatch& batch) {
    batch.step = step;
    batch.pack = slice.pack[index];
    batch.num_targets = 0;
    batch.cu_seqlens.assign(1, 0);
    const std::uint64_t begin = slice.segment_begin[index];
    const std::uint64_t end = slice.segment_begin[index + 1];
    std::size_t tokens = 0;
    for (std::uint64_t s = begin; s < end; ++s) {
        tokens += slice.segment_tokens[s];
        batch.cu_seqlens.push_back(static_cast<std::int32_t>(tokens));
    }
    batch.token_ids.resize(tokens);
    batch.position_ids.resize(tokens);
    batch.targets.resize(tokens);

    for (std::uint64_t s = begin; s < std::min(end, begin + segments_ahead); ++s) prefetch(slice, s, samples);
    std::size_t at = 0;
    for (std::uint64_t s = begin; s < end; ++s) {
        const SampleSource::Place place = samples.find(slice.segment_sample[s]);
        const std::uint64_t offset = slice.segment_offset[s];
        const std::size_t length = slice.segment_tokens[s];
        if (offset + length > place.corpus->sample_tokens(place.sample)) {
            throw Error(ErrorCode::corrupt_data,
                        "pack " + std::to_string(batch.pack) + " wants tokens [" + std::to_string(offset) +
                            ", " + std::to_string(offset + length) + ") of sample " +
                            std::to_string(slice.segment_sample[s]) + ", which has " +
                            std::to_string(place.corpus->sample_tokens(place.sample)) +
                            "; plan and corpus do not belong together");
        }
        if (s + segments_ahead < end) prefetch(slice, s + segments_ahead, samples);
        const auto ids = std::span(batch.token_ids).subspan(at, length);
        place.corpus->read_tokens(place.sample, offset, ids);
        for (std::size_t i = 0; i < length; ++i) batch.position_ids[at + i] = static_cast<std::uint32_t>(i);
        batch.num_targets += set_targets(place, offset, ids, std::span(batch.targets).subspan(at, length));
        at += length;
    }
}

}  // namespace lockstep
