#include "coordinator/run_plans.h"

#include <string>

#include "io/base/error.h"
#include "plan/plan_diff.h"

namespace lockstep {

void require_plan_of_run(const PlanInForce& wanted, const std::filesystem::path& folder,
                         const Fingerprint& found) {
    if (found == wanted.plan) return;
    throw Error(ErrorCode::fingerprint_mismatch,
                "'" + folder.string() + "' is plan " + found.brief() + "…, expected " + wanted.plan.brief() +
                    "…, which the run follows from step " + std::to_string(wanted.from_step) +
                    " by run.json and revisions.json; pass -p with that plan, or start a new run");
}

PlanFile open_plan_of_run(const PlanInForce& wanted, const std::filesystem::path& folder) {
    PlanFile file = PlanFile::open(folder);
    require_plan_of_run(wanted, folder, file.head().fingerprints.plan);
    return file;
}

void check_revision(const PlanInForce& before, const std::filesystem::path& revision_path,
                    std::uint64_t cursor) {
    const PlanFile run_plan = PlanFile::open(before.path);
    const PlanFile revision = PlanFile::open(revision_path);
    const Fingerprint& found = run_plan.head().fingerprints.plan;
    if (found != before.plan) {
        throw Error(ErrorCode::fingerprint_mismatch,
                    "'" + before.path + "' is plan " + found.brief() + "…, the run was trained from " +
                        before.plan.brief() + "… there; put the run's own plan back");
    }
    const std::string what =
        "plan " + revision.head().fingerprints.plan.brief() + "… in '" + revision_path.string() + "' ";
    const auto refuse = [&](const std::string& why) {
        throw Error(ErrorCode::fingerprint_mismatch,
                    "the run follows plan " + before.plan.brief() + "…; " + what + why +
                        "; pass -p with the run's own plan or a revision of it "
                        "(lockstep batchplan exclude), or start a new run");
    };
    if (!revision.head().parent && revision.head().fingerprints.plan != before.plan) {
        const auto difference = first_difference(run_plan.view(), revision.view());
        refuse("is another one, and no revision" + (difference ? ": " + difference->text() : ""));
    }
    if (const auto found_in = first_difference(run_plan.view(), revision.view(), cursor)) {
        refuse("differs from it in step " + std::to_string(found_in->step) + ", and steps before " +
               std::to_string(cursor) + " are trained already: " + found_in->text());
    }
    if (revision.head().fingerprints.settings != run_plan.head().fingerprints.settings ||
        revision.head().epoch_begin != run_plan.head().epoch_begin) {
        const auto lines = setting_differences(run_plan.view(), revision.view());
        refuse("has other settings" +
               (lines.empty() ? "" : ": " + lines[0].what + ", " + lines[0].a + " -> " + lines[0].b));
    }
}

}  // namespace lockstep
