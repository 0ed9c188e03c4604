#include "launch/cli/world.h"

#include <sched.h>
#include <unistd.h>
#include <algorithm>
#include <csignal>
#include <ctime>
#include <optional>
#include <span>
#include <vector>

#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"
#include "io/comm/mpi_communicator.h"
#include "io/comm/serial_communicator.h"

namespace lockstep {

namespace {

volatile std::sig_atomic_t stop_signal = 0;

/// Signals closer together than this are one request.
constexpr double one_request_seconds = 2;
volatile double first_stop_signal = 0;  ///< Written once, before stop_signal says so.

/// Only what a handler may do: clock_gettime, sigaction and _exit.
extern "C" void note_stop_signal(int) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double seconds = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
    if (stop_signal != 0 && seconds - first_stop_signal >= one_request_seconds) {
        _exit(exit_code_of(ErrorCode::stopped));
    }
    if (stop_signal == 0) first_stop_signal = seconds;
    stop_signal = 1;
}

void install_stop_handler(int signal) {
    struct sigaction action {};
    action.sa_handler = note_stop_signal;
    action.sa_flags = SA_RESTART;
    sigaction(signal, &action, nullptr);
}

/// Errors that one rank alone has met: the others cannot know, so the job ends.
int end_job(World& world, ErrorCode code, const std::string& message) {
    log_rank(LogLevel::error, message);
    if (world.watch) world.watch->ending();
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

int run_in_world(const std::function<int(World&)>& body, std::unique_ptr<ProgressWatch> watch) {
    stop_signal_seen();  // From now on the signal asks, it does not kill.
    std::optional<MpiEnvironment> mpi;
    World world;  // The watch outlives MPI: joining and finalizing can hang too.
    if (launched_by_mpi()) {
        if (watch) watch->starting("joining the other ranks");
        mpi.emplace();
        world.comm = mpi->make_communicator();
        world.ranks_on_node = mpi->ranks_on_node();
    } else {
        world.comm = make_serial_communicator();
    }
    log_identify(world.comm->rank(), world.comm->size());
    world.watch = std::move(watch);
    const int code = run_guarded(world, body);
    watch = std::move(world.watch);
    if (watch) watch->ending();
    world.comm.reset();
    return code;
}

void share_text(Communicator& comm, std::string& text) {
    const auto raw = std::as_bytes(std::span(text.data(), text.size()));
    std::vector<std::byte> bytes(raw.begin(), raw.end());
    broadcast_bytes(comm, bytes, Rank{0});
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

int default_threads(const World& world) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    const int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    return std::max(1, cores / std::max(1, world.ranks_on_node));
}

bool stop_signal_seen() {
    static const bool installed = [] {
        install_stop_handler(SIGUSR1);
        return true;
    }();
    return installed && stop_signal != 0;
}

void stop_on_termination_signals() {
    install_stop_handler(SIGTERM);
    install_stop_handler(SIGINT);
}

}  // namespace lockstep
