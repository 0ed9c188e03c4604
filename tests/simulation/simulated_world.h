// tests/simulation/simulated_world.h
//
// A Communicator between fibers: messages take time, and a rank that is dead or
// frozen is noticed at the deadline, as with MPI.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "io/comm/communicator.h"
#include "tests/simulation/virtual_time.h"

namespace lockstep::simulation {

/// What the ranks of one start share.
class SimulatedWorld {
  public:
    using Bytes = std::vector<std::byte>;

    SimulatedWorld(VirtualTime& time, int size, double timeout_seconds)
        : time_(time), size_(size), timeout_(timeout_seconds), done_(static_cast<std::size_t>(size)) {}

    std::unique_ptr<Communicator> communicator(Rank rank);

    /// Everybody's contribution to everybody. @throws Error{peer_lost}.
    std::shared_ptr<const std::vector<Bytes>> exchange(Rank rank, Bytes mine, const std::string& phase);
    void send(int from, int to, int tag, Bytes bytes);
    Bytes receive(int from, int to, int tag, const std::string& phase);
    bool has_mail(int from, int to, int tag) const;

    int size() const { return size_; }
    VirtualTime& time() { return time_; }

  private:
    struct Meeting {
        std::shared_ptr<std::vector<Bytes>> contributions;
        std::vector<Fiber*> waiting;
        int came = 0, left = 0;
    };
    VirtualTime& time_;
    int size_;
    double timeout_;
    std::vector<std::uint64_t> done_;  ///< Meetings each rank has been to.
    std::map<std::uint64_t, Meeting> meetings_;
    std::map<std::tuple<int, int, int>, std::deque<Bytes>> mail_;
};

}  // namespace lockstep::simulation
