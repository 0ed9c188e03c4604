// tests/simulation/training.h
//
// What a rank does, with everything that is decided or stored done by the shipped
// code: the plan's distribution, recovery, the sharded state, the commit protocol.
// Only the gradient is made up.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/comm/communicator.h"
#include "io/run/checkpoint.h"
#include "io/run/heartbeat.h"
#include "io/run/retention.h"
#include "tests/simulation/subject.h"
#include "tests/simulation/virtual_time.h"
#include "worker/state_snapshot.h"

namespace lockstep::simulation {

/// Mistakes made on purpose, to see them found.
enum class Mistake : std::uint8_t {
    none,
    shards_not_synced,      ///< The manifest comes before its shards' bytes are on the disk.
    names_not_synced,       ///< No directory is ever synced.
    manifest_not_synced,    ///< Reported durable before its name is on the disk.
    pruned_not_synced,      ///< Shards go before their manifest's removal is on the disk.
    ledger_not_synced,      ///< The head segment's bytes may be lost.
    ledger_cut_late,        ///< At the commit, not at the snapshot: steps are recorded twice.
    never_settled,          ///< What a dead job left stays where it is.
    snapshot_of_next_step,  ///< The state is copied a step too late.
};

struct TrainingOptions {
    std::string run;
    std::uint64_t checkpoint_every = 3;  ///< [steps]
    RetentionRule retention;
    SnapshotMode snapshot = SnapshotMode::copy;
    double step_seconds = 0.5;
    Mistake mistake = Mistake::none;
};

/// Told of what happens, to compare it with what must.
class Witness {
  public:
    virtual ~Witness() = default;
    virtual void recovered(const std::optional<Manifest>& generation,
                           const std::vector<std::string>& rejected) = 0;
    virtual void settled(std::optional<std::uint64_t> step) = 0;
    virtual void begun(std::uint64_t step) = 0;
    virtual void reported_durable(std::uint64_t step, const Fingerprint& state_digest) = 0;
};

struct RankContext {
    const Subject& subject;
    const TrainingOptions& options;
    Witness& witness;
    VirtualTime& time;
    Communicator& comm;
    Heartbeat& heartbeat;              ///< This rank's.
    std::function<bool()> stop_asked;  ///< As the signal's flag.
};

/// @return the rank's exit code.
int train(RankContext context);

}  // namespace lockstep::simulation
