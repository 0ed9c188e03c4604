#include <cstdio>
#include <vector>

#include "plan/batch_plan.h"
#include "worker/model/model_config.h"

int main() {
    const std::vector<std::uint32_t> lengths = {100, 50, 3000, 7};
    lockstep::SourceLengths source;
    source.source.name = "four";
    source.sample_tokens = lengths;
    const lockstep::BatchPlan plan = lockstep::build_plan({}, {&source, 1});
    const auto model = lockstep::load_model_config("nano", 257);
    std::printf("%s %zu\n", plan.fingerprints.plan.hex().c_str(), model.config.width);
    return plan.num_segments() == 4 ? 0 : 1;
}
