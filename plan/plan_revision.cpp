#include "plan/plan_revision.h"

#include <algorithm>
#include <string>

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

class Reviser {
  public:
    Reviser(const BatchPlan& plan, const Exclusion& exclusion, const SegmentTargets& targets)
        : plan_(plan),
          from_step_(exclusion.from_step),
          samples_(sorted_once(exclusion.samples, "sample")),
          steps_(sorted_once(exclusion.steps, "step")),
          found_(samples_.size(), false),
          targets_(targets) {
        check_request();
    }

    Revision revise() {
        BatchPlan& out = revision_.plan;
        out = plan_;
        out.parent = plan_.fingerprints.plan;
        out.from_step = from_step_;
        const std::uint64_t first_pack = plan_.step_begin[from_step_];
        const std::uint64_t first_segment = plan_.pack_begin[first_pack];
        out.segment_sample.resize(first_segment);
        out.segment_offset.resize(first_segment);
        out.segment_tokens.resize(first_segment);
        for (std::uint64_t step = from_step_; step < plan_.num_steps(); ++step) {
            const bool whole_step = std::binary_search(steps_.begin(), steps_.end(), step);
            for (std::uint64_t pack = plan_.step_begin[step]; pack < plan_.step_begin[step + 1]; ++pack) {
                revise_pack(pack, whole_step);
            }
        }
        const auto missing = std::find(found_.begin(), found_.end(), false);
        if (missing != found_.end()) {
            refuse("sample " + std::to_string(samples_[static_cast<std::size_t>(missing - found_.begin())]) +
                   " is in no step from " + std::to_string(from_step_) +
                   " on: nothing to exclude; ask lockstep batchplan where");
        }
        out.fingerprints = fingerprint_plan(out);
        return std::move(revision_);
    }

  private:
    void check_request() const {
        if (samples_.empty() && steps_.empty()) refuse("nothing is named to be excluded");
        if (from_step_ >= plan_.num_steps()) {
            refuse("from-step is " + std::to_string(from_step_) + "; the plan has steps 0 to " +
                   std::to_string(plan_.num_steps() - 1));
        }
        const std::uint64_t num_samples = plan_.sources.back().sample_base + plan_.sources.back().num_samples;
        if (!samples_.empty() && samples_.back() >= num_samples) {
            refuse("sample " + std::to_string(samples_.back()) + " does not exist; the plan has " +
                   std::to_string(num_samples));
        }
        for (const std::uint64_t step : steps_) {
            if (step < from_step_ || step >= plan_.num_steps()) {
                refuse("step " + std::to_string(step) + " cannot be excluded; those from " +
                       std::to_string(from_step_) + " to " + std::to_string(plan_.num_steps() - 1) + " can");
            }
            if (plan_.pack_begin[plan_.step_begin[step]] == plan_.pack_begin[plan_.step_begin[step + 1]]) {
                refuse("step " + std::to_string(step) + " is empty already: nothing to exclude");
            }
        }
    }

    bool is_excluded(std::uint64_t sample) {
        const auto at = std::lower_bound(samples_.begin(), samples_.end(), sample);
        if (at == samples_.end() || *at != sample) return false;
        found_[static_cast<std::size_t>(at - samples_.begin())] = true;
        return true;
    }

    void revise_pack(std::uint64_t pack, bool whole_step) {
        BatchPlan& out = revision_.plan;
        std::uint64_t tokens_before = 0, kept = 0;
        PackWork work;
        removed_.clear();
        for (std::uint64_t s = plan_.pack_begin[pack]; s < plan_.pack_begin[pack + 1]; ++s) {
            const std::uint64_t length = plan_.segment_tokens[s];
            tokens_before += length;
            // Asked first: a sample of an excluded step is found there.
            if (is_excluded(plan_.segment_sample[s]) || whole_step) {
                removed_.push_back(s);
                continue;
            }
            out.segment_sample.push_back(plan_.segment_sample[s]);
            out.segment_offset.push_back(plan_.segment_offset[s]);
            out.segment_tokens.push_back(plan_.segment_tokens[s]);
            work.add(length);
            ++kept;
        }
        out.pack_begin[pack + 1] = out.segment_tokens.size();
        if (removed_.empty()) return;
        ++revision_.packs_changed;
        if (kept == 0) ++revision_.packs_emptied;
        revision_.segments_removed += removed_.size();
        revision_.tokens_removed += tokens_before - work.tokens;
        out.pack_cost[pack] = work.cost(plan_.options.cost);
        if (!plan_.pack_targets.empty()) out.pack_targets[pack] = targets_left(pack, tokens_before, kept);
        if (plan_.options.mode == PlanMode::bucket) {
            const LengthBuckets buckets(plan_.options.bucket_edges, plan_.options.bucket_overflow_max);
            out.pack_pad_tokens[pack] =
                static_cast<std::uint32_t>(kept * buckets.upper(plan_.pack_bucket[pack]) - work.tokens);
        }
    }

    std::uint32_t targets_left(std::uint64_t pack, std::uint64_t tokens, std::uint64_t kept) const {
        std::uint64_t left = plan_.pack_targets[pack];
        if (kept == 0 || left == 0) return 0;
        const std::uint64_t segments = plan_.pack_begin[pack + 1] - plan_.pack_begin[pack];
        const bool all_trained = left == tokens - segments;
        for (const std::uint64_t s : removed_) {
            if (all_trained) {
                left -= plan_.segment_tokens[s] - 1;
                continue;
            }
            if (!targets_) {
                refuse("pack " + std::to_string(pack) +
                       " trains only some of its tokens (loss spans), so its targets can only be told from "
                       "the corpus; pass -d CORPUS for each source");
            }
            const std::uint32_t of_segment =
                targets_(plan_.segment_sample[s], plan_.segment_offset[s], plan_.segment_tokens[s]);
            if (of_segment > left) {
                throw Error(ErrorCode::corrupt_data, "pack " + std::to_string(pack) + " has " +
                                                         std::to_string(plan_.pack_targets[pack]) +
                                                         " targets, the corpus counts more");
            }
            left -= of_segment;
        }
        return static_cast<std::uint32_t>(left);
    }

    const BatchPlan& plan_;
    const std::uint64_t from_step_;
    const std::vector<std::uint64_t> samples_, steps_;
    std::vector<bool> found_;  ///< (samples_) has a segment from from_step on.
    const SegmentTargets& targets_;
    std::vector<std::uint64_t> removed_;  ///< Segments of the present pack.
    Revision revision_;
};

}  // namespace

Revision revise_plan(const BatchPlan& plan, const Exclusion& exclusion, const SegmentTargets& targets) {
    return Reviser(plan, exclusion, targets).revise();
}

}  // namespace lockstep
