// launch/chaos/artifact_watch.h
//
// What train, resume and verify go by in a folder of artifacts, before and after
// one of its files was damaged; and the verdict on the difference.

#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "coordinator/plan_input.h"

namespace lockstep {

/// Copies of all that a run rests on. The run's record may name other places; those are not looked at.
struct ArtifactPlaces {
    std::filesystem::path folder;                ///< All others lie in it.
    std::filesystem::path plan;                  ///< A plan's folder.
    std::filesystem::path run;                   ///< A run's folder, with at least one generation.
    std::vector<std::filesystem::path> corpora;  ///< In the plan's order.
    std::vector<std::filesystem::path> lengths;  ///< Of the last corpus; may be empty.
};

/// How a reader met a file.
enum class DamageOutcome {
    unchanged,      ///< The damage left the bytes as they were.
    as_written,     ///< Nothing that is read has changed.
    refused,        ///< One clear error.
    fallen_back,    ///< A generation before, as it was committed.
    refused_proof,  ///< Training goes on as it would have; `verify` refuses.
    wrong,          ///< A finding: other data taken for the right ones, or an error nobody can use.
};
std::string name_of(DamageOutcome outcome);

struct DamageVerdict {
    DamageOutcome outcome = DamageOutcome::unchanged;
    std::string text;  ///< The error, or what is wrong.
};

/// Holds what sound artifacts say.
class ArtifactWatch {
  public:
    /// Reads everything. @throws as the readers do if something is damaged already.
    explicit ArtifactWatch(ArtifactPlaces places);

    /// Files whose damage is told: without heartbeat, metrics, logs and locks, which have no authority.
    const std::vector<std::filesystem::path>& files() const { return files_; }

    /// Read again after `file` was damaged.
    /// @param changed  whether its bytes are others now.
    DamageVerdict judge(const std::filesystem::path& file, bool changed) const;

  private:
    using Observation = std::map<std::string, std::string>;

    Observation observe(const std::filesystem::path& file) const;
    Observation observe_inputs() const;
    Observation observe_plan() const;
    Observation observe_run() const;
    DamageVerdict compare(const std::filesystem::path& file, const Observation& seen, bool changed) const;
    std::string unclear(const std::string& text, const std::filesystem::path& file) const;

    ArtifactPlaces places_;
    std::vector<std::filesystem::path> files_;
    BatchPlan plan_;
    Fingerprint lengths_;
    std::vector<PlanInput> inputs_;
    Observation inputs_seen_, plan_seen_, run_seen_;
    Observation generations_;  ///< Each as it is fallen back to.
};

}  // namespace lockstep
