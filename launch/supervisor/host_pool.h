// launch/supervisor/host_pool.h
//
// The hosts a run may use, and which of them are alive: asked with a command, all
// at once, before each start and now and then while the job runs.

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/supervisor/processes.h"

namespace lockstep {

struct HostSlots {
    std::string name;
    int slots = 1;
    friend bool operator==(const HostSlots&, const HostSlots&) = default;
};

/// "h1:4,h2:4,h3": 1 slot where none is said. @throws Error{invalid_argument} naming the part that is wrong.
std::vector<HostSlots> parse_hosts(std::string_view text);
/// As mpirun's --host takes them.
std::string to_text(const std::vector<HostSlots>& hosts);
int total_slots(const std::vector<HostSlots>& hosts);

class HostPool {
  public:
    /// @param probe  shell command that succeeds when host {} is alive.
    HostPool(Processes& processes, std::vector<HostSlots> hosts, std::string probe, double deadline_seconds);

    /// Ask all hosts and wait for their answers, at most the deadline.
    const std::vector<HostSlots>& ask();
    /// Those that answered last.
    const std::vector<HostSlots>& alive() const { return alive_; }

    /// Ask again without waiting: the first call begins, later ones look, and the one that has all answers
    /// gives the slots alive now. The next call begins anew.
    std::optional<int> slots_in_reach();

  private:
    static constexpr pid_t this_host = 0;   ///< Needs no asking.
    static constexpr pid_t not_asked = -1;  ///< The probe could not be started: as if there were no answer.
    struct Probe {
        HostSlots host;
        pid_t process = this_host;
    };
    void begin();
    bool all_answered();
    std::vector<HostSlots> answers();

    Processes& processes_;
    std::vector<HostSlots> hosts_;
    std::string command_;
    double deadline_seconds_;
    double begun_ = 0;
    std::vector<Probe> probes_;
    std::vector<HostSlots> alive_;
};

}  // namespace lockstep
