#include "tests/simulation/schedule.h"

#include <algorithm>
#include <exception>
#include <memory>

#include "io/base/error.h"
#include "io/files/file_system.h"
#include "io/run/checkpoint.h"
#include "tests/simulation/cluster.h"

namespace lockstep::simulation {

namespace {

constexpr const char* run_folder = "/run";
constexpr std::uint64_t events_max = 1'000'000;
/// About, with two ranks.
constexpr std::uint64_t calls_of_generation = 25;
/// How often a user starts the supervisor again: more than there are faults.
constexpr int supervisors_max = 30;

TrainingOptions draw_options(Draws& draws, Mistake mistake) {
    TrainingOptions options;
    options.run = run_folder;
    options.checkpoint_every = 1 + draws(4);
    options.retention.newest = 2 + draws(2);
    options.retention.every = draws(3) == 0 ? 4 : 0;
    options.snapshot = draws(4) == 0 ? SnapshotMode::borrow : SnapshotMode::copy;
    options.step_seconds = draws.seconds(0.05, 1);
    options.mistake = mistake;
    return options;
}

SupervisorSettings settings() {
    SupervisorSettings result;
    result.watch.patience_seconds = 25;
    result.poll_seconds = 0.25;
    return result;
}

class Schedule {
  public:
    Schedule(const Subject& subject, std::uint64_t seed, Mistake mistake, std::ostream* log)
        : draws_(seed, "schedule"),
          options_(draw_options(draws_, mistake)),
          judge_(subject, disk_, run_folder),
          cluster_(time_, files_, judge_, subject, options_, seed, log) {
        const std::uint64_t generations = subject.num_steps() / options_.checkpoint_every + 1;
        const double seconds = static_cast<double>(subject.num_steps()) * (options_.step_seconds + 0.3);
        faults_ = draw_faults(draws_, calls_of_generation * generations, seconds);
        order_ = draws_(2) == 0 ? DirectoryOrder::journal : DirectoryOrder::names_alone;
    }

    ScheduleResult run() {
        const FileSystemInPlace place(files_);
        files_.fate = [this](const FileCall& call) { return cluster_.fate(call); };
        files_.on_remove = [this](std::string_view path) { judge_.removed(path); };
        aim();
        time_.spawn(user_, [this] { use(); });
        try {
            time_.run(events_max);
        } catch (const std::exception& failure) {
            judge_.find(failure.what());
        }
        result_.problem = judge_.problem();
        result_.starts = cluster_.starts();
        result_.faults = cluster_.struck();
        result_.events = time_.events();
        result_.seconds = time_.now();
        return result_;
    }

  private:
    void aim() {
        std::vector<Fault> aimed;
        for (const Fault& fault : faults_) {
            if (fault.call > 0) {
                aimed.push_back(fault);
                continue;
            }
            time_.spawn(nature_, [this, fault] {
                time_.sleep(fault.time);
                if (!done_) cluster_.strike(fault, nullptr);
            });
        }
        cluster_.aim(std::move(aimed));
    }

    /// Whoever wants the run to be done.
    void use() {
        for (int i = 0; i < supervisors_max && !done_ && judge_.problem().empty(); ++i) start_supervisor();
        if (!done_)
            judge_.find("the run is not done after " + std::to_string(supervisors_max) + " supervisors");
        if (judge_.problem().empty()) judge_.look_at_end();
        done_ = true;
    }

    void start_supervisor() {
        const std::shared_ptr<Process> supervisor = cluster_.begin_supervisor();
        std::optional<SupervisorOutcome> outcome;
        std::string failure;
        time_.spawn(supervisor, [&] {
            time_.sleep(0.01);
            try {
                outcome = supervise(cluster_, settings());
            } catch (const Error& error) {
                // The dead learn it from a refusal, and unwind.
                if (!supervisor->dead) failure = error.what();
            }
        });
        while (!supervisor->fibers.empty()) time_.sleep(0.1);
        cluster_.end_everything();
        // A moment in which all that is dead unwinds.
        time_.sleep(0.1);
        if (!failure.empty()) judge_.find("the supervisor: " + failure);
        if (cluster_.take_power_cut()) {
            ++result_.power_cuts;
            disk_.cut_power(order_, [this](std::uint64_t bound) { return draws_(bound); });
            judge_.look_at_disk();
            return;
        }
        if (!outcome) return;
        result_.quarantined += outcome->quarantined.size();
        judge_.look_at(*outcome, cluster_.stop_requests(), cluster_.refusals());
        done_ = outcome->exit_code == 0;
    }

    Draws draws_;
    TrainingOptions options_;
    VirtualTime time_;
    SimulatedDisk disk_;
    SimulatedFiles files_{time_, disk_};
    Judge judge_;
    Cluster cluster_;
    std::vector<Fault> faults_;
    DirectoryOrder order_ = DirectoryOrder::journal;
    std::shared_ptr<Process> user_ = std::make_shared<Process>(), nature_ = std::make_shared<Process>();
    bool done_ = false;
    ScheduleResult result_;
};

/// Keeps what it is told.
class Scribe : public Witness {
  public:
    explicit Scribe(Subject& subject) : subject_(subject) {}
    void recovered(const std::optional<Manifest>&, const std::vector<std::string>&) override {}
    void settled(std::optional<std::uint64_t>) override {}
    void begun(std::uint64_t) override {}
    void reported_durable(std::uint64_t step, const Fingerprint& state_digest) override {
        subject_.state_digest[step] = state_digest;
    }

  private:
    Subject& subject_;
};

}  // namespace

ScheduleResult run_schedule(const Subject& subject, std::uint64_t seed, Mistake mistake, std::ostream* log) {
    return Schedule(subject, seed, mistake, log).run();
}

void record_undisturbed(Subject& subject) {
    subject.state_digest.resize(subject.num_steps() + 1);
    subject.ledger_root.resize(subject.num_steps() + 1);
    VirtualTime time;
    SimulatedDisk disk;
    SimulatedFiles files(time, disk);
    const FileSystemInPlace place(files);
    Scribe scribe(subject);
    TrainingOptions options;
    options.run = run_folder;
    options.checkpoint_every = 1;
    options.retention.newest = subject.num_steps() + 1;
    SimulatedWorld world(time, 1, 100);
    Heartbeat heartbeat;
    int code = -1;
    time.spawn(std::make_shared<Process>(), [&] {
        const auto comm = world.communicator(Rank{0});
        code = train({subject, options, scribe, time, *comm, heartbeat, [] { return false; }});
        for (const GenerationStatus& status : list_generations(run_folder)) {
            subject.ledger_root[status.step] = status.manifest.value().cursor.ledger_root;
        }
    });
    time.run(events_max);
    if (code != 0) throw Error(ErrorCode::bug, "the undisturbed run ended with " + std::to_string(code));
}

}  // namespace lockstep::simulation
