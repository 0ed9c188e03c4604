// The strictest thing that can be said of a plan: that it is the one its options give.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "plan/plan_builder.h"
#include "plan/plan_diff.h"
#include "plan/validate_plan.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse_difference(const PlanView& plan, const PlanView& rebuilt) {
    std::string difference = "its settings";
    if (const auto first = first_difference(plan, rebuilt)) difference = first->text();
    throw Error(ErrorCode::fingerprint_mismatch,
                "plan: it is not what its options give for these sources: " + difference +
                    " when built again; it was edited or made by a faulty build");
}

/// A plan that is built once more whenever its rows are looked at.
class RebuiltPlan {
  public:
    RebuiltPlan(const PlanOptions& options, std::span<const SourceLengths> sources)
        : options_(options), sources_(sources) {
        PlanBuilder builder(options_, sources_);
        head_ = builder.frame();
        std::vector<Fingerprint> leaves;
        for (std::uint64_t epoch = 0; epoch < head_.options.epochs; ++epoch) {
            builder.begin_epoch(epoch);
            for (std::uint64_t c = 0; c < builder.num_chunks(); ++c) {
                builder.make_chunk(c, chunk_);
                leaves.push_back(fingerprint_chunk(chunk_.columns()));
            }
        }
        num_packs_ = builder.total().packs;
        num_segments_ = builder.total().segments;
        head_.fingerprints = fingerprint_tree(fingerprint_settings(head_), head_.epoch_begin,
                                              std::move(leaves), head_.parent, head_.from_step);
    }
    const BatchPlan& head() const { return head_; }
    /// Borrows from this; a chunk's offsets begin at 0.
    PlanView view() {
        return {&head_, num_packs_, num_segments_, [this](std::size_t index) { return chunk(index); }};
    }

  private:
    PlanChunkColumns chunk(std::size_t index) {
        PlanBuilder builder(options_, sources_);
        for (std::uint64_t epoch = 0;; ++epoch) {
            builder.begin_epoch(epoch);
            if (index < builder.num_chunks()) break;
            index -= builder.num_chunks();
        }
        builder.make_chunk(index, chunk_);
        return chunk_.columns();
    }

    const PlanOptions& options_;
    std::span<const SourceLengths> sources_;
    BatchPlan head_;
    std::uint64_t num_packs_ = 0, num_segments_ = 0;
    PlanChunk chunk_;
};

}  // namespace

std::string check_rebuilt_plan(const PlanView& plan, std::span<const SourceLengths> sources) {
    const BatchPlan& head = *plan.head;
    if (head.parent) return "it is a revision";
    if (std::ranges::any_of(head.algorithms, [](const auto& name) { return name.starts_with("import="); }))
        return "it was imported, its order read and not made";
    if (sources.size() != head.sources.size()) return "not all its sources are given";
    std::vector<SourceLengths> shared(sources.begin(), sources.end());
    const bool has_targets = plan.num_chunks() > 0 && plan.chunk(0).pack_targets.has_value();
    for (std::size_t i = 0; i < shared.size(); ++i) {
        shared[i].source = head.sources[i];
        // Targets were counted, or not, when the plan was built.
        if (!has_targets) shared[i].lengths_only = true;
    }
    const bool by_score = head.options.order == PackOrder::score_stages;
    if (by_score &&
        std::ranges::any_of(sources, [](const SourceLengths& s) { return s.sample_score.empty(); }))
        return "its order is by score, and a source has none";
    const auto compare = [&](const BatchPlan& found, const PlanView& rebuilt) -> std::string {
        if (found.algorithms != head.algorithms) return "it was made by another version's algorithms";
        if (found.fingerprints.plan != head.fingerprints.plan) refuse_difference(plan, rebuilt);
        return {};
    };
    if (head.options.compat == PlanCompat::lazarus) {
        const BatchPlan rebuilt = build_plan(head.options, shared);
        return compare(rebuilt, view_of(rebuilt));
    }
    RebuiltPlan rebuilt(head.options, shared);
    return compare(rebuilt.head(), rebuilt.view());
}

}  // namespace lockstep
