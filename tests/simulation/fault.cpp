#include "tests/simulation/fault.h"

namespace lockstep::simulation {

std::vector<Fault> draw_faults(Draws& draws, std::uint64_t calls, double seconds) {
    // Deaths and power cuts are what it is about; of the others one each will do.
    using Kind = Fault::Kind;
    constexpr Kind common[] = {Kind::kill_rank, Kind::kill_job, Kind::power_cut, Kind::power_cut};
    std::vector<Fault> faults(draws(8));
    for (Fault& fault : faults) {
        const auto kinds = static_cast<std::uint64_t>(Kind::kinds);
        fault.kind = draws(2) == 0 ? common[draws(std::size(common))] : static_cast<Kind>(draws(kinds));
        if (draws(3) != 0) fault.call = 1 + draws(2 * calls);
        fault.time = draws.seconds(0, 2 * seconds);
        fault.seconds = draws.seconds(1, 40);
    }
    return faults;
}

}  // namespace lockstep::simulation
