// launch/chaos/power_job.h
//
// A supervised job on a disk whose power is cut by plan: instead of a process,
// everything dies at once, and what was not synced is gone.

#pragma once

#include <cstdint>
#include <string>

#include "launch/chaos/chaos_job.h"
#include "launch/chaos/power_disk.h"

namespace lockstep {

class PowerJob : public ChaosJob {
  public:
    /// @param disk  borrowed; holds the run.
    PowerJob(LocalJobOptions options, const KillSchedule& schedule, const UndisturbedTimes& times,
             SyscallShim* shim, PowerDisk& disk)
        : ChaosJob(std::move(options), schedule, times, shim), disk_(disk) {}

    /// What a cut left that it must not leave; empty: nothing.
    const std::string& failure() const { return failure_; }

  protected:
    void strike() override;

  private:
    PowerDisk& disk_;
    std::string failure_;
};

/// What is wrong with a run after a cut: a committed generation that is damaged, or one lost though a later
/// one was begun after it was durable. Empty: nothing.
/// @param before  steps of the generations that had a manifest right before the cut, ascending.
std::string problem_after_cut(const std::filesystem::path& run, const std::vector<std::uint64_t>& before);

}  // namespace lockstep
