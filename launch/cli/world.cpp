#include "launch/cli/world.h"

#include <sched.h>
#include <algorithm>
#include <csignal>
#include <optional>

#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"
#include "io/comm/mpi_communicator.h"
#include "io/comm/serial_communicator.h"

namespace lockstep {

namespace {

volatile std::sig_atomic_t stop_signal = 0;

extern "C" void note_stop_signal(int) {
    stop_signal = 1;
}

/// Errors that one rank alone has met: the others cannot know, so the job ends.
int end_job(World& world, ErrorCode code, const std::string& message) {
    log_rank(LogLevel::error, message);
    if (world.comm->size().value > 1) world.comm->abort(exit_code_of(code));
    return exit_code_of(code);
}

int run_guarded(World& world, const std::function<int(World&)>& body) {
    try {
        return body(world);
    } catch (const AgreedError& error) {
        log_root(LogLevel::error, error.what());
        return exit_code_of(error.code());
    } catch (const std::exception& failure) {
        const Error error = error_of(failure);
        return end_job(world, error.code(), error.what());
    }
}

}  // namespace

int run_in_world(const std::function<int(World&)>& body) {
    std::optional<MpiEnvironment> mpi;
    World world;
    if (launched_by_mpi()) {
        mpi.emplace();
        world.comm = mpi->make_communicator();
        world.ranks_on_node = mpi->ranks_on_node();
    } else {
        world.comm = make_serial_communicator();
    }
    log_identify(world.comm->rank(), world.comm->size());
    stop_signal_seen();  // From now on the signal asks, it does not kill.
    const int code = run_guarded(world, body);
    world.comm.reset();
    return code;
}

int default_threads(const World& world) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    const int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    return std::max(1, cores / std::max(1, world.ranks_on_node));
}

bool stop_signal_seen() {
    static const bool installed = [] {
        struct sigaction action {};
        action.sa_handler = note_stop_signal;
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, nullptr);
        return true;
    }();
    return installed && stop_signal != 0;
}

}  // namespace lockstep
