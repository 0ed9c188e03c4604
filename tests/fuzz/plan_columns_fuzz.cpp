// plan.h5: raw bytes, or a sound one edited and sealed again; read whole, and by questions.

#include "coordinator/plan_file.h"
#include "plan/plan_slice.h"
#include "plan/validate_plan.h"
#include "tests/fuzz/support/fuzz_artifacts.h"

namespace {

using namespace lockstep;

void load_whole(const std::filesystem::path& folder) {
    const BatchPlan plan = load_plan(folder, PlanCheck::files);
    totals_of(plan);
    plan_stats(plan);
}

void ask(const std::filesystem::path& folder) {
    const PlanFile plan = PlanFile::open(folder);
    for (std::uint64_t sample = 0; sample < 40; ++sample) plan.find_sample(sample);
    for (std::uint64_t step = 0; step < plan.num_steps(); ++step) plan.epoch_of(step);
}

void prove(const std::filesystem::path& folder) {
    const PlanFile plan = PlanFile::open(folder);
    PlanTotalsCount totals;
    plan.validate({}, [&](const PlanChunkColumns& chunk) { totals.add(chunk); });
    plan_stats(plan.view());
}

void describe(const std::filesystem::path& folder) {
    const PlanFile plan = PlanFile::open(folder);
    plan.check_structure();
    plan_stats(plan.view());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::filesystem::path folder = [] {
        const std::filesystem::path copy = fuzz::memory_folder() / "plan";
        std::filesystem::copy(fuzz::sound_artifacts().plan_folder(), copy);
        return copy;
    }();
    const std::filesystem::path sound = fuzz::sound_artifacts().plan_folder() / "plan.h5";
    if (!fuzz::columns_from(fuzz::text_of(data, size), sound, folder / "plan.h5")) return 0;
    fuzz::read_or_refuse([&] { load_whole(folder); });
    fuzz::read_or_refuse([&] { load_plan(folder, PlanCheck::content); });
    fuzz::read_or_refuse([&] { ask(folder); });
    fuzz::read_or_refuse([&] { prove(folder); });
    fuzz::read_or_refuse([&] { describe(folder); });
    // Without its seal: what the columns themselves allow.
    fuzz::read_or_refuse([&] {
        const ColumnFile file = ColumnFile::open(folder / "plan.h5", plan_format, plan_format_version);
        const BatchPlan plan = from_columns(read_plan_columns(file, PlanColumnsRead::all));
        totals_of(plan);
        plan_stats(plan);
        validate_plan(plan, {});
    });
    return 0;
}
