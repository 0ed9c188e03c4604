// tests/simulation/cluster.h
//
// The machines: mpirun and its ranks as processes on virtual time, seen by the
// supervisor, struck by faults.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/supervisor/supervise.h"
#include "tests/simulation/fault.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/simulated_files.h"
#include "tests/simulation/simulated_world.h"
#include "tests/simulation/training.h"
#include "tests/simulation/virtual_time.h"

namespace lockstep::simulation {

class Cluster : public SupervisedJob {
  public:
    Cluster(VirtualTime& time, SimulatedFiles& files, Judge& judge, const Subject& subject,
            const TrainingOptions& options, std::uint64_t seed);

    /// Strike now. @param caller  whose call on a file it is aimed at; null: anybody.
    void strike(const Fault& fault, const std::shared_ptr<Process>& caller);
    /// Of a call that changes files.
    CallFate fate(const FileCall& call);
    void aim(std::vector<Fault> faults) { aimed_ = std::move(faults); }

    /// The supervisor's process of the next start.
    std::shared_ptr<Process> begin_supervisor();
    void end_everything();
    bool take_power_cut() { return std::exchange(power_cut_, false); }
    std::uint64_t refusals() const { return refusals_; }
    std::uint64_t starts() const { return starts_; }
    std::uint64_t struck() const { return struck_; }
    std::uint64_t calls() const { return calls_; }
    void kill(const std::shared_ptr<Process>& process);

    // SupervisedJob.
    double now() override { return time_.now(); }
    void wait(double seconds) override { time_.sleep(std::max(seconds, 1e-3)); }
    void say(const std::string&) override {}
    int stop_requests() override { return stop_requests_; }
    std::optional<int> ranks_available() override;
    std::optional<int> ranks_in_reach() override { return in_reach_; }
    void start(std::optional<int> ranks) override;
    std::optional<int> exit_code() override { return job_->code; }
    std::optional<Heartbeat> heartbeat() override;
    void ask_to_stop() override { job_->stop_asked = true; }
    void end() override;
    std::vector<std::uint64_t> generations() override;
    std::string quarantine(std::uint64_t generation) override;

  private:
    struct RankProcess {
        std::shared_ptr<Process> process;
        std::optional<int> code;
        Heartbeat heartbeat;
    };
    struct Job {
        std::unique_ptr<SimulatedWorld> world;
        std::vector<RankProcess> ranks;
        std::shared_ptr<Process> launcher;
        std::optional<int> code;  ///< mpirun's.
        bool stop_asked = false;
        bool launcher_hangs = false;
    };
    void run_rank(const std::shared_ptr<Job>& job, std::size_t rank);
    void run_launcher(const std::shared_ptr<Job>& job);
    void end_rank(RankProcess& rank, int code);
    RankProcess* victim(const std::shared_ptr<Process>& caller);
    bool is_rank(const Process& process) const;
    void freeze(const std::shared_ptr<Process>& process, double seconds);
    void strike_calls(const FileCall& call, CallFate& fate);
    bool pretends(const FileCall& call);

    VirtualTime& time_;
    SimulatedFiles& files_;
    Judge& judge_;
    const Subject& subject_;
    const TrainingOptions& options_;
    Draws draws_, latencies_;
    std::shared_ptr<Process> supervisor_, nature_;
    std::shared_ptr<Job> job_;
    std::vector<Fault> aimed_;
    std::uint64_t calls_ = 0, starts_ = 0, struck_ = 0, refusals_ = 0;
    int stop_requests_ = 0;
    std::optional<int> in_reach_;
    bool power_cut_ = false;
    double slow_seconds_ = 0;
    bool refuse_next_ = false, short_next_ = false;
    std::optional<std::uint64_t> poisoned_;
    int poisonings_ = 0;
    std::string last_removed_;
};

}  // namespace lockstep::simulation
