// launch/chaos/kill_schedule.h
//
// Whom to kill, when, and with how many ranks to start again: all of it a function
// of one seed, so that a failure is one number.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lockstep {

enum class KillTarget { one_rank, launcher, everything };
enum class KillMoment {
    any_time,        ///< A share of an undisturbed start's length, from its start.
    while_training,  ///< The same, from its first step.
    at_commit,       ///< At the n-th change of a file of a generation or of the ledger, as seen from outside.
    at_call,         ///< Instead of the victim's n-th system call that changes such a file.
};

struct PlannedKill {
    KillTarget target = KillTarget::one_rank;
    /// Modulo the number of ranks; for at_call, whoever is killed, the rank of the call.
    std::uint64_t victim = 0;
    KillMoment moment = KillMoment::any_time;
    double share = 0;           ///< In [0, 1).
    std::uint64_t changes = 0;  ///< For at_commit: so many first.
    std::uint64_t calls = 0;    ///< For at_call: so many first.
    friend bool operator==(const PlannedKill&, const PlannedKill&) = default;
};

/// One run that is killed again and again, from its first start to its end.
class KillSchedule {
  public:
    /// @param calls_max  most calls before one that a kill is aimed at; 0: they cannot be counted, so none
    /// is.
    KillSchedule(std::uint64_t seed, std::uint64_t kills_max, int ranks_max, std::uint64_t calls_max)
        : seed_(seed), kills_max_(kills_max), ranks_max_(ranks_max), calls_max_(calls_max) {}

    /// Ranks of a start, in [1, ranks_max].
    int ranks(std::uint64_t start) const;
    /// The kill of a start; none once kills_max were planned: then the run may end.
    std::optional<PlannedKill> kill(std::uint64_t start) const;

  private:
    std::uint64_t seed_;
    std::uint64_t kills_max_;
    int ranks_max_;
    std::uint64_t calls_max_;
};

/// "rank 2 at change 7 of a commit", for reports.
std::string to_text(const PlannedKill& kill);

}  // namespace lockstep
