// tests/simulation/fault.h
//
// What may happen to a run, and when: drawn from the seed, a few for each schedule.

#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "io/base/philox.h"

namespace lockstep::simulation {

/// Numbers of one purpose, in order.
class Draws {
  public:
    Draws(std::uint64_t seed, std::string_view purpose) : random_(seed, purpose) {}
    /// Uniform in [0, bound).
    std::uint64_t operator()(std::uint64_t bound) { return random_.below(index_++, bound); }
    double seconds(double least, double most) {
        constexpr std::uint64_t grain = 1U << 20U;
        return least + (most - least) * static_cast<double>((*this)(grain)) / grain;
    }

  private:
    Philox random_;
    std::uint64_t index_ = 0;
};

struct Fault {
    enum class Kind : std::uint8_t {
        kill_rank,
        crash_rank,       ///< Its own fault, as far as anybody can tell.
        kill_launcher,    ///< mpirun, and its ranks a moment later.
        kill_job,         ///< All at once.
        kill_supervisor,  ///< And the job with it.
        power_cut,
        freeze_rank,
        freeze_job,
        launcher_hangs,  ///< A rank dies and mpirun does not mind.
        slow_call,
        refused_call,
        short_write,
        stop_request,
        host_returns,       ///< More ranks could be had.
        poison_generation,  ///< Whoever loads the newest one crashes.
        kinds,
    };
    Kind kind = Kind::kill_rank;
    /// Aimed: when this many calls that change files have been made; 0: at a time.
    std::uint64_t call = 0;
    double time = 0;     ///< [s]
    double seconds = 0;  ///< How long it lasts, if it does.
};

/// @param calls, seconds  what an undisturbed run takes, about.
std::vector<Fault> draw_faults(Draws& draws, std::uint64_t calls, double seconds);

}  // namespace lockstep::simulation
