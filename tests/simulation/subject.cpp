#include "tests/simulation/subject.h"

#include "tests/coordinator/small_history.h"
#include "tests/simulation/schedule.h"

namespace lockstep::simulation {

namespace {

/// Two blocks: one rank owns all, two own one each, more leave some with nothing.
std::vector<TensorSpec> two_blocks() {
    std::vector<TensorSpec> tensors(2);
    for (TensorSpec& tensor : tensors) {
        tensor.name = &tensor == tensors.data() ? "a" : "b";
        tensor.rows = 64;
        tensor.cols = 64;
        tensor.matrix = true;
        tensor.init = TensorSpec::Init::zeros;
    }
    return tensors;
}

}  // namespace

Subject::Subject() : layout(two_blocks()) {
    optimizer.schedule_steps = plan().num_steps();
    model.bytes[0] = 7;
    for (std::uint64_t step = 0; step < plan().num_steps(); ++step) {
        for (std::uint64_t pack = plan().step_begin[step]; pack < plan().step_begin[step + 1]; ++pack) {
            rows.push_back(row_of(plan(), step, pack));
        }
    }
    record_undisturbed(*this);
}

}  // namespace lockstep::simulation
