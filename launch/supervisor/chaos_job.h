// launch/supervisor/chaos_job.h
//
// A supervised job that is killed by plan: the real supervisor, real processes,
// and a schedule that decides whom to kill and when.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "launch/supervisor/commit_observer.h"
#include "launch/supervisor/kill_schedule.h"
#include "launch/supervisor/local_job.h"

namespace lockstep {

class ChaosJob : public LocalJob {
  public:
    /// @param run_seconds, training_seconds  how long an undisturbed run takes, and its training alone.
    ChaosJob(LocalJobOptions options, const KillSchedule& schedule, double run_seconds,
             double training_seconds);

    std::optional<int> ranks_available() override;
    void start(std::optional<int> ranks) override;
    void wait(double seconds) override;

    std::uint64_t kills() const { return kills_; }

  protected:
    /// Do it. Whoever overrides it calls struck().
    virtual void strike();
    void struck();

  private:
    bool is_due();

    KillSchedule schedule_;
    double run_seconds_, training_seconds_;
    std::uint64_t starts_ = 0;
    std::uint64_t kills_ = 0;
    std::optional<PlannedKill> armed_;
    double started_ = 0;
    std::optional<double> training_since_;
    std::uint64_t changes_before_ = 0;
    std::unique_ptr<CommitObserver> observer_;
};

}  // namespace lockstep
