// launch/chaos/chaos_job.h
//
// A supervised job that is killed by plan: the real supervisor, real processes,
// and a schedule that decides whom to kill and when.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "launch/chaos/commit_observer.h"
#include "launch/chaos/kill_schedule.h"
#include "launch/chaos/syscall_fault.h"
#include "launch/supervisor/local_job.h"

namespace lockstep {

/// How long an undisturbed run takes, and its training alone [s].
struct UndisturbedTimes {
    double run = 0, training = 0;
};

class ChaosJob : public LocalJob {
  public:
    /// @param shim  borrowed; null: the schedule aims at no call.
    ChaosJob(LocalJobOptions options, const KillSchedule& schedule, const UndisturbedTimes& times,
             SyscallShim* shim);

    std::optional<int> ranks_available() override;
    void start(std::optional<int> ranks) override;
    std::optional<int> exit_code() override;
    void wait(double seconds) override;

    std::uint64_t kills() const { return kills_; }

  protected:
    /// Do it. Whoever overrides it calls struck().
    virtual void strike();
    void struck();

  private:
    bool is_due();
    /// The processes of the job that the kill is meant for.
    std::vector<pid_t> victims() const;

    KillSchedule schedule_;
    UndisturbedTimes times_;
    SyscallShim* shim_;
    std::uint64_t starts_ = 0;
    std::uint64_t kills_ = 0;
    std::optional<PlannedKill> armed_;
    double started_ = 0;
    std::optional<double> training_since_;
    std::uint64_t changes_before_ = 0;
    std::unique_ptr<CommitObserver> observer_;
};

}  // namespace lockstep
