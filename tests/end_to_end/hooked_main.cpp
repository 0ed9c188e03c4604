// Lockstep with hooks: the same program, which one environment variable can kill, disturb or count.
//
// LOCKSTEP_TEST_KILL=RANK:PHASE:STEP     SIGKILL this rank when it enters the phase of that step (PHASE may
//                                        also be a point of the commit path, "shard:written", with STEP
//                                        counted in commits from 0).
// LOCKSTEP_TEST_CRASH=RANK:PHASE:STEP    SIGSEGV in this rank when it enters the phase of that step; "load"
// is
//                                        of the generation of that step.
// LOCKSTEP_TEST_STOP=RANK:STEP           SIGUSR1 to this rank when it begins the step.
// LOCKSTEP_TEST_FREEZE=RANK:PHASE:STEP   SIGSTOP to this rank when it enters the phase of that step, or with
//                                        PHASE "pack" its first pack; its heartbeat says so by then.
// LOCKSTEP_TEST_LINGER=RANK:PHASE:STEP   this rank goes round and round in the phase until a signal ends it.
// LOCKSTEP_TEST_ONCE=FILE                kill, freeze and linger only while this file does not exist; then it
//                                        does, made a moment before.
// LOCKSTEP_TEST_SLOW=RANK:POINT:COUNT    this rank's disk takes a second at that point of the commit path.
// LOCKSTEP_TEST_MUTATION=NAME            skip-pack, forget-pack, twice, record-twice, swap, shift-target,
//                                        change-token, drop-gradient: wrong on purpose, at step 3.
// LOCKSTEP_TEST_FORCE=overflow|nan:STEP  a gradient element that the exact sum must meet by its rule.
// LOCKSTEP_TEST_FAIL=RANK:POINT:COUNT    this rank's disk is full at that point of the commit path (counted
//                                        as for a kill).
// LOCKSTEP_TEST_FAULT=RANK:STEP:ATTEMPTS this rank computes one bit of every gradient of that step wrongly,
//                                        in so many attempts.
// LOCKSTEP_TEST_COUNT=FILE               append "step pack rank" for every pack computed.

#include <unistd.h>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>

#include "io/base/error.h"
#include "io/files/commit_hook.h"
#include "kernels/blas_runtime.h"
#include "launch/lockstep.h"

namespace {

using namespace lockstep;

constexpr std::uint64_t mutated_step = 3;

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

int own_rank() {
    const std::string rank = variable("OMPI_COMM_WORLD_RANK");
    return rank.empty() ? 0 : std::stoi(rank);
}

[[noreturn]] void die() {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/// False if an earlier start has been here; a supervised program must not fail for ever.
bool first_time() {
    const std::string file = variable("LOCKSTEP_TEST_ONCE");
    return file.empty() || symlink("once", file.c_str()) == 0;
}

/// RANK:NAME:NUMBER
struct Place {
    bool here = false;  ///< It is this rank's.
    std::string name;
    std::uint64_t number = 0;
};

Place place_of(const std::string& spec) {
    const std::size_t first = spec.find(':');
    const std::size_t last = spec.rfind(':');
    return {std::stoi(spec.substr(0, first)) == own_rank(), spec.substr(first + 1, last - first - 1),
            std::stoull(spec.substr(last + 1))};
}

/// `act` once, when the commit path passes the point for the (number + 1)-th time.
void at_commit_point(const Place& place, const std::function<void()>& act) {
    set_commit_hook([=, seen = std::make_shared<std::uint64_t>(0)](std::string_view point) {
        if (point == place.name && (*seen)++ == place.number) act();
    });
}

void install_kill(const std::string& spec, WorkerHooks& hooks) {
    const Place place = place_of(spec);
    if (!place.here) return;
    const auto strike = [] {
        if (first_time()) die();
    };
    hooks.on_phase = [=](std::string_view at, std::uint64_t now) {
        if (at == place.name && now == place.number) strike();
    };
    at_commit_point(place, strike);
}

void install_failure(const std::string& spec) {
    const Place place = place_of(spec);
    if (!place.here) return;
    at_commit_point(place, [place] {
        throw Error(ErrorCode::io_failure, "cannot write at '" + place.name + "': No space left on device");
    });
}

void install_slowness(const std::string& spec) {
    const Place place = place_of(spec);
    if (place.here) at_commit_point(place, [] { std::this_thread::sleep_for(std::chrono::seconds(1)); });
}

void install_fault(const std::string& spec, WorkerHooks& hooks) {
    const Place place = place_of(spec);
    const std::uint64_t step = std::stoull(place.name);
    const int attempts = static_cast<int>(place.number);
    hooks.on_gradient = [=](const PackedBatch& batch, int attempt, std::span<float> gradient) {
        if (!place.here || batch.step != step || attempt >= attempts) return;
        std::uint32_t bits = 0;
        std::memcpy(&bits, &gradient[17], sizeof bits);
        bits ^= 1U << 20U;
        std::memcpy(&gradient[17], &bits, sizeof bits);
    };
}

void install_stop(const std::string& spec, WorkerHooks& hooks) {
    const std::size_t colon = spec.find(':');
    if (std::stoi(spec.substr(0, colon)) != own_rank()) return;
    const std::uint64_t step = std::stoull(spec.substr(colon + 1));
    hooks.on_phase = [=](std::string_view at, std::uint64_t now) {
        if (at == "forward" && now == step) raise(SIGUSR1);
    };
}

void install_freeze(const std::string& spec, WorkerHooks& hooks) {
    const Place place = place_of(spec);
    if (!place.here) return;
    const auto freeze = [] {
        if (!first_time()) return;
        // A stopped process writes no more: until the heartbeat, once a second, has told this very place.
        std::this_thread::sleep_for(std::chrono::milliseconds(1200));
        raise(SIGSTOP);
    };
    if (place.name == "pack") {
        hooks.on_batch = [=](PackedBatch& batch) {
            if (batch.step == place.number) freeze();
        };
        return;
    }
    hooks.on_phase = [=](std::string_view at, std::uint64_t now) {
        if (at == place.name && now == place.number) freeze();
    };
}

void install_linger(const std::string& spec, WorkerHooks& hooks) {
    const Place place = place_of(spec);
    if (!place.here) return;
    hooks.on_phase = [=](std::string_view at, std::uint64_t now) {
        if (at != place.name || now != place.number || !first_time()) return;
        for (volatile std::uint64_t rounds = 0;;) rounds = rounds + 1;
    };
}

void install_crash(const std::string& spec, WorkerHooks& hooks) {
    const Place place = place_of(spec);
    if (!place.here) return;
    hooks.on_phase = [=](std::string_view at, std::uint64_t now) {
        if (at != place.name || now != place.number) return;
        std::signal(SIGSEGV, SIG_DFL);  // A sanitizer would end the process in its own way.
        raise(SIGSEGV);
    };
}

void install_mutation(const std::string& name, WorkerHooks& hooks) {
    if (name == "skip-pack") {
        // Never computed, never recorded.
        hooks.on_packs = [](const PlanSlice&, std::uint64_t step, std::vector<std::size_t>& packs) {
            if (step == mutated_step && own_rank() == 0 && !packs.empty()) packs.pop_back();
        };
    } else if (name == "forget-pack") {
        // Recorded as trained, but its gradient is lost.
        hooks.drop_gradient = [done = std::make_shared<bool>(false)](const PackedBatch& batch) {
            if (batch.step != mutated_step || own_rank() != 0 || *done) return false;
            return *done = true;
        };
    } else if (name == "twice") {
        // Recorded once, but its gradient counts double.
        hooks.on_gradient = [done = std::make_shared<bool>(false)](const PackedBatch& batch, int,
                                                                   std::span<float> gradient) {
            if (batch.step != mutated_step || own_rank() != 0 || *done) return;
            *done = true;
            for (float& g : gradient) g *= 2.0F;
        };
    } else if (name == "record-twice") {
        hooks.on_packs = [](const PlanSlice&, std::uint64_t step, std::vector<std::size_t>& packs) {
            // Not the last, which the sum itself would refuse twice where contracts are checked.
            if (step == mutated_step && own_rank() == 0 && !packs.empty())
                packs.insert(packs.begin(), packs.front());
        };
    } else if (name == "swap") {
        // A pack of the next step in the place of one of this step.
        hooks.on_packs = [](const PlanSlice& slice, std::uint64_t step, std::vector<std::size_t>& packs) {
            if (own_rank() != 0 || packs.empty()) return;
            const std::size_t here = static_cast<std::size_t>(step - slice.step_begin);
            if (step == mutated_step) packs.back() = slice.step_pack_begin[here + 1];
            if (step == mutated_step + 1) packs.front() = slice.step_pack_begin[here] - 1;
        };
    } else if (name == "shift-target") {
        hooks.on_batch = [](PackedBatch& batch) {
            if (batch.step != mutated_step || own_rank() != 0) return;
            for (std::size_t i = 0; i + 1 < batch.targets.size(); ++i) {
                if (batch.targets[i] >= 0 && batch.targets[i + 1] >= 0)
                    batch.targets[i] = batch.targets[i + 1];
            }
        };
    } else if (name == "change-token") {
        hooks.on_batch = [](PackedBatch& batch) {
            if (batch.step == mutated_step && own_rank() == 0) batch.token_ids[1] ^= 1U;
        };
    } else if (name == "drop-gradient") {
        // The highest rank computes, but contributes nothing.
        hooks.drop_gradient = [](const PackedBatch& batch) {
            return batch.step == mutated_step &&
                   own_rank() == std::stoi(variable("OMPI_COMM_WORLD_SIZE")) - 1;
        };
    } else {
        std::abort();
    }
}

void install_force(const std::string& spec, WorkerHooks& hooks) {
    const std::size_t colon = spec.find(':');
    const bool overflow = spec.substr(0, colon) == "overflow";
    const std::uint64_t step = std::stoull(spec.substr(colon + 1));
    hooks.on_gradient = [=](const PackedBatch& batch, int attempt, std::span<float> gradient) {
        if (batch.step != step) return;
        if (overflow) {
            // Too large for the first two scales, whoever computes it.
            if (attempt < 2) gradient[5] = 1e6F;
        } else {
            gradient[5] = std::numeric_limits<float>::quiet_NaN();
        }
    };
}

}  // namespace

int main(int argc, char** argv) {
    ensure_blas_core_type(argv);
    WorkerHooks hooks;
    if (const std::string spec = variable("LOCKSTEP_TEST_KILL"); !spec.empty()) install_kill(spec, hooks);
    if (const std::string spec = variable("LOCKSTEP_TEST_CRASH"); !spec.empty()) install_crash(spec, hooks);
    if (const std::string spec = variable("LOCKSTEP_TEST_STOP"); !spec.empty()) install_stop(spec, hooks);
    if (const std::string spec = variable("LOCKSTEP_TEST_FAIL"); !spec.empty()) install_failure(spec);
    if (const std::string spec = variable("LOCKSTEP_TEST_SLOW"); !spec.empty()) install_slowness(spec);
    if (const std::string spec = variable("LOCKSTEP_TEST_LINGER"); !spec.empty()) install_linger(spec, hooks);
    if (const std::string spec = variable("LOCKSTEP_TEST_FAULT"); !spec.empty()) install_fault(spec, hooks);
    if (const std::string spec = variable("LOCKSTEP_TEST_FREEZE"); !spec.empty()) install_freeze(spec, hooks);
    if (const std::string name = variable("LOCKSTEP_TEST_MUTATION"); !name.empty())
        install_mutation(name, hooks);
    if (const std::string spec = variable("LOCKSTEP_TEST_FORCE"); !spec.empty()) install_force(spec, hooks);
    if (const std::string file = variable("LOCKSTEP_TEST_COUNT"); !file.empty()) {
        hooks.on_digested_batch = [=](PackedBatch& batch) {
            std::ofstream(file + "." + std::to_string(own_rank()), std::ios::app)
                << batch.step << ' ' << batch.pack << ' ' << own_rank() << '\n';
        };
    }
    return run_lockstep(argc, argv, hooks);
}
