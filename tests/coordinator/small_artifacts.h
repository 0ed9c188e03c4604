// tests/coordinator/small_artifacts.h
//
// All that a user keeps, small and real: two corpora, lengths in both forms, a
// plan, and a run of three generations on it. Link small_history.cpp.

#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "plan/plan_revision.h"
#include "tests/coordinator/small_history.h"
#include "tests/coordinator/small_plan.h"

namespace lockstep {

/// Whether the run changed over to a revision of its plan on the way.
enum class Revised { no, yes };

class SmallArtifacts {
  public:
    SmallArtifacts(const std::filesystem::path& folder, std::uint64_t seed, Revised revised = Revised::no)
        : folder_(make(folder)), small_(folder, options(seed)) {
        for (const char* name : {"lengths.h5", "lengths.jsonl"}) {
            write_lengths(folder / name, lengths_of(*small_.inputs[1].corpus()), Overwrite::no);
        }
        save_plan(plan_folder(), small_.plan, plan_stats(small_.plan), small_.inputs, WriteJsonl::always,
                  Overwrite::no);
        RunRecord record;
        record.settings_json = R"({"seed":1})";
        record.numerics = "fma256";
        record.plan_path = plan_folder().string();
        record.plan = small_.plan.fingerprints.plan;
        record.plan_totals = totals_of(small_.plan);
        for (const PlanSource& source : small_.plan.sources) {
            record.corpora.push_back({source.name, (folder / (source.name + ".h5")).string(), source.corpus});
        }
        record.checkpoint_every = "100";
        write_run_record(run(), record);
        write_run(run(), revised == Revised::yes ? revise() : History(small_.plan));
    }

    const std::filesystem::path& folder() const { return folder_; }
    std::filesystem::path plan_folder() const { return folder_ / "plan"; }
    std::filesystem::path revision_folder() const { return folder_ / "revision"; }  ///< Of a revised run.
    std::filesystem::path run() const { return folder_ / "run"; }
    const BatchPlan& plan() const { return small_.plan; }
    const std::vector<PlanInput>& inputs() const { return small_.inputs; }

    /// Every file, ascending.
    std::vector<std::filesystem::path> files() const {
        std::vector<std::filesystem::path> files;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
            if (entry.is_regular_file()) files.push_back(entry.path());
        }
        std::sort(files.begin(), files.end());
        return files;
    }
    /// The first of them whose name begins so. @pre there is one.
    std::filesystem::path file_named(const std::string& beginning) const {
        for (const std::filesystem::path& file : files()) {
            if (file.filename().string().starts_with(beginning)) return file;
        }
        throw Error(ErrorCode::not_found, "no artifact is named " + beginning);
    }

  private:
    static std::filesystem::path make(const std::filesystem::path& folder) {
        std::filesystem::create_directories(folder / "run");
        return folder;
    }
    static PlanOptions options(std::uint64_t seed) {
        PlanOptions options = small_options();
        options.seed = seed;
        return options;
    }
    /// After the second generation, without the last step.
    History revise() const {
        constexpr std::uint64_t change = 3;
        const BatchPlan& plan = small_.plan;
        const BatchPlan revision = revise_plan(plan, {change, {}, {plan.num_steps() - 1}}, {}).plan;
        save_plan(revision_folder(), revision, plan_stats(revision), small_.inputs, WriteJsonl::always,
                  Overwrite::no);
        write_run_revisions(
            run(), {{0, plan_folder().string(), plan.fingerprints.plan, totals_of(plan)},
                    {change, revision_folder().string(), revision.fingerprints.plan, totals_of(revision)}});
        return revised_history(plan, revision, change);
    }

    std::filesystem::path folder_;
    SmallPlan small_;
};

}  // namespace lockstep
