#include "tests/simulation/cluster.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <ostream>
#include <utility>

#include "io/base/error.h"
#include "launch/supervisor/local_job.h"

namespace lockstep::simulation {

namespace {

constexpr double hang_timeout_seconds = 20;
constexpr int killed = 128 + SIGKILL;
constexpr int crashed = 128 + SIGSEGV;

}  // namespace

Cluster::Cluster(VirtualTime& time, SimulatedFiles& files, Judge& judge, const Subject& subject,
                 const TrainingOptions& options, std::uint64_t seed, std::ostream* log)
    : time_(time),
      files_(files),
      judge_(judge),
      subject_(subject),
      options_(options),
      log_(log),
      draws_(seed, "cluster"),
      latencies_(seed, "latencies"),
      nature_(std::make_shared<Process>()) {}

void Cluster::say(const std::string& line) {
    if (log_ != nullptr) *log_ << time_.now() << " s, call " << calls_ << ": " << line << "\n";
}

void Cluster::kill(const std::shared_ptr<Process>& process) {
    if (!process || process->dead) return;
    files_.release(*process);
    time_.kill(process);
}

std::shared_ptr<Process> Cluster::begin_supervisor() {
    stop_requests_ = 0;
    refusals_ = 0;
    supervisor_ = std::make_shared<Process>();
    return supervisor_;
}

void Cluster::end_everything() {
    kill(supervisor_);
    if (!job_) return;
    kill(job_->launcher);
    for (RankProcess& rank : job_->ranks) end_rank(rank, killed);
}

// ---- The job ----

void Cluster::end_rank(RankProcess& rank, int code) {
    if (!rank.code) rank.code = code;
    kill(rank.process);
}

std::optional<int> Cluster::ranks_available() {
    if (in_reach_) return in_reach_;
    return draws_(20) == 0 ? 0 : 1 + static_cast<int>(draws_(4));
}

void Cluster::start(std::optional<int> ranks) {
    ++starts_;
    in_reach_.reset();
    say("started with " + std::to_string(ranks.value()) + " ranks");
    job_ = std::make_shared<Job>();
    job_->world = std::make_unique<SimulatedWorld>(time_, ranks.value(), hang_timeout_seconds);
    job_->ranks.resize(static_cast<std::size_t>(ranks.value()));
    for (std::size_t r = 0; r < job_->ranks.size(); ++r) {
        RankProcess& rank = job_->ranks[r];
        rank.process = std::make_shared<Process>();
        rank.heartbeat.rank = static_cast<int>(r);
        rank.heartbeat.world_size = ranks.value();
        rank.heartbeat.pid = static_cast<std::int64_t>(starts_);
        time_.spawn(rank.process, [this, job = job_, r] { run_rank(job, r); });
    }
    job_->launcher = std::make_shared<Process>();
    time_.spawn(job_->launcher, [this, job = job_] { run_launcher(job); });
}

void Cluster::run_rank(const std::shared_ptr<Job>& job, std::size_t r) {
    RankProcess& rank = job->ranks[r];
    time_.sleep(latencies_.seconds(0.1, 0.5));
    const auto comm = job->world->communicator(Rank{static_cast<int>(r)});
    const int code = train({subject_, options_, judge_, time_, *comm, rank.heartbeat, [&] {
                                if (poisoned_ && rank.heartbeat.step == *poisoned_ && r == 0 && job_ == job &&
                                    poisonings_ > 0) {
                                    --poisonings_;
                                    end_rank(rank, crashed);
                                    throw ProcessEnded();
                                }
                                return job->stop_asked;
                            }});
    // MPI's own end waits for all.
    try {
        if (code == 0 || code == exit_code_of(ErrorCode::stopped)) comm->barrier();
        if (!rank.code) rank.code = code;
    } catch (const Error& error) {
        if (!rank.code) rank.code = exit_code_of(error.code());
    }
}

/// mpirun: ends with the first rank that ended badly, and takes the others with it.
void Cluster::run_launcher(const std::shared_ptr<Job>& job) {
    for (;;) {
        time_.sleep(0.2);
        const auto bad = std::find_if(job->ranks.begin(), job->ranks.end(),
                                      [](const RankProcess& rank) { return rank.code.value_or(0) != 0; });
        if (bad != job->ranks.end() && !job->launcher_hangs) {
            const int code = *bad->code;
            time_.sleep(latencies_.seconds(0.1, 2));
            for (RankProcess& rank : job->ranks) end_rank(rank, killed);
            job->code = code;
            return;
        }
        if (std::all_of(job->ranks.begin(), job->ranks.end(),
                        [](const RankProcess& rank) { return rank.code == 0; })) {
            job->code = 0;
            return;
        }
    }
}

std::optional<Heartbeat> Cluster::heartbeat() {
    const Heartbeat& beat = job_->ranks.front().heartbeat;
    return beat.progress == 0 ? std::nullopt : std::optional(beat);
}

void Cluster::end() {
    kill(job_->launcher);
    for (RankProcess& rank : job_->ranks) end_rank(rank, killed);
    const auto left = [](const RankProcess& rank) { return !rank.process->fibers.empty(); };
    while (std::any_of(job_->ranks.begin(), job_->ranks.end(), left)) time_.sleep(0.01);
}

std::vector<std::uint64_t> Cluster::generations() {
    return committed_steps(options_.run);
}

std::string Cluster::quarantine(std::uint64_t generation) {
    // Before, since the power may be cut while it is moved: then it is there, or it is not.
    std::vector<std::uint64_t> left = generations();
    std::erase(left, generation);
    judge_.quarantined(left);
    const std::string where = quarantine_generation(options_.run, generation).string();
    poisoned_.reset();
    return where;
}

// ---- Faults ----

bool Cluster::is_rank(const Process& process) const {
    return job_ && std::any_of(job_->ranks.begin(), job_->ranks.end(),
                               [&](const RankProcess& rank) { return rank.process.get() == &process; });
}

Cluster::RankProcess* Cluster::victim(const std::shared_ptr<Process>& caller) {
    if (!job_) return nullptr;
    const auto found = std::find_if(job_->ranks.begin(), job_->ranks.end(),
                                    [&](const RankProcess& rank) { return rank.process == caller; });
    return found != job_->ranks.end() ? &*found : &job_->ranks[draws_(job_->ranks.size())];
}

void Cluster::freeze(const std::shared_ptr<Process>& process, double seconds) {
    time_.freeze(*process);
    time_.spawn(nature_, [this, process, seconds] {
        time_.sleep(seconds);
        if (process->frozen) time_.thaw(*process);
    });
}

void Cluster::strike(const Fault& fault, const std::shared_ptr<Process>& caller) {
    using Kind = Fault::Kind;
    ++struck_;
    say("fault: " + std::string(name_of(fault.kind)));
    RankProcess* const rank = victim(caller);
    const auto kill_job = [&](int code) {
        if (!job_) return;
        kill(job_->launcher);
        for (RankProcess& each : job_->ranks) end_rank(each, code);
        if (!job_->code) job_->code = code;
    };
    switch (fault.kind) {
        case Kind::kill_rank:
            if (rank != nullptr) end_rank(*rank, killed);
            break;
        case Kind::crash_rank:
            if (rank != nullptr) end_rank(*rank, crashed);
            break;
        case Kind::kill_launcher:
            if (job_ && !job_->code) {
                kill(job_->launcher);
                job_->code = killed;
            }
            break;
        case Kind::kill_job:
            kill_job(killed);
            break;
        case Kind::power_cut:
            power_cut_ = true;
            [[fallthrough]];
        case Kind::kill_supervisor:
            end_everything();
            break;
        case Kind::freeze_rank:
            if (rank != nullptr && !rank->process->dead) freeze(rank->process, fault.seconds);
            break;
        case Kind::freeze_job:
            if (!job_) break;
            for (RankProcess& each : job_->ranks) {
                if (!each.process->dead) freeze(each.process, fault.seconds);
            }
            break;
        case Kind::launcher_hangs:
            if (!job_) break;
            job_->launcher_hangs = true;
            end_rank(*rank, killed);
            break;
        case Kind::slow_call:
            slow_seconds_ = fault.seconds;
            break;
        case Kind::refused_call:
            refuse_next_ = true;
            break;
        case Kind::short_write:
            short_next_ = true;
            break;
        case Kind::stop_request:
            ++stop_requests_;
            break;
        case Kind::host_returns:
            in_reach_ = 4;
            break;
        case Kind::poison_generation:
            if (!job_) break;
            poisonings_ = 4;
            poisoned_ = job_->ranks.front().heartbeat.step;
            break;
        case Kind::kinds:
            break;
    }
}

void Cluster::strike_aimed() {
    const auto due = [&](const Fault& fault) {
        if (fault.after_commit == 0) return calls_ == fault.call;
        return calls_ >= fault.call && since_commit_ == fault.after_commit;
    };
    std::vector<Fault> now;
    std::copy_if(aimed_.begin(), aimed_.end(), std::back_inserter(now), due);
    std::erase_if(aimed_, due);
    for (const Fault& fault : now) {
        strike(fault, time_.process());
        if (fault.power_follows)
            aimed_.push_back({.kind = Fault::Kind::power_cut, .call = calls_ + 1 + draws_(20)});
    }
}

void Cluster::strike_calls(const FileCall& call, CallFate& what) {
    if (std::exchange(slow_seconds_, 0.0) > 0) what.seconds = latencies_.seconds(1, 40);
    if (call.name == "write" && std::exchange(short_next_, false)) what.short_write = true;
    if (std::exchange(refuse_next_, false)) {
        what.refusal = draws_(2) == 0 ? ENOSPC : EIO;
        ++refusals_;
    }
}

/// A sync that a mistaken program would not have made.
bool Cluster::pretends(const FileCall& call) {
    const auto in = [&](std::string_view part) { return call.path.find(part) != std::string_view::npos; };
    const bool of_generation = call.name == "sync-directory" && in("/checkpoints/step-");
    switch (options_.mistake) {
        case Mistake::shards_not_synced:
            return call.name == "sync" && in("/shard-");
        case Mistake::ledger_not_synced:
            return call.name == "sync" && in("/ledger/");
        case Mistake::names_not_synced:
            return call.name == "sync-directory";
        case Mistake::manifest_not_synced:
            return of_generation;
        case Mistake::pruned_not_synced:
            return of_generation && last_removed_ == std::string(call.path) + "/manifest.json";
        default:
            return false;
    }
}

CallFate Cluster::fate(const FileCall& call) {
    CallFate what;
    if (time_.process() != supervisor_ && !is_rank(*time_.process())) return what;
    what.seconds = latencies_.seconds(0.001, 0.02);
    if (is_rank(*time_.process())) {
        ++calls_;
        const bool commits = call.name == "rename" && call.path.ends_with("/manifest.json");
        since_commit_ = commits ? 0 : since_commit_ + 1;
        strike_aimed();
        strike_calls(call, what);
    }
    if (call.name == "remove") last_removed_ = call.path;
    what.pretended = pretends(call);
    return what;
}

}  // namespace lockstep::simulation
