// worker/step_verdict.h
//
// What all ranks must know of a step before anything is updated: one small integer
// sum over the ranks.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "io/comm/communicator.h"
#include "io/run/ledger.h"
#include "worker/cross_check.h"
#include "worker/generation_commit.h"

namespace lockstep {

class StepVerdict {
  public:
    explicit StepVerdict(std::uint64_t packs) { begin(packs); }
    /// Nothing is known yet of a step of so many packs.
    void begin(std::uint64_t packs) {
        values_.assign(packs_begin + packs * pack_words, 0);
        packs_ = packs;
    }

    void raise_overflow() { values_[overflow_at] = 1; }
    void raise_non_finite() { values_[non_finite_at] = 1; }
    void ask_to_stop() { values_[stop_at] = 1; }
    void ask_for_generation() { values_[generation_at] = 1; }
    void report_failure() { values_[failure_at] = 1; }
    /// A pack is computed: what the ledger's root covers of it. By one rank alone, so the integer sum carries
    /// the bits to all. Of no effect for a pack of another step.
    void add_pack(std::uint64_t pack_in_step, const LedgerRow& row);
    void set_commit_report(const GenerationCommitter::Report& report);
    /// By the pack's own rank, and by the one that checks it.
    void set_image(CrossCheckRole role, const PackImage& image);

    /// Collective.
    void agree(Communicator& comm) { comm.sum(values_); }

    bool overflow() const { return values_[overflow_at] != 0; }
    bool non_finite() const { return values_[non_finite_at] != 0; }
    bool stop() const { return values_[stop_at] != 0; }
    bool generation_wanted() const { return values_[generation_at] != 0; }
    bool failure() const { return values_[failure_at] != 0; }
    /// Unless every pack was computed exactly once.
    struct Miscount {
        std::uint64_t pack_in_step = 0;
        std::int64_t times = 0;
    };
    std::optional<Miscount> miscount() const;
    std::uint64_t tokens() const;
    double loss_sum() const;  ///< In plan order.
    /// Of all packs in plan order: what the ledger's root covers; who computed them when is not known here.
    /// @param rows  what it held is gone.
    void ledger_rows(std::uint64_t step, std::uint64_t first_pack, std::vector<LedgerRow>& rows) const;
    GenerationCommitter::Report commit_report() const;
    std::optional<PackImage> image(CrossCheckRole role) const;  ///< None if no rank has set it.

  private:
    enum Place : std::size_t {
        overflow_at,
        non_finite_at,
        stop_at,
        generation_at,
        failure_at,
        commit_at,
        images_at = commit_at + GenerationCommitter::report_words,
        packs_begin = images_at + 2 * (1 + PackImage::words),
    };
    /// Of one pack.
    enum PackPlace : std::size_t { times_at, loss_at, digest_low_at, digest_high_at, counts_at, pack_words };
    std::size_t place_of(std::uint64_t pack_in_step, PackPlace place) const {
        return packs_begin + pack_in_step * pack_words + place;
    }
    /// Whether it is set, then the image.
    static std::size_t place_of(CrossCheckRole role) {
        return images_at + static_cast<std::size_t>(role) * (1 + PackImage::words);
    }

    std::vector<std::int64_t> values_;
    std::uint64_t packs_;
};

}  // namespace lockstep
