// tests/simulation/judge.h
//
// What must hold in every schedule. It knows what the run has said, and looks at the
// disk with the shipped readers.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launch/supervisor/supervise.h"
#include "tests/simulation/simulated_disk.h"
#include "tests/simulation/subject.h"
#include "tests/simulation/training.h"

namespace lockstep::simulation {

class Judge : public Witness {
  public:
    Judge(const Subject& subject, const SimulatedDisk& disk, std::string run)
        : subject_(subject), disk_(disk), run_(std::move(run)) {}

    /// The first thing that must not be; empty: nothing.
    const std::string& problem() const { return problem_; }
    void find(const std::string& problem);

    // A committed generation is never lost once reported, nor is one the run has gone on from; what is found
    // was begun, and has the bits of the undisturbed run.
    void recovered(const std::optional<Manifest>& generation,
                   const std::vector<std::string>& rejected) override;
    void settled(std::optional<std::uint64_t> step) override;
    void begun(std::uint64_t step) override { begun_.insert(step); }
    void reported_durable(std::uint64_t step, const Fingerprint& state_digest) override;

    void quarantined(const std::vector<std::uint64_t>& left);
    /// No shard goes while a manifest names it.
    void removed(std::string_view path);
    /// Every manifest on the disk names what is there, and at least two of them stay.
    void look_at_disk();
    /// The supervisor restarted what it must and nothing else.
    void look_at(const SupervisorOutcome& outcome, int stop_requests, std::uint64_t refusals);
    /// Each planned pack exactly once, and the bits of the undisturbed run.
    void look_at_end();

  private:
    const Subject& subject_;
    const SimulatedDisk& disk_;
    std::string run_;
    std::string problem_;
    std::set<std::uint64_t> begun_;
    std::uint64_t newest_ = 0;    ///< What must not be lost.
    std::uint64_t reported_ = 0;  ///< How many.
    bool quarantine_ = false;
};

}  // namespace lockstep::simulation
