#include "launch/chaos/power_job.h"

#include "io/run/checkpoint.h"

namespace lockstep {

std::string problem_after_cut(const std::filesystem::path& run, const std::vector<std::uint64_t>& before) {
    std::uint64_t newest = 0;
    for (const GenerationStatus& status : list_generations(run)) {
        if (!status.committed) continue;
        if (!status.valid) return "a committed generation is damaged: " + status.problem;
        newest = status.step;
    }
    // The newest may have been on its way; the one before it was durable when that one was begun.
    if (before.size() >= 2 && newest < before[before.size() - 2]) {
        return "generation " + std::to_string(before[before.size() - 2]) +
               " was durable and is gone; the newest is of step " + std::to_string(newest);
    }
    return "";
}

void PowerJob::strike() {
    const std::vector<std::uint64_t> before = committed_steps(run());
    disk_.cut();
    end();
    let_go_of_run();
    disk_.power_on();
    struck();
    if (failure_.empty()) failure_ = problem_after_cut(run(), before);
}

}  // namespace lockstep
