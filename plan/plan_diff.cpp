#include "plan/plan_diff.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "plan/plan_columns.h"

namespace lockstep {

namespace {

using Json = nlohmann::json;

/// Chunks [first, last) of an epoch.
struct ChunkRange {
    std::size_t first = 0, last = 0;
};
ChunkRange chunks_of_epoch(const BatchPlan& head, std::uint64_t epoch) {
    const std::vector<std::uint64_t>& begin = head.fingerprints.chunk_begin;
    const auto at = [&](std::uint64_t step) {
        return static_cast<std::size_t>(std::lower_bound(begin.begin(), begin.end(), step) - begin.begin());
    };
    return {at(head.epoch_begin[epoch]), at(head.epoch_begin[epoch + 1])};
}

/// Compares two chunks that begin with the same step, field by field, in training order.
class ChunkComparison {
  public:
    ChunkComparison(const PlanChunkColumns& a, const PlanChunkColumns& b, std::uint64_t epoch)
        : a_(a), b_(b) {
        difference_.epoch = epoch;
    }

    std::optional<PlanDifference> find(std::uint64_t step_end) {
        const std::uint64_t steps =
            std::min({a_.num_steps(), b_.num_steps(), step_end - std::min(step_end, a_.first_step)});
        difference_.step = a_.first_step;
        if (steps > 0 && differs("first pack", a_.first_pack, b_.first_pack)) return difference_;
        for (std::uint64_t i = 0; i < steps; ++i) {
            difference_.step = a_.first_step + i;
            if (step_differs(i)) return difference_;
        }
        return std::nullopt;
    }

  private:
    bool differs(const char* field, std::uint64_t a, std::uint64_t b) {
        if (a == b) return false;
        difference_.field = field;
        difference_.a = std::to_string(a);
        difference_.b = std::to_string(b);
        return true;
    }

    template <class T>
    bool optional_differs(const char* field, const std::optional<std::span<const T>>& a,
                          const std::optional<std::span<const T>>& b, std::uint64_t row) {
        if (a.has_value() != b.has_value()) {
            difference_.field = field;
            difference_.a = a ? std::to_string((*a)[row]) : "none";
            difference_.b = b ? std::to_string((*b)[row]) : "none";
            return true;
        }
        return a && differs(field, (*a)[row], (*b)[row]);
    }

    bool step_differs(std::uint64_t i) {
        // Packs before this one agree in number, so both count from the same row.
        const std::uint64_t begin = a_.step_begin[i] - a_.step_begin[0];
        const std::uint64_t packs_a = a_.step_begin[i + 1] - a_.step_begin[i];
        const std::uint64_t packs_b = b_.step_begin[i + 1] - b_.step_begin[i];
        for (std::uint64_t pack = begin; pack < begin + std::min(packs_a, packs_b); ++pack) {
            difference_.pack = a_.first_pack + pack;
            if (pack_differs(pack)) return true;
        }
        difference_.pack.reset();
        return differs("packs of the step", packs_a, packs_b);
    }

    bool pack_differs(std::uint64_t pack) {
        const std::uint64_t begin = a_.pack_begin[pack] - a_.pack_begin[0];
        const std::uint64_t size_a = a_.pack_begin[pack + 1] - a_.pack_begin[pack];
        const std::uint64_t size_b = b_.pack_begin[pack + 1] - b_.pack_begin[pack];
        for (std::uint64_t i = 0; i < std::min(size_a, size_b); ++i) {
            const std::uint64_t s = begin + i;
            difference_.segment = i;
            if (differs("segment_sample", a_.sample(s), b_.sample(s))) return true;
            if (differs("segment_offset", a_.segment_offset[s], b_.segment_offset[s])) return true;
            if (differs("segment_tokens", a_.segment_tokens[s], b_.segment_tokens[s])) return true;
        }
        difference_.segment.reset();
        return differs("segments of the pack", size_a, size_b) ||
               differs("pack_cost", a_.pack_cost[pack], b_.pack_cost[pack]) ||
               optional_differs("pack_targets", a_.pack_targets, b_.pack_targets, pack) ||
               optional_differs("pack_bucket", a_.pack_bucket, b_.pack_bucket, pack) ||
               optional_differs("pack_pad_tokens", a_.pack_pad_tokens, b_.pack_pad_tokens, pack);
    }

    const PlanChunkColumns& a_;
    const PlanChunkColumns& b_;
    PlanDifference difference_;
};

std::optional<PlanDifference> difference_in_epoch(const PlanView& a, const PlanView& b, std::uint64_t epoch,
                                                  std::uint64_t step_end) {
    const ChunkRange in_a = chunks_of_epoch(*a.head, epoch);
    const ChunkRange in_b = chunks_of_epoch(*b.head, epoch);
    const std::size_t common = std::min(in_a.last - in_a.first, in_b.last - in_b.first);
    for (std::size_t i = 0; i < common; ++i) {
        if (a.head->fingerprints.chunk_begin[in_a.first + i] >= step_end) return std::nullopt;
        if (a.head->fingerprints.chunks[in_a.first + i] == b.head->fingerprints.chunks[in_b.first + i]) {
            continue;
        }
        const PlanChunkColumns chunk_a = a.chunk(in_a.first + i);
        const PlanChunkColumns chunk_b = b.chunk(in_b.first + i);
        if (auto found = ChunkComparison(chunk_a, chunk_b, epoch).find(step_end)) return found;
    }
    const std::uint64_t begin = a.head->epoch_begin[epoch];
    const std::uint64_t end_a = a.head->epoch_begin[epoch + 1];
    const std::uint64_t end_b = b.head->epoch_begin[epoch + 1];
    if (end_a == end_b || std::min(end_a, end_b) >= step_end) return std::nullopt;
    PlanDifference difference;
    difference.field = "steps of the epoch";
    difference.epoch = epoch;
    difference.step = std::min(end_a, end_b);
    difference.a = std::to_string(end_a - begin);
    difference.b = std::to_string(end_b - begin);
    return difference;
}

std::string hex_or_none(const Fingerprint& fingerprint) {
    return fingerprint.empty() ? "none" : fingerprint.hex();
}

/// Collects the lines of a summary.
class Summary {
  public:
    void compare(const std::string& what, const std::string& a, const std::string& b) {
        if (a != b) lines_.push_back({what, a, b});
    }
    void compare(const std::string& what, std::uint64_t a, std::uint64_t b) {
        compare(what, std::to_string(a), std::to_string(b));
    }
    std::vector<SettingDifference> lines() && { return std::move(lines_); }

  private:
    std::vector<SettingDifference> lines_;
};

void compare_options(const BatchPlan& a, const BatchPlan& b, Summary& summary) {
    const Json options_a = Json::parse(text_of_options(a.options));
    const Json options_b = Json::parse(text_of_options(b.options));
    for (const auto& [key, value] : options_a.items()) {
        summary.compare("option " + key, value.dump(), options_b.at(key).dump());
    }
    summary.compare("algorithms", Json(a.algorithms).dump(), Json(b.algorithms).dump());
}

void compare_sources(const BatchPlan& a, const BatchPlan& b, Summary& summary) {
    summary.compare("sources", a.sources.size(), b.sources.size());
    for (std::size_t i = 0; i < std::min(a.sources.size(), b.sources.size()); ++i) {
        const PlanSource& x = a.sources[i];
        const PlanSource& y = b.sources[i];
        const std::string prefix = "source " + std::to_string(i) + " '" + x.name + "': ";
        summary.compare(prefix + "name", x.name, y.name);
        summary.compare(prefix + "samples", x.num_samples, y.num_samples);
        summary.compare(prefix + "lengths", hex_or_none(x.lengths), hex_or_none(y.lengths));
        summary.compare(prefix + "tokenizer", hex_or_none(x.tokenizer), hex_or_none(y.tokenizer));
        summary.compare(prefix + "tokenizer_hash", x.tokenizer_hash, y.tokenizer_hash);
        summary.compare(prefix + "corpus", hex_or_none(x.corpus), hex_or_none(y.corpus));
        summary.compare(prefix + "scores", hex_or_none(x.scores), hex_or_none(y.scores));
        summary.compare(prefix + "weight", x.weight, y.weight);
        summary.compare(prefix + "passes", x.passes, y.passes);
        summary.compare(prefix + "passes_max", x.passes_max, y.passes_max);
    }
}

}  // namespace

std::string PlanDifference::text() const {
    std::string place = "epoch " + std::to_string(epoch) + ", step " + std::to_string(step);
    if (pack) place += ", pack " + std::to_string(*pack);
    if (segment) place += ", segment " + std::to_string(*segment);
    return place + ": " + field + " is " + a + ", " + b + " in the other";
}

std::optional<PlanDifference> first_difference(const PlanView& a, const PlanView& b, std::uint64_t step_end) {
    const std::uint64_t common = std::min(a.head->num_epochs(), b.head->num_epochs());
    for (std::uint64_t epoch = 0; epoch < common; ++epoch) {
        if (a.head->epoch_begin[epoch] >= step_end) return std::nullopt;
        if (a.head->fingerprints.epochs[epoch] == b.head->fingerprints.epochs[epoch]) continue;
        if (auto found = difference_in_epoch(a, b, epoch, step_end)) return found;
    }
    const std::uint64_t end = std::min(a.num_steps(), b.num_steps());
    if (a.head->num_epochs() == b.head->num_epochs() || end >= step_end) return std::nullopt;
    PlanDifference difference;
    difference.field = "epochs";
    difference.epoch = common;
    difference.step = end;
    difference.a = std::to_string(a.head->num_epochs());
    difference.b = std::to_string(b.head->num_epochs());
    return difference;
}

std::vector<SettingDifference> setting_differences(const PlanView& a, const PlanView& b) {
    Summary summary;
    compare_options(*a.head, *b.head, summary);
    compare_sources(*a.head, *b.head, summary);
    summary.compare("dispositions", a.head->dispositions.size(), b.head->dispositions.size());
    if (a.head->dispositions != b.head->dispositions &&
        a.head->dispositions.size() == b.head->dispositions.size()) {
        const auto [x, y] = std::mismatch(a.head->dispositions.begin(), a.head->dispositions.end(),
                                          b.head->dispositions.begin());
        summary.compare("first disposition that differs: sample", x->sample, y->sample);
        summary.compare("first disposition that differs: kind", static_cast<std::uint64_t>(x->kind),
                        static_cast<std::uint64_t>(y->kind));
        summary.compare("first disposition that differs: tokens lost", x->tokens_lost, y->tokens_lost);
    }
    const auto parent = [](const BatchPlan& plan) {
        return plan.parent ? plan.parent->hex() : std::string("none");
    };
    summary.compare("parent", parent(*a.head), parent(*b.head));
    summary.compare("from_step", a.head->from_step, b.head->from_step);
    summary.compare("epochs", a.head->num_epochs(), b.head->num_epochs());
    summary.compare("steps", a.num_steps(), b.num_steps());
    summary.compare("packs", a.num_packs, b.num_packs);
    summary.compare("segments", a.num_segments, b.num_segments);
    return std::move(summary).lines();
}

ChunkCounts count_differing_chunks(const PlanView& a, const PlanView& b) {
    const std::vector<Fingerprint>& x = a.head->fingerprints.chunks;
    const std::vector<Fingerprint>& y = b.head->fingerprints.chunks;
    ChunkCounts counts;
    counts.chunks = std::max(x.size(), y.size());
    for (std::size_t i = 0; i < counts.chunks; ++i) {
        if (i >= x.size() || i >= y.size() || x[i] != y[i]) ++counts.differing;
    }
    return counts;
}

}  // namespace lockstep
