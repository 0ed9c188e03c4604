#include "kernels/reference/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/cross_entropy.h"

namespace lockstep::reference {

void head_loss(BasicMatrixView<const double> hidden, BasicMatrixView<const double> head,
               std::span<const std::int32_t> targets, std::span<double> token_loss) {
    for (std::size_t t = 0; t < hidden.rows; ++t) {
        token_loss[t] = 0;
        if (targets[t] == ignored_target) continue;
        std::vector<double> logits(head.rows, 0.0);
        for (std::size_t id = 0; id < head.rows; ++id) {
            for (std::size_t i = 0; i < head.cols; ++i) logits[id] += hidden.row(t)[i] * head.row(id)[i];
        }
        const double largest = *std::max_element(logits.begin(), logits.end());
        double sum = 0;
        for (const double x : logits) sum += std::exp(x - largest);
        token_loss[t] = largest + std::log(sum) - logits[static_cast<std::size_t>(targets[t])];
    }
}

}  // namespace lockstep::reference
