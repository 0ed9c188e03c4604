#include "launch/cli/bench/bench_world.h"

#include <vector>

#include "launch/cli/bench/bench_measure.h"

namespace lockstep {

double collective_seconds(Communicator& comm, int repeats, const std::function<void()>& work) {
    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) {
        comm.barrier();
        std::int64_t nanoseconds = static_cast<std::int64_t>(1e9 * seconds_of(work));
        comm.max({&nanoseconds, 1});
        times.push_back(static_cast<double>(nanoseconds) / 1e9);
    }
    return median_of(std::move(times));
}

}  // namespace lockstep
