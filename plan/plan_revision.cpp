#include "plan/plan_revision.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "io/base/error.h"
#include "plan/balance.h"
#include "plan/bucketing.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorCode::invalid_argument, what);
}

/// Sorted, and each once.
std::vector<std::uint64_t> sorted_once(std::vector<std::uint64_t> values, const char* what) {
    std::sort(values.begin(), values.end());
    const auto twice = std::adjacent_find(values.begin(), values.end());
    if (twice != values.end()) {
        refuse(std::string(what) + " " + std::to_string(*twice) + " is excluded twice; name it once");
    }
    return values;
}

}  // namespace

/// Makes the chunks of a revision.
class PlanRevision::Rows {
  public:
    Rows(PlanView plan, const Exclusion& exclusion, const SegmentTargets& targets)
        : plan_(std::move(plan)),
          from_step_(exclusion.from_step),
          samples_(sorted_once(exclusion.samples, "sample")),
          steps_(sorted_once(exclusion.steps, "step")),
          buckets_(plan_.head->options.bucket_edges, plan_.head->options.bucket_overflow_max),
          found_(samples_.size(), false),
          targets_(targets) {
        check_request();
        std::vector<Fingerprint> leaves;
        for (std::size_t index = 0; index < plan_.num_chunks(); ++index) {
            const PlanChunkColumns chunk = plan_.chunk(index);
            first_segment_.push_back(chunk.pack_begin.front() - counts_.segments_removed);
            leaves.push_back(fingerprint_chunk(revised(chunk, index, &counts_)));
        }
        const auto missing = std::ranges::find(found_, false);
        if (missing != found_.end()) {
            refuse("sample " + std::to_string(samples_[static_cast<std::size_t>(missing - found_.begin())]) +
                   " is in no step from " + std::to_string(from_step_) +
                   " on: nothing to exclude; ask lockstep batchplan where");
        }
        head_ = head_of(*plan_.head);
        head_.parent = plan_.head->fingerprints.plan;
        head_.from_step = from_step_;
        head_.fingerprints = fingerprint_tree(fingerprint_settings(head_), head_.epoch_begin,
                                              std::move(leaves), head_.parent, head_.from_step);
    }

    const RevisionCounts& counts() const { return counts_; }
    PlanView view() {
        return {&head_, plan_.num_packs, plan_.num_segments - counts_.segments_removed,
                [this](std::size_t index) { return revised(plan_.chunk(index), index, nullptr); }};
    }

  private:
    void check_request() const {
        if (samples_.empty() && steps_.empty()) refuse("nothing is named to be excluded");
        if (from_step_ >= plan_.num_steps()) {
            refuse("from-step is " + std::to_string(from_step_) + "; the plan has steps 0 to " +
                   std::to_string(plan_.num_steps() - 1));
        }
        const PlanSource& last = plan_.head->sources.back();
        const std::uint64_t num_samples = last.sample_base + last.num_samples;
        if (!samples_.empty() && samples_.back() >= num_samples) {
            refuse("sample " + std::to_string(samples_.back()) + " does not exist; the plan has " +
                   std::to_string(num_samples));
        }
        for (const std::uint64_t step : steps_) {
            if (step >= from_step_ && step < plan_.num_steps()) continue;
            refuse("step " + std::to_string(step) + " cannot be excluded; those from " +
                   std::to_string(from_step_) + " to " + std::to_string(plan_.num_steps() - 1) + " can");
        }
    }

    /// @param counts  of the first time a chunk is made: counted, and what is excluded in vain is refused.
    PlanChunkColumns revised(const PlanChunkColumns& chunk, std::size_t index, RevisionCounts* counts) {
        if (chunk.first_step + chunk.num_steps() <= from_step_) return chunk;
        pack_begin_.assign(1, first_segment_[index]);
        for (auto* column : {&segment_offset_, &segment_tokens_, &pack_targets_, &pack_pad_tokens_})
            column->clear();
        segment_sample_.clear();
        pack_cost_.assign(chunk.pack_cost.begin(), chunk.pack_cost.end());
        if (chunk.pack_targets) pack_targets_.assign(chunk.pack_targets->begin(), chunk.pack_targets->end());
        if (chunk.pack_pad_tokens)
            pack_pad_tokens_.assign(chunk.pack_pad_tokens->begin(), chunk.pack_pad_tokens->end());
        std::uint64_t pack = 0;
        for (std::uint64_t i = 0; i < chunk.num_steps(); ++i) {
            const std::uint64_t step = chunk.first_step + i;
            const std::uint64_t end = chunk.step_begin[i + 1] - chunk.step_begin.front();
            const bool whole_step = std::ranges::binary_search(steps_, step);
            if (whole_step && chunk.pack_begin[pack] == chunk.pack_begin[end])
                refuse("step " + std::to_string(step) + " is empty already: nothing to exclude");
            for (; pack < end; ++pack) revise_pack(chunk, pack, step < from_step_, whole_step, counts);
        }
        PlanChunkColumns out = chunk;
        out.pack_begin = pack_begin_;
        out.segment_sample = std::span<const std::uint64_t>(segment_sample_);
        out.segment_offset = segment_offset_;
        out.segment_tokens = segment_tokens_;
        out.pack_cost = pack_cost_;
        if (chunk.pack_targets) out.pack_targets = pack_targets_;
        if (chunk.pack_pad_tokens) out.pack_pad_tokens = pack_pad_tokens_;
        return out;
    }

    bool is_excluded(std::uint64_t sample) {
        const auto at = std::ranges::lower_bound(samples_, sample);
        if (at == samples_.end() || *at != sample) return false;
        found_[static_cast<std::size_t>(at - samples_.begin())] = true;
        return true;
    }

    void revise_pack(const PlanChunkColumns& chunk, std::uint64_t pack, bool stays, bool whole_step,
                     RevisionCounts* counts) {
        std::uint64_t tokens_before = 0, kept = 0;
        PackWork work;
        removed_.clear();
        for (std::uint64_t row = chunk.pack_begin[pack]; row < chunk.pack_begin[pack + 1]; ++row) {
            const std::uint64_t s = row - chunk.pack_begin.front();
            const std::uint64_t sample = chunk.sample(s);
            const std::uint64_t length = chunk.segment_tokens[s];
            tokens_before += length;
            // Asked first: a sample of an excluded step is found there.
            if (!stays && (is_excluded(sample) || whole_step)) {
                removed_.push_back(s);
                continue;
            }
            segment_sample_.push_back(sample);
            segment_offset_.push_back(chunk.segment_offset[s]);
            segment_tokens_.push_back(chunk.segment_tokens[s]);
            work.add(length);
            ++kept;
        }
        pack_begin_.push_back(pack_begin_.back() + kept);
        if (removed_.empty()) return;
        pack_cost_[pack] = work.cost(plan_.head->options.cost);
        if (chunk.pack_targets) pack_targets_[pack] = targets_left(chunk, pack, tokens_before, kept);
        if (chunk.pack_bucket) {
            pack_pad_tokens_[pack] =
                static_cast<std::uint32_t>(kept * buckets_.upper((*chunk.pack_bucket)[pack]) - work.tokens);
        }
        if (counts == nullptr) return;
        ++counts->packs_changed;
        if (kept == 0) ++counts->packs_emptied;
        counts->segments_removed += removed_.size();
        counts->tokens_removed += tokens_before - work.tokens;
    }

    std::uint32_t targets_left(const PlanChunkColumns& chunk, std::uint64_t pack, std::uint64_t tokens,
                               std::uint64_t kept) const {
        const std::uint32_t before = (*chunk.pack_targets)[pack];
        std::uint64_t left = before;
        if (kept == 0 || left == 0) return 0;
        const bool all_trained = left == tokens - (kept + removed_.size());
        const std::string name = "pack " + std::to_string(chunk.first_pack + pack);
        for (const std::uint64_t s : removed_) {
            if (all_trained) {
                left -= chunk.segment_tokens[s] - 1;
                continue;
            }
            if (!targets_) {
                refuse(name +
                       " trains only some of its tokens (loss spans), so its targets can only be told from "
                       "the corpus; pass -d CORPUS for each source");
            }
            const std::uint32_t of_segment =
                targets_(chunk.sample(s), chunk.segment_offset[s], chunk.segment_tokens[s]);
            if (of_segment > left) {
                throw Error(ErrorCode::corrupt_data,
                            name + " has " + std::to_string(before) + " targets, the corpus counts more");
            }
            left -= of_segment;
        }
        return static_cast<std::uint32_t>(left);
    }

    const PlanView plan_;
    const std::uint64_t from_step_;
    const std::vector<std::uint64_t> samples_, steps_;
    const LengthBuckets buckets_;
    std::vector<bool> found_;  ///< (samples_) has a segment from from_step on.
    const SegmentTargets targets_;
    BatchPlan head_;
    RevisionCounts counts_;
    std::vector<std::uint64_t> first_segment_;  ///< (chunks) in the revision.
    // The chunk asked for last.
    std::vector<std::uint64_t> pack_begin_, segment_sample_, pack_cost_;
    std::vector<std::uint32_t> segment_offset_, segment_tokens_, pack_targets_, pack_pad_tokens_;
    std::vector<std::uint64_t> removed_;  ///< Segments of the present pack, within the chunk.
};

PlanRevision::PlanRevision(PlanView plan, const Exclusion& exclusion, const SegmentTargets& targets)
    : rows_(std::make_unique<Rows>(std::move(plan), exclusion, targets)) {}

PlanRevision::~PlanRevision() = default;

const RevisionCounts& PlanRevision::counts() const {
    return rows_->counts();
}

PlanView PlanRevision::view() {
    return rows_->view();
}

Revision revise_plan(const BatchPlan& plan, const Exclusion& exclusion, const SegmentTargets& targets) {
    PlanRevision revision(view_of(plan), exclusion, targets);
    return {revision.counts(), plan_of(revision.view())};
}

namespace {

[[noreturn]] void refuse_rows(std::uint64_t step, std::uint64_t pack, const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "step " + std::to_string(step) + ", pack " + std::to_string(pack) +
                                             ": " + what + " in the plan it is a revision of");
}

/// A pack of the parent and what the revision left of it; `pack` counts from the chunk's first.
void check_revised_pack(const PlanChunkColumns& before, const PlanChunkColumns& after, std::uint64_t step,
                        std::uint64_t pack, std::uint64_t from_step, RevisionCounts& counts) {
    std::uint64_t kept = after.pack_begin[pack] - after.pack_begin.front();
    const std::uint64_t kept_end = after.pack_begin[pack + 1] - after.pack_begin.front();
    const std::uint64_t first_kept = kept;
    const std::uint64_t at_pack = before.first_pack + pack;
    std::uint64_t removed = 0, removed_targets_max = 0;
    for (std::uint64_t row = before.pack_begin[pack]; row < before.pack_begin[pack + 1]; ++row) {
        const std::uint64_t s = row - before.pack_begin.front();
        const bool same = kept < kept_end && after.sample(kept) == before.sample(s) &&
                          after.segment_offset[kept] == before.segment_offset[s] &&
                          after.segment_tokens[kept] == before.segment_tokens[s];
        if (same) {
            ++kept;
        } else {
            ++removed;
            counts.tokens_removed += before.segment_tokens[s];
            removed_targets_max += before.segment_tokens[s] - 1;
        }
    }
    if (kept < kept_end) {
        refuse_rows(step, at_pack,
                    "tokens " + std::to_string(after.segment_offset[kept]) + " on of sample " +
                        std::to_string(after.sample(kept)) + " are not, or not in this order,");
    }
    const auto same_value = [&](const auto& a, const auto& b) { return !a || (*a)[pack] == (*b)[pack]; };
    if (removed == 0) {
        if (before.pack_cost[pack] != after.pack_cost[pack] ||
            !same_value(before.pack_targets, after.pack_targets) ||
            !same_value(before.pack_bucket, after.pack_bucket) ||
            !same_value(before.pack_pad_tokens, after.pack_pad_tokens))
            refuse_rows(step, at_pack,
                        "nothing is left out but its cost, targets or padding are others than");
        return;
    }
    if (!same_value(before.pack_bucket, after.pack_bucket))
        refuse_rows(step, at_pack, "it is in another bucket than");
    if (before.pack_targets) {
        // Which of a removed segment's tokens were trained only its corpus tells.
        const std::uint64_t was = (*before.pack_targets)[pack], is = (*after.pack_targets)[pack];
        if (is > was || was - is > removed_targets_max)
            refuse_rows(step, at_pack,
                        "its targets are " + std::to_string(is) + ", expected " + std::to_string(was) +
                            " less at most " + std::to_string(removed_targets_max) + " of what it had");
    }
    if (step < from_step)
        refuse_rows(step, at_pack, "it comes before the revision's first step and is other than");
    counts.segments_removed += removed;
    ++counts.packs_changed;
    if (kept == first_kept) ++counts.packs_emptied;
}

}  // namespace

RevisionCounts check_revision(const PlanView& parent, const PlanView& revision) {
    const BatchPlan& before = *parent.head;
    const BatchPlan& after = *revision.head;
    if (!after.parent) refuse("the plan is no revision, it names no parent; leave --parent out");
    if (*after.parent != before.fingerprints.plan) {
        throw Error(ErrorCode::fingerprint_mismatch,
                    "the plan is a revision of " + after.parent->brief() + "…, --parent is " +
                        before.fingerprints.plan.brief() + "…; give the plan it was made from");
    }
    if (fingerprint_settings(after) != fingerprint_settings(before) ||
        after.epoch_begin != before.epoch_begin || revision.num_packs != parent.num_packs) {
        throw Error(ErrorCode::corrupt_data,
                    "the revision's settings, epochs or number of packs are not those of its parent");
    }
    RevisionCounts counts;
    for (std::size_t index = 0; index < parent.num_chunks(); ++index) {
        if (after.fingerprints.chunks[index] == before.fingerprints.chunks[index]) continue;
        const PlanChunkColumns old_rows = parent.chunk(index);
        const PlanChunkColumns new_rows = revision.chunk(index);
        if (old_rows.pack_targets.has_value() != new_rows.pack_targets.has_value() ||
            old_rows.pack_bucket.has_value() != new_rows.pack_bucket.has_value() ||
            old_rows.pack_pad_tokens.has_value() != new_rows.pack_pad_tokens.has_value())
            refuse_rows(old_rows.first_step, old_rows.first_pack, "other columns (targets, buckets) than");
        std::uint64_t pack = 0;
        for (std::uint64_t i = 0; i < old_rows.num_steps(); ++i) {
            const std::uint64_t step = old_rows.first_step + i;
            if (old_rows.step_begin[i + 1] != new_rows.step_begin[i + 1])
                refuse_rows(step, old_rows.first_pack + pack, "the step has another number of packs than");
            for (; pack < old_rows.step_begin[i + 1] - old_rows.step_begin.front(); ++pack)
                check_revised_pack(old_rows, new_rows, step, pack, after.from_step, counts);
        }
    }
    return counts;
}

}  // namespace lockstep
