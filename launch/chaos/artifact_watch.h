// launch/chaos/artifact_watch.h
//
// What train, resume and verify go by in a folder of artifacts, before and after
// one of its files was damaged; and the verdict on the difference.

#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/plan_input.h"
#include "coordinator/run_record.h"

namespace lockstep {

/// Copies of all that a run rests on. The run's record may name other places; those are not looked at.
struct ArtifactPlaces {
    std::filesystem::path folder;                ///< All others lie in it.
    std::vector<std::filesystem::path> plans;    ///< Folders: the run's own, then its revisions in order.
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
    refused_proof,  ///< Training goes on as it would have; `verify` or `batchplan validate` refuses.
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
    /// By the name of what is read.
    struct Observation {
        std::map<std::string, std::string> said;     ///< What was read to its end.
        std::map<std::string, std::string> refused;  ///< The error of what was not.
        std::vector<std::string> undocumented;       ///< Errors of other codes than such damage has.
        std::vector<std::string> rejected;           ///< Why a generation was given up.
    };

    static void require_sound(const Observation& seen);
    static void hear(Observation& seen, const std::string& what, const std::function<std::string()>& read);
    Observation observe(const std::filesystem::path& file) const;
    Observation observe_inputs() const;
    Observation observe_plan(std::size_t which) const;
    Observation observe_run() const;
    std::optional<std::size_t> plan_of(const std::filesystem::path& file) const;
    const Observation& before(const std::filesystem::path& file) const;
    std::string replayed(const PlanInForce& plan) const;
    std::string proof_of(const RunRecord& record) const;
    PlanInForce at_its_place(const RunRecord& record, std::size_t which) const;
    DamageVerdict compare(const std::filesystem::path& file, const Observation& seen, bool changed) const;
    std::string different(const Observation& sound, const Observation& seen) const;
    std::string unclear(const std::string& text, const std::filesystem::path& file) const;

    ArtifactPlaces places_;
    std::vector<std::filesystem::path> files_;
    RunRecord record_;
    std::vector<BatchPlan> plans_;
    Fingerprint lengths_;
    std::vector<PlanInput> inputs_;
    Observation inputs_seen_, run_seen_;
    std::vector<Observation> plans_seen_;
    std::map<std::string, std::string> generations_;  ///< Each as it is fallen back to.
};

}  // namespace lockstep
