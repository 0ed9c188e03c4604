#include "tests/simulation/fault.h"

#include <iterator>

namespace lockstep::simulation {

std::string_view name_of(Fault::Kind kind) {
    constexpr std::string_view names[] = {
        "kill a rank",    "crash a rank",  "kill mpirun",       "kill the job",   "kill the supervisor",
        "cut the power",  "freeze a rank", "freeze all ranks",  "mpirun hangs",   "a slow call",
        "a refused call", "a short write", "a request to stop", "a host is back", "poison a generation"};
    static_assert(std::size(names) == static_cast<std::size_t>(Fault::Kind::kinds));
    return names[static_cast<std::size_t>(kind)];
}

std::vector<Fault> draw_faults(Draws& draws, std::uint64_t calls, double seconds) {
    // Deaths and power cuts are what it is about; of the others one each will do.
    using Kind = Fault::Kind;
    constexpr Kind common[] = {Kind::kill_rank, Kind::kill_job, Kind::power_cut, Kind::power_cut,
                               Kind::power_cut};
    std::vector<Fault> faults(draws(6));
    for (Fault& fault : faults) {
        const auto kinds = static_cast<std::uint64_t>(Kind::kinds);
        fault.kind = draws(2) == 0 ? common[draws(std::size(common))] : static_cast<Kind>(draws(kinds));
        if (draws(3) != 0) fault.call = 1 + draws(calls);
        // Where what is not on the disk yet matters most: names, pruning, the commit itself.
        if (draws(3) != 0) fault.after_commit = 1 + draws(10);
        fault.power_follows = draws(4) == 0;
        fault.time = draws.seconds(0, 2 * seconds);
        fault.seconds = draws.seconds(1, 40);
    }
    return faults;
}

}  // namespace lockstep::simulation
