#include "worker/step_rate.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "io/base/philox.h"
#include "io/comm/serial_communicator.h"
#include "kernels/cross_entropy.h"
#include "worker/exact_sum.h"
#include "worker/model/transformer.h"
#include "worker/sharded_state.h"

namespace lockstep {

namespace {

PackedBatch made_up_batch(const ModelConfig& config, std::size_t tokens, std::size_t segments) {
    PackedBatch batch;
    const Philox random(1, "step-rate");
    batch.cu_seqlens.push_back(0);
    for (std::size_t s = 0; s < segments; ++s) {
        const std::size_t begin = tokens * s / segments;
        const std::size_t end = tokens * (s + 1) / segments;
        for (std::size_t i = begin; i < end; ++i) {
            batch.token_ids.push_back(static_cast<std::uint32_t>(random.below(i, config.vocabulary)));
            batch.position_ids.push_back(static_cast<std::uint32_t>(i - begin));
        }
        for (std::size_t i = begin; i < end; ++i) {
            batch.targets.push_back(i + 1 < end ? static_cast<std::int32_t>(batch.token_ids[i + 1])
                                                : ignored_target);
            batch.num_targets += i + 1 < end ? 1 : 0;
        }
        batch.cu_seqlens.push_back(static_cast<std::int32_t>(end));
    }
    return batch;
}

}  // namespace

StepRate measure_step_rate(const ModelConfig& config, const Gemm& gemm, std::size_t tokens,
                           std::size_t segments, double seconds) {
    using Clock = std::chrono::steady_clock;
    const auto comm = make_serial_communicator();
    Transformer model(config, gemm, tokens);
    ShardedState state(*comm, gemm.pool(), model.layout());
    state.initialize(1);
    ExactSum sum(*comm, gemm.pool(), model.layout().size());
    const PackedBatch batch = made_up_batch(config, tokens, segments);
    const OptimizerSettings optimizer;

    std::vector<double> times;
    const Clock::time_point begin = Clock::now();
    for (std::uint64_t step = 0;
         times.size() < 4 || std::chrono::duration<double>(Clock::now() - begin).count() < seconds; ++step) {
        const Clock::time_point start = Clock::now();
        model.set_weights(state.weights());
        sum.clear();
        model.forward_backward(
            batch, 1.0F / static_cast<float>(batch.num_targets),
            [&](std::size_t offset, std::span<const float> gradient) { sum.add(offset, gradient, 50, 1); });
        sum.end_pack();
        const ExactGradient gradient = sum.reduce_scatter(50);
        state.update(optimizer, step, state.gradient_norm(gradient), gradient);
        times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    times.erase(times.begin());  // The first one warms up.
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                     times.end());
    StepRate rate;
    rate.tokens = tokens;
    rate.median_seconds = times[times.size() / 2];
    const double mean_context = (static_cast<double>(tokens) / static_cast<double>(segments) + 1) / 2;
    rate.flop_per_second =
        flop_per_token(config, mean_context) * static_cast<double>(tokens) / rate.median_seconds;
    return rate;
}

}  // namespace lockstep
