#include "plan/plan_structure.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <variant>

#include "io/base/contract.h"
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

/// Offsets ascend from 0 to `rows`.
void check_offsets(std::string_view column, std::span<const std::uint64_t> offsets, std::uint64_t rows,
                   bool may_be_empty) {
    if (offsets.empty() || offsets.front() != 0) refuse(std::string(column) + " does not begin with 0");
    check_ascending(column, offsets, 0, may_be_empty);
    if (offsets.back() != rows)
        refuse(std::string(column) + " ends wrong: " + expected_found(rows, offsets.back()));
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
    if (tree.chunk_begin != chunk_bounds(plan.epoch_begin)) refuse("chunk_begin is not what its epochs give");
}

}  // namespace

void check_ascending(std::string_view column, std::span<const std::uint64_t> offsets, std::uint64_t first_row,
                     bool may_be_empty) {
    for (std::size_t i = 1; i < offsets.size(); ++i) {
        if (offsets[i] < offsets[i - 1] || (offsets[i] == offsets[i - 1] && !may_be_empty)) {
            refuse(std::string(column) + " does not ascend at row " + std::to_string(first_row + i) + ": " +
                   std::to_string(offsets[i]) + " after " + std::to_string(offsets[i - 1]));
        }
    }
}

void check_head_structure(const BatchPlan& head, std::uint64_t num_steps) {
    check_options_sound(head);
    const std::uint64_t num_samples = check_sources(head);
    check_offsets("epoch_begin", head.epoch_begin, num_steps, false);
    check_size("epoch_begin", head.num_epochs(), head.options.epochs);
    check_dispositions(head, num_samples);
    check_tree_shape(head, num_steps);
}

void check_rows(const BatchPlan& plan) {
    const bool may_be_empty = plan.parent.has_value();
    check_offsets("pack_begin", plan.pack_begin, plan.num_segments(), may_be_empty);
    check_offsets("step_begin", plan.step_begin, plan.num_packs(), may_be_empty);
    check_offsets("epoch_begin", plan.epoch_begin, plan.num_steps(), false);
    check_sizes(plan);
}

void check_structure(const BatchPlan& plan) {
    check_rows(plan);
    const PlanView view = view_of(plan);
    StructureCheck check(view);
    for (std::size_t chunk = 0; chunk < view.num_chunks(); ++chunk) check.add(view.chunk(chunk));
    check.finish();
}

/// Checks packs one by one; keeps what is constant over them.
class StructureCheck::PackCheck {
  public:
    PackCheck(const BatchPlan& head, std::uint64_t num_samples)
        : options_(head.options),
          num_samples_(num_samples),
          buckets_(head.options.bucket_edges, head.options.bucket_overflow_max) {}

    void begin_chunk(const PlanChunkColumns& chunk) {
        first_segment_ = chunk.pack_begin.front();
        samples_exist_ = std::visit(
            [&](auto samples) {
                bool all = true;
                for (const std::uint64_t sample : samples) all &= sample < num_samples_;
                return all;
            },
            chunk.segment_sample);
    }

    /// Pack `pack` of the chunk begun, which belongs to step `step` of the plan.
    void check(const PlanChunkColumns& chunk, std::uint64_t pack, std::uint64_t step) {
        step_ = step;
        pack_ = chunk.first_pack + pack;
        const std::uint64_t begin = chunk.pack_begin[pack] - first_segment_;
        const std::uint64_t end = chunk.pack_begin[pack + 1] - first_segment_;
        const std::uint64_t segments_max = options_.segments_per_pack_max;
        if (segments_max > 0 && end - begin > segments_max) {
            fail("has more segments than a pack may hold: " + expected_found(segments_max, end - begin));
        }
        PackWork work;
        for (std::uint64_t segment = begin; segment < end; ++segment) {
            check_segment(chunk, segment);
            work.add(chunk.segment_tokens[segment]);
            // Checked at every segment, so that a sum of squares cannot wrap.
            if (work.tokens > options_.token_budget && !may_exceed_budget(end - begin)) {
                fail("has more than the token budget: " + expected_found(options_.token_budget, work.tokens));
            }
        }
        const std::uint64_t cost = work.cost(options_.cost);
        if (chunk.pack_cost[pack] != cost) fail("pack_cost: " + expected_found(cost, chunk.pack_cost[pack]));
        if (chunk.pack_targets && (*chunk.pack_targets)[pack] > work.tokens - (end - begin)) {
            fail("pack_targets: at most " + std::to_string(work.tokens - (end - begin)) +
                 " are possible, found " + std::to_string((*chunk.pack_targets)[pack]));
        }
        if (chunk.pack_bucket) check_bucket(chunk, pack, work.tokens);
    }

  private:
    /// Lazarus mode keeps packs of one sample whose bucket is over the budget.
    bool may_exceed_budget(std::uint64_t segments) const {
        return options_.compat == PlanCompat::lazarus && segments == 1;
    }

    std::string named(std::uint64_t segment) const {
        return "segment " + std::to_string(first_segment_ + segment);
    }

    void check_segment(const PlanChunkColumns& chunk, std::uint64_t segment) const {
        if (!samples_exist_ && chunk.sample(segment) >= num_samples_) {
            fail(named(segment) + ": sample " + std::to_string(chunk.sample(segment)) +
                 " does not exist, there are " + std::to_string(num_samples_));
        }
        if (chunk.segment_tokens[segment] == 0) fail(named(segment) + " has no tokens");
        if (chunk.segment_offset[segment] >
            std::numeric_limits<std::uint32_t>::max() - chunk.segment_tokens[segment]) {
            fail(named(segment) + " ends beyond 2^32 - 1 tokens");
        }
    }

    void check_bucket(const PlanChunkColumns& chunk, std::uint64_t pack, std::uint64_t tokens) const {
        const std::uint64_t begin = chunk.pack_begin[pack] - first_segment_;
        const std::uint64_t end = chunk.pack_begin[pack + 1] - first_segment_;
        const std::uint16_t bucket = (*chunk.pack_bucket)[pack];
        if (bucket >= buckets_.size()) {
            fail("pack_bucket: there are " + std::to_string(buckets_.size()) + ", found " +
                 std::to_string(bucket));
        }
        const std::uint64_t upper = buckets_.upper(bucket);
        for (std::uint64_t segment = begin; segment < end; ++segment) {
            const std::uint32_t length = chunk.segment_tokens[segment];
            if (length > upper || buckets_.index_of(length) != bucket) {
                fail(named(segment) + " of " + std::to_string(length) + " tokens does not belong to bucket " +
                     std::to_string(bucket));
            }
        }
        const std::uint64_t padded = (end - begin) * upper;  // Segments are at most the budget, below 2^31.
        if (padded > options_.token_budget && !may_exceed_budget(end - begin)) {
            fail("has more than the token budget when padded: " +
                 expected_found(options_.token_budget, padded));
        }
        const std::uint32_t pad_tokens = (*chunk.pack_pad_tokens)[pack];
        if (pad_tokens != padded - tokens) {
            fail("pack_pad_tokens: " + expected_found(padded - tokens, pad_tokens));
        }
    }

    [[noreturn]] void fail(const std::string& what) const {
        refuse("step " + std::to_string(step_) + ", pack " + std::to_string(pack_) + " " + what);
    }

    const PlanOptions& options_;
    const std::uint64_t num_samples_;
    const LengthBuckets buckets_;
    std::uint64_t step_ = 0, pack_ = 0, first_segment_ = 0;  ///< Of the pack being checked, and its chunk.
    bool samples_exist_ = false;                             ///< All the chunk's.
};

StructureCheck::StructureCheck(const PlanView& plan)
    : head_(*plan.head), num_packs_(plan.num_packs), num_segments_(plan.num_segments) {
    check_head_structure(head_, head_.epoch_begin.empty() ? 0 : head_.epoch_begin.back());
    const std::uint64_t num_samples = check_sources(head_);
    // A sample is in a segment or has a disposition, so the rows bound what a validator must hold. A mixture
    // may leave out what its quotas do not need.
    const std::uint64_t rows =
        num_segments_ + head_.dispositions.size() + lazarus_left_out_max(head_.options);
    if (!head_.parent && !is_mixture(head_.sources) && num_samples > rows) {
        refuse("sources name " + std::to_string(num_samples) +
               " samples; segments and dispositions account for at most " + std::to_string(rows));
    }
    packs_ = std::make_unique<PackCheck>(head_, num_samples);
}

StructureCheck::~StructureCheck() = default;

/// The rows follow those before, and are those the mode asks for.
void StructureCheck::check_columns(const PlanChunkColumns& chunk) const {
    const auto follows = [](const char* column, std::uint64_t row, std::uint64_t expected,
                            std::uint64_t found) {
        if (expected == found) return;
        refuse(std::string(column) + ", row " + std::to_string(row) + ": " + expected_found(expected, found));
    };
    follows("step_begin", chunk.first_step, next_pack_, chunk.step_begin.front());
    follows("pack_begin", chunk.first_pack, next_segment_, chunk.pack_begin.front());
    const bool in_buckets = head_.options.mode == PlanMode::bucket;
    if (chunk.pack_bucket.has_value() != in_buckets && chunk.num_packs() > 0)
        refuse(std::string("pack_bucket ") + (in_buckets ? "is missing" : "does not belong to this mode"));
    if (chunk.pack_pad_tokens.has_value() != in_buckets && chunk.num_packs() > 0)
        refuse(std::string("pack_pad_tokens ") +
               (in_buckets ? "is missing" : "does not belong to this mode"));
}

void StructureCheck::check_packs_of_step(std::uint64_t step, std::uint64_t packs) {
    const std::uint64_t full = head_.options.packs_per_step;
    bool may_be_short = step + 1 == head_.epoch_begin[epoch_ + 1] || head_.parent;
    if (packs < full && !may_be_short && short_steps_left_ > 0) {
        --short_steps_left_;
        may_be_short = true;
    }
    if (packs > full || (packs < full && !may_be_short)) {
        refuse("step " + std::to_string(step) +
               " has another number of packs: " + expected_found(full, packs));
    }
}

void StructureCheck::add(const PlanChunkColumns& chunk) {
    LOCKSTEP_EXPECTS(chunk.first_step == next_step_);
    check_columns(chunk);
    if (next_step_ == head_.epoch_begin[epoch_]) {
        // A stage ends its step.
        short_steps_left_ = head_.options.stages == 0 ? 0 : head_.options.stages - 1;
    }
    packs_->begin_chunk(chunk);
    std::uint64_t pack = 0;
    for (std::uint64_t i = 0; i < chunk.num_steps(); ++i) {
        const std::uint64_t step = chunk.first_step + i;
        check_packs_of_step(step, chunk.step_begin[i + 1] - chunk.step_begin[i]);
        for (; pack < chunk.step_begin[i + 1] - chunk.step_begin.front(); ++pack)
            packs_->check(chunk, pack, step);
    }
    next_step_ += chunk.num_steps();
    next_pack_ = chunk.step_begin.back();
    next_segment_ = chunk.pack_begin.back();
    if (next_step_ == head_.epoch_begin[epoch_ + 1]) ++epoch_;
}

void StructureCheck::finish() const {
    LOCKSTEP_EXPECTS(epoch_ == head_.num_epochs());
    if (next_pack_ != num_packs_) refuse("step_begin ends wrong: " + expected_found(num_packs_, next_pack_));
    if (next_segment_ != num_segments_)
        refuse("pack_begin ends wrong: " + expected_found(num_segments_, next_segment_));
}

}  // namespace lockstep
