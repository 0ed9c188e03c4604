#include "plan/plan_structure.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

#include "io/base/error.h"
#include "plan/balance.h"
#include "plan/bucketing.h"
#include "plan/lazarus/plan.h"
#include "plan/mixture.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "plan: " + what + "; build it again or take an intact copy");
}

std::string expected_found(std::uint64_t expected, std::uint64_t found) {
    return "expected " + std::to_string(expected) + ", found " + std::to_string(found);
}

void check_options_sound(const BatchPlan& plan) {
    try {
        check_options(plan.options);
    } catch (const Error& error) {
        refuse(std::string("options: ") + error.what());
    }
    if (effective_options(plan.options) != plan.options) refuse("options: some contradict each other");
}

std::uint64_t check_sources(const BatchPlan& plan) {
    if (plan.sources.empty()) refuse("sources: there is none");
    std::uint64_t num_samples = 0;
    for (std::size_t i = 0; i < plan.sources.size(); ++i) {
        const PlanSource& source = plan.sources[i];
        if (source.sample_base != num_samples) {
            refuse("source " + std::to_string(i) + ": sample_base, " +
                   expected_found(num_samples, source.sample_base));
        }
        if (source.num_samples > std::numeric_limits<std::uint64_t>::max() - num_samples) {
            refuse("source " + std::to_string(i) + ": num_samples is out of range");
        }
        num_samples += source.num_samples;
    }
    return num_samples;
}

/// Offsets ascend from 0 to `rows`; equal neighbours only if `may_be_empty`.
void check_offsets(std::string_view name, const std::vector<std::uint64_t>& offsets, std::uint64_t rows,
                   bool may_be_empty) {
    if (offsets.empty() || offsets.front() != 0) refuse(std::string(name) + " does not begin with 0");
    for (std::size_t i = 1; i < offsets.size(); ++i) {
        if (offsets[i] < offsets[i - 1] || (offsets[i] == offsets[i - 1] && !may_be_empty)) {
            refuse(std::string(name) + " does not ascend at row " + std::to_string(i) + ": " +
                   std::to_string(offsets[i]) + " after " + std::to_string(offsets[i - 1]));
        }
    }
    if (offsets.back() != rows)
        refuse(std::string(name) + " ends wrong: " + expected_found(rows, offsets.back()));
}

void check_size(std::string_view name, std::uint64_t found, std::uint64_t expected) {
    if (found != expected)
        refuse(std::string(name) + " has another length: " + expected_found(expected, found));
}

void check_sizes(const BatchPlan& plan) {
    check_size("segment_sample", plan.segment_sample.size(), plan.num_segments());
    check_size("segment_offset", plan.segment_offset.size(), plan.num_segments());
    const std::uint64_t packs = plan.num_packs();
    const std::uint64_t bucket_packs = plan.options.mode == PlanMode::bucket ? packs : 0;
    check_size("pack_cost", plan.pack_cost.size(), packs);
    if (!plan.pack_targets.empty()) check_size("pack_targets", plan.pack_targets.size(), packs);
    check_size("pack_bucket", plan.pack_bucket.size(), bucket_packs);
    check_size("pack_pad_tokens", plan.pack_pad_tokens.size(), bucket_packs);
}

void check_epochs(const BatchPlan& plan) {
    check_size("epoch_begin", plan.num_epochs(), plan.options.epochs);
    const std::uint64_t full = plan.options.packs_per_step;
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
        // A stage ends its step.
        std::uint64_t short_steps_left = plan.options.stages == 0 ? 0 : plan.options.stages - 1;
        for (std::uint64_t step = plan.epoch_begin[epoch]; step < plan.epoch_begin[epoch + 1]; ++step) {
            const std::uint64_t packs = plan.step_begin[step + 1] - plan.step_begin[step];
            bool may_be_short = step + 1 == plan.epoch_begin[epoch + 1] || plan.parent;
            if (packs < full && !may_be_short && short_steps_left > 0) {
                --short_steps_left;
                may_be_short = true;
            }
            if (packs > full || (packs < full && !may_be_short)) {
                refuse("step " + std::to_string(step) +
                       " has another number of packs: " + expected_found(full, packs));
            }
        }
    }
}

/// Checks packs one by one; keeps what is constant over them.
class PackCheck {
  public:
    PackCheck(const BatchPlan& plan, std::uint64_t num_samples)
        : plan_(plan),
          num_samples_(num_samples),
          buckets_(plan.options.bucket_edges, plan.options.bucket_overflow_max) {}

    void check(std::uint64_t pack) {
        pack_ = pack;
        PackWork work;
        const std::uint64_t begin = plan_.pack_begin[pack];
        const std::uint64_t end = plan_.pack_begin[pack + 1];
        const std::uint64_t segments_max = plan_.options.segments_per_pack_max;
        if (segments_max > 0 && end - begin > segments_max) {
            fail("has more segments than a pack may hold: " + expected_found(segments_max, end - begin));
        }
        for (std::uint64_t segment = begin; segment < end; ++segment) {
            check_segment(segment);
            work.add(plan_.segment_tokens[segment]);
            // Checked at every segment, so that a sum of squares cannot wrap.
            if (work.tokens > plan_.options.token_budget && !may_exceed_budget(begin, end)) {
                fail("has more than the token budget: " +
                     expected_found(plan_.options.token_budget, work.tokens));
            }
        }
        const std::uint64_t cost = work.cost(plan_.options.cost);
        if (plan_.pack_cost[pack] != cost) fail("pack_cost: " + expected_found(cost, plan_.pack_cost[pack]));
        if (!plan_.pack_targets.empty() && plan_.pack_targets[pack] > work.tokens - (end - begin)) {
            fail("pack_targets: at most " + std::to_string(work.tokens - (end - begin)) +
                 " are possible, found " + std::to_string(plan_.pack_targets[pack]));
        }
        if (plan_.options.mode == PlanMode::bucket) check_bucket(begin, end, work.tokens);
    }

  private:
    /// Lazarus mode keeps packs of one sample whose bucket is over the budget.
    bool may_exceed_budget(std::uint64_t begin, std::uint64_t end) const {
        return plan_.options.compat == PlanCompat::lazarus && end - begin == 1;
    }

    void check_segment(std::uint64_t segment) {
        if (plan_.segment_sample[segment] >= num_samples_) {
            fail("segment " + std::to_string(segment) + ": sample " +
                 std::to_string(plan_.segment_sample[segment]) + " does not exist, there are " +
                 std::to_string(num_samples_));
        }
        if (plan_.segment_tokens[segment] == 0) fail("segment " + std::to_string(segment) + " has no tokens");
        if (plan_.segment_offset[segment] >
            std::numeric_limits<std::uint32_t>::max() - plan_.segment_tokens[segment]) {
            fail("segment " + std::to_string(segment) + " ends beyond 2^32 - 1 tokens");
        }
    }

    void check_bucket(std::uint64_t begin, std::uint64_t end, std::uint64_t tokens) {
        const std::uint16_t bucket = plan_.pack_bucket[pack_];
        if (bucket >= buckets_.size()) {
            fail("pack_bucket: there are " + std::to_string(buckets_.size()) + ", found " +
                 std::to_string(bucket));
        }
        const std::uint64_t upper = buckets_.upper(bucket);
        for (std::uint64_t segment = begin; segment < end; ++segment) {
            const std::uint32_t length = plan_.segment_tokens[segment];
            if (length > upper || buckets_.index_of(length) != bucket) {
                fail("segment " + std::to_string(segment) + " of " + std::to_string(length) +
                     " tokens does not belong to bucket " + std::to_string(bucket));
            }
        }
        const std::uint64_t padded = (end - begin) * upper;  // Segments are at most the budget, below 2^31.
        if (padded > plan_.options.token_budget && !may_exceed_budget(begin, end)) {
            fail("has more than the token budget when padded: " +
                 expected_found(plan_.options.token_budget, padded));
        }
        if (plan_.pack_pad_tokens[pack_] != padded - tokens) {
            fail("pack_pad_tokens: " + expected_found(padded - tokens, plan_.pack_pad_tokens[pack_]));
        }
    }

    [[noreturn]] void fail(const std::string& what) const {
        const auto after = std::upper_bound(plan_.step_begin.begin(), plan_.step_begin.end(), pack_);
        const auto step = static_cast<std::uint64_t>(after - plan_.step_begin.begin()) - 1;
        refuse("step " + std::to_string(step) + ", pack " + std::to_string(pack_) + " " + what);
    }

    const BatchPlan& plan_;
    const std::uint64_t num_samples_;
    const LengthBuckets buckets_;
    std::uint64_t pack_ = 0;
};

void check_dispositions(const BatchPlan& plan, std::uint64_t num_samples) {
    for (std::size_t i = 0; i < plan.dispositions.size(); ++i) {
        const Disposition& row = plan.dispositions[i];
        const std::string where = "dispositions, row " + std::to_string(i);
        if (i > 0 && row.sample <= plan.dispositions[i - 1].sample) refuse(where + ": samples do not ascend");
        if (row.sample >= num_samples)
            refuse(where + ": sample " + std::to_string(row.sample) + " does not exist");
        const bool loses = row.kind == DispositionKind::truncated || row.kind == DispositionKind::dropped;
        if (row.kind < DispositionKind::split || row.kind > DispositionKind::no_target) {
            refuse(where + ": unknown kind " + std::to_string(static_cast<unsigned>(row.kind)));
        }
        if (loses != (row.tokens_lost > 0) || row.tokens_lost > std::numeric_limits<std::uint32_t>::max()) {
            refuse(where + ": " + std::to_string(row.tokens_lost) + " tokens lost do not fit its kind");
        }
    }
}

void check_tree_shape(const BatchPlan& plan, std::uint64_t num_steps) {
    const PlanFingerprints& tree = plan.fingerprints;
    if (tree.steps_per_chunk != plan_steps_per_chunk) {
        refuse("steps_per_chunk: " + expected_found(plan_steps_per_chunk, tree.steps_per_chunk));
    }
    check_size("epoch_fingerprint", tree.epochs.size(), plan.num_epochs());
    check_offsets("chunk_begin", tree.chunk_begin, num_steps, false);
    check_size("chunk_fingerprint", tree.chunks.size(), tree.chunk_begin.size() - 1);
}

}  // namespace

void check_structure(const BatchPlan& plan) {
    check_options_sound(plan);
    const std::uint64_t num_samples = check_sources(plan);
    const bool may_be_empty = plan.parent.has_value();
    check_offsets("pack_begin", plan.pack_begin, plan.num_segments(), may_be_empty);
    check_offsets("step_begin", plan.step_begin, plan.num_packs(), may_be_empty);
    check_offsets("epoch_begin", plan.epoch_begin, plan.num_steps(), false);
    check_sizes(plan);
    check_epochs(plan);
    PackCheck packs(plan, num_samples);
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) packs.check(pack);
    check_dispositions(plan, num_samples);
    // A sample is in a segment or has a disposition, so the rows bound what a validator must hold. A mixture
    // may leave out what its quotas do not need.
    const std::uint64_t rows =
        plan.num_segments() + plan.dispositions.size() + lazarus_left_out_max(plan.options);
    if (!plan.parent && !is_mixture(plan.sources) && num_samples > rows) {
        refuse("sources name " + std::to_string(num_samples) +
               " samples; segments and dispositions account for at most " + std::to_string(rows));
    }
    check_tree_shape(plan, plan.num_steps());
}

void check_head_structure(const BatchPlan& head, std::uint64_t num_steps) {
    check_options_sound(head);
    const std::uint64_t num_samples = check_sources(head);
    check_offsets("epoch_begin", head.epoch_begin, num_steps, false);
    check_size("epoch_begin", head.num_epochs(), head.options.epochs);
    check_dispositions(head, num_samples);
    check_tree_shape(head, num_steps);
}

}  // namespace lockstep
