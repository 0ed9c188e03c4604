// worker/checkpoint_schedule.h
//
// When a generation is due: every so many steps, every so many seconds, or as often
// as its cost and the machine's failures make best.
//
// Source: Young 1974, "A first order approximation to the optimum checkpoint
// interval", Communications of the ACM 17(9): sqrt(2 · cost · mean time between
// failures).

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "worker/generation_cost.h"

namespace lockstep {

struct CheckpointInterval {
    enum class Kind : std::uint8_t { steps, seconds, automatic };
    Kind kind = Kind::steps;
    std::uint64_t steps = 0;  ///< Of `steps`; 0: only at the end.
    double seconds = 0;       ///< Of `seconds`: the interval; of `automatic`: mean time between failures.
};

/// "100", "30s", "10m", "2h", "auto", "auto:8h": a mean time between failures of 8 hours (4 unless said).
/// @throws Error{invalid_argument} naming the text.
CheckpointInterval parse_checkpoint_interval(std::string_view text);

class CheckpointSchedule {
  public:
    /// @param threads  of a rank, which the writing thread takes its time from.
    /// @param now      [s], of any clock that never goes back.
    CheckpointSchedule(const CheckpointInterval& interval, int threads, double now);

    /// Whether one is due once `steps_done` steps are done; the same on every rank. Never when going by time.
    bool due_after(std::uint64_t steps_done) const;
    /// Whether one is due by the clock; rank 0 asks and tells the others.
    bool due_at(double now) const;

    void began(double now) { last_ = now; }
    void learned(const GenerationCost& cost);

    /// Present interval when going by time [s].
    double seconds() const { return seconds_; }

  private:
    CheckpointInterval interval_;
    double threads_;
    double seconds_ = 0;
    double last_;
};

}  // namespace lockstep
