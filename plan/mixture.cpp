#include "plan/mixture.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "plan/staged_packs.h"

namespace lockstep {

namespace {

__extension__ using u128 = unsigned __int128;

/// part · of / whole, rounded down.
std::uint64_t share_of(std::uint64_t part, std::uint64_t of, std::uint64_t whole) {
    return static_cast<std::uint64_t>(static_cast<u128>(part) * of / whole);
}

[[noreturn]] void refuse(const PlanSource& source, const std::string& what) {
    throw Error(ErrorCode::invalid_argument, "source '" + source.name + "' " + what);
}

/// Endless passes over the samples of one source.
template <class Index>
class SourceStream {
  public:
    /// @param first_segment  (planned samples + 1) first segment of each sample, and the end.
    SourceStream(const PlanOptions& options, std::uint64_t source, std::span<const Index> first_segment,
                 std::span<const std::uint32_t> tokens)
        : options_(options), source_(source), first_segment_(first_segment), tokens_(tokens) {
        order_.resize(first_segment_.size() - 1);
        begin_pass(0);
    }

    /// Append samples until the stream has given `tokens` tokens or more.
    void give_until(std::uint64_t tokens, std::vector<Index>& pool) {
        while (given_ < tokens) {
            if (next_ == order_.size()) begin_pass(pass_ + 1);
            const Index sample = order_[next_++];
            for (Index s = first_segment_[sample]; s < first_segment_[sample + 1]; ++s) {
                pool.push_back(s);
                given_ += tokens_[s];
            }
        }
    }

  private:
    void begin_pass(std::uint64_t pass) {
        pass_ = pass;
        next_ = 0;
        for (Index i = 0; i < order_.size(); ++i) order_[i] = i;
        if (options_.order == PackOrder::in_order) return;
        DrawSequence draws(options_.seed, "mixture-pass", source_ << 40U | pass);
        shuffle_values(std::span(order_), draws);
    }

    const PlanOptions& options_;
    std::uint64_t source_;
    std::span<const Index> first_segment_;
    std::span<const std::uint32_t> tokens_;
    std::vector<Index> order_;
    std::size_t next_ = 0;
    std::uint64_t pass_ = 0;
    std::uint64_t given_ = 0;
};

template <class Index>
class MixtureEpochs final : public EpochSequence<Index> {
  public:
    MixtureEpochs(const PlanOptions& options, std::span<const MixtureSource> sources,
                  const SegmentTable& table)
        : options_(options), block_options_(options), table_(table) {
        // A block is small, and what its packs leave over goes into the next.
        if (options.packing == PackingPolicy::automatic)
            block_options_.packing = PackingPolicy::best_fit_decreasing;
        for (const MixtureSource& source : sources) {
            std::vector<Index>& first = first_segment_.emplace_back();
            first.reserve(source.segment_end - source.segment_begin + 1);
            for (std::uint64_t segment = source.segment_begin; segment < source.segment_end; ++segment)
                if (table.offset_of(segment) == 0) first.push_back(static_cast<Index>(segment));
            first.push_back(static_cast<Index>(source.segment_end));
            quotas_.push_back(source.quota);
            total_ += source.quota;
        }
        // How many packs it takes is known by making them.
        EpochOrder<Index> order;
        for (std::uint64_t epoch = 0; epoch < options.epochs; ++epoch) {
            begin_epoch(epoch, order);
            counts_.push_back({order.segments.size(), order.num_packs(), order.num_steps()});
        }
    }

    EpochCounts counts(std::uint64_t epoch) const override { return counts_[epoch]; }

    void begin_epoch(std::uint64_t epoch, EpochOrder<Index>& order) override {
        if (epoch == 0) begin_run();
        order.clear();
        EpochDraws draws(options_.seed, epoch);
        const std::uint64_t epoch_end = share_of(total_, epoch + 1, options_.epochs);
        const std::uint64_t window_packs = balance_window_steps * options_.packs_per_step;
        for (;;) {
            // More than window_packs − 1 packs can hold, so that the window is full; the excess comes again.
            const std::uint64_t wanted = (window_packs + 1) * options_.token_budget;
            fill_pool(wanted, epoch_end);
            if (pool_.empty()) break;
            Stage<Index> block(block_options_, table_, std::exchange(pool_, {}));
            const bool last = drawn_ == epoch_end && block.num_packs() <= window_packs;
            pool_ = block.give_back(window_packs);
            block.append_to(order, draws);
            if (last) break;
        }
        LOCKSTEP_ENSURES(pool_.empty());
    }

    void draw(const EpochOrder<Index>& order, std::size_t begin, std::size_t end,
              const PackContents<Index>& contents) override {
        copy_contents(order, table_, begin, end, contents);
    }

  private:
    /// Draw until the pool holds `wanted` tokens, or all that the epoch has. Streams give whole samples, so
    /// some are ahead of their share and give less for a while.
    void fill_pool(std::uint64_t wanted, std::uint64_t epoch_end) {
        std::uint64_t have = 0;
        std::size_t counted = 0;
        for (;;) {
            for (; counted < pool_.size(); ++counted) have += table_.tokens[pool_[counted]];
            if (have < wanted) drawn_ = std::min(epoch_end, drawn_ + (wanted - have));
            for (std::size_t i = 0; i < streams_.size(); ++i) {
                streams_[i].give_until(share_of(quotas_[i], drawn_, total_), pool_);
            }
            if (have >= wanted || (drawn_ == epoch_end && counted == pool_.size())) return;
        }
    }

    void begin_run() {
        streams_.clear();
        drawn_ = 0;
        for (std::size_t i = 0; i < first_segment_.size(); ++i) {
            streams_.emplace_back(options_, i, first_segment_[i], table_.tokens);
        }
    }

    const PlanOptions options_;
    PlanOptions block_options_;
    const SegmentTable& table_;
    std::vector<std::vector<Index>> first_segment_;  ///< (sources)(samples + 1)
    std::vector<std::uint64_t> quotas_;              ///< (sources) tokens of the run.
    std::uint64_t total_ = 0;
    std::vector<EpochCounts> counts_;
    // Of the run being made.
    std::vector<SourceStream<Index>> streams_;
    std::uint64_t drawn_ = 0;  ///< Tokens of the run that the streams were asked for.
    std::vector<Index> pool_;  ///< Given back by the last block.
};

}  // namespace

bool is_mixture(std::span<const PlanSource> sources) {
    return std::ranges::any_of(
        sources, [](const PlanSource& source) { return source.weight > 0 || source.passes > 0; });
}

std::vector<std::uint64_t> mixture_quotas(std::span<const PlanSource> sources,
                                          std::span<const std::uint64_t> source_tokens,
                                          std::uint64_t epochs) {
    const bool weighted = sources.front().weight > 0;
    std::vector<std::uint64_t> quotas;
    u128 total_weight = 0;
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const PlanSource& source = sources[i];
        if ((source.weight > 0) != weighted || (source.passes > 0) == weighted) {
            refuse(source,
                   "has " + std::string(source.weight > 0 ? "a weight" : "no weight") +
                       " where another has the opposite; give every source a weight, or every one passes");
        }
        if (source.passes_max > 0 && !weighted) {
            refuse(source, "has passes and a cap on them; the cap is for sources with a weight");
        }
        if (source_tokens[i] == 0) refuse(source, "has a share of the mixture but no tokens to train");
        total_weight += source.weight;
    }
    constexpr std::uint64_t tokens_max = std::uint64_t{1} << 62U;
    if (!weighted) {
        for (std::size_t i = 0; i < sources.size(); ++i) {
            const u128 quota = static_cast<u128>(source_tokens[i]) * sources[i].passes;
            if (quota > tokens_max / sources.size())
                refuse(sources[i], "gives more than 2^62 tokens; plan fewer passes");
            quotas.push_back(static_cast<std::uint64_t>(quota));
        }
        return quotas;
    }
    // The run's tokens: the least of cap · tokens · (total weight / weight).
    u128 run = tokens_max;
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const std::uint64_t passes = sources[i].passes_max > 0 ? sources[i].passes_max : epochs;
        const u128 most = static_cast<u128>(source_tokens[i]) * passes;
        run = std::min(run, std::min(most, static_cast<u128>(tokens_max)) * total_weight / sources[i].weight);
    }
    for (std::size_t i = 0; i < sources.size(); ++i) {
        quotas.push_back(static_cast<std::uint64_t>(run * sources[i].weight / total_weight));
        if (quotas.back() == 0) {
            refuse(sources[i], "gets none of the " + std::to_string(static_cast<std::uint64_t>(run)) +
                                   " tokens that the run has by its weight; raise its weight, or let the "
                                   "sources that run out first be repeated more often");
        }
    }
    return quotas;
}

std::vector<MixtureSource> mixture_sources(std::span<const PlanSource> sources, const SegmentTable& table,
                                           std::uint64_t epochs) {
    std::vector<MixtureSource> taken;
    std::vector<std::uint64_t> tokens;
    std::uint64_t segment = 0;
    for (const PlanSource& source : sources) {
        const std::uint64_t begin = segment, end = source.sample_base + source.num_samples;
        std::uint64_t& of_source = tokens.emplace_back(0);
        for (; segment < table.size() && table.sample_of(segment) < end; ++segment)
            of_source += table.tokens[segment];
        taken.push_back({begin, segment, of_source, 0});
    }
    const std::vector<std::uint64_t> quotas = mixture_quotas(sources, tokens, epochs);
    for (std::size_t i = 0; i < taken.size(); ++i) taken[i].quota = quotas[i];
    return taken;
}

std::uint64_t mixture_epoch_segments_max(std::span<const MixtureSource> sources, std::uint64_t epochs) {
    u128 segments = 0;
    for (const MixtureSource& source : sources) {
        // An epoch may begin and end within a pass.
        const std::uint64_t passes = source.quota / epochs / source.tokens + 2;
        segments += static_cast<u128>(source.segment_end - source.segment_begin) * passes;
    }
    return static_cast<std::uint64_t>(std::min<u128>(segments, std::numeric_limits<std::uint64_t>::max()));
}

template <class Index>
std::unique_ptr<EpochSequence<Index>> make_mixture_epochs(const PlanOptions& options,
                                                          std::span<const MixtureSource> sources,
                                                          const SegmentTable& table) {
    return std::make_unique<MixtureEpochs<Index>>(options, sources, table);
}

template std::unique_ptr<EpochSequence<NarrowIndex>> make_mixture_epochs(const PlanOptions&,
                                                                         std::span<const MixtureSource>,
                                                                         const SegmentTable&);
template std::unique_ptr<EpochSequence<WideIndex>> make_mixture_epochs(const PlanOptions&,
                                                                       std::span<const MixtureSource>,
                                                                       const SegmentTable&);

}  // namespace lockstep
