#include "worker/step_rate.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/comm/serial_communicator.h"
#include "kernels/cross_entropy.h"
#include "worker/exact_sum.h"
#include "worker/model/transformer.h"
#include "worker/sharded_state.h"

namespace lockstep {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int scale_exponent = 50;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

PackedBatch made_up_batch(const ModelConfig& config, std::span<const std::size_t> segment_tokens) {
    PackedBatch batch;
    const Philox random(1, "step-rate");
    batch.cu_seqlens.push_back(0);
    for (const std::size_t length : segment_tokens) {
        const std::size_t begin = batch.num_tokens();
        const std::size_t end = begin + length;
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

double useful_flop(const ModelConfig& config, std::span<const std::size_t> segment_tokens) {
    double flop = 0;
    for (const std::size_t length : segment_tokens) {
        const auto tokens = static_cast<double>(length);
        flop += tokens * flop_per_token(config, (tokens + 1) / 2);
    }
    return flop;
}

void check_segments(const ModelConfig& config, std::span<const std::size_t> segment_tokens) {
    for (const std::size_t length : segment_tokens) {
        if (length < 1 || length > config.positions) {
            throw Error(ErrorCode::invalid_argument, "a segment of " + std::to_string(length) +
                                                         " tokens does not fit the model's " +
                                                         std::to_string(config.positions) + " positions");
        }
    }
    if (segment_tokens.empty()) throw Error(ErrorCode::invalid_argument, "a pack needs a segment");
}

}  // namespace

struct MeasuredStep::State {
    ModelConfig config;
    std::unique_ptr<Communicator> alone;  ///< Unless there is a world.
    std::size_t packs;
    std::size_t packs_of_all;
    PackedBatch batch;
    double flop = 0;  ///< Of one pack.
    Transformer model;
    ShardedState state;
    ExactSum sum;
    OptimizerSettings optimizer;
    std::uint64_t step = 0;

    State(const ModelConfig& of, const Gemm& gemm, std::span<const std::size_t> segment_tokens,
          std::size_t num_packs, Communicator* world)
        : config(of),
          alone(world == nullptr ? make_serial_communicator() : nullptr),
          packs(num_packs),
          packs_of_all(num_packs * (world == nullptr ? 1 : static_cast<std::size_t>(world->size().value))),
          batch(made_up_batch(config, segment_tokens)),
          flop(useful_flop(config, segment_tokens)),
          model(config, gemm, batch.num_tokens()),
          state(world == nullptr ? *alone : *world, gemm.pool(), model.layout()),
          sum(world == nullptr ? *alone : *world, gemm.pool(), model.layout().size()) {
        state.initialize(1);
        model.set_weights(state.weights());
    }

    StepSeconds run() {
        StepSeconds seconds;
        const std::size_t targets = batch.num_targets * packs_of_all;
        const float scale = 1.0F / static_cast<float>(std::max<std::size_t>(1, targets));
        sum.clear();
        for (std::size_t pack = 0; pack < packs; ++pack) {
            const Clock::time_point start = Clock::now();
            double adding = 0;
            ExactFlags flags;
            if (pack + 1 == packs) sum.begin_last_pack();
            model.forward_backward(batch, scale, [&](std::size_t offset, std::span<const float> gradient) {
                const Clock::time_point at_hand = Clock::now();
                flags |= sum.add(offset, gradient, scale_exponent, packs_of_all);
                adding += seconds_since(at_hand);
            });
            sum.end_pack();
            if (flags.overflow || flags.non_finite) {
                throw Error(ErrorCode::bug, "the measured step's gradient left the range of the exact sum");
            }
            seconds.exact_sum += adding;
            seconds.forward_backward += seconds_since(start) - adding;
        }
        const Clock::time_point reduced = Clock::now();
        const ExactGradient gradient = sum.reduce_scatter(scale_exponent);
        seconds.exact_sum += seconds_since(reduced);
        const Clock::time_point updated = Clock::now();
        state.update(optimizer, step++, state.gradient_norm(gradient), gradient);
        state.all_gather_weights();
        model.set_weights(state.weights());
        seconds.update = seconds_since(updated);
        return seconds;
    }
};

MeasuredStep::MeasuredStep(const ModelConfig& config, const Gemm& gemm,
                           std::span<const std::size_t> segment_tokens, std::size_t packs,
                           Communicator* comm) {
    check_segments(config, segment_tokens);
    state_ = std::make_unique<State>(config, gemm, segment_tokens, packs, comm);
}
MeasuredStep::~MeasuredStep() = default;

void MeasuredStep::use_segments(std::span<const std::size_t> segment_tokens) {
    const ModelConfig& config = state_->config;
    check_segments(config, segment_tokens);
    state_->batch = made_up_batch(config, segment_tokens);
    state_->flop = useful_flop(config, segment_tokens);
}

StepSeconds MeasuredStep::run() {
    return state_->run();
}

double MeasuredStep::run_forward() {
    const Clock::time_point start = Clock::now();
    state_->model.forward(state_->batch);
    return seconds_since(start);
}

std::size_t MeasuredStep::tokens() const {
    return state_->batch.num_tokens() * state_->packs;
}
double MeasuredStep::flop() const {
    return state_->flop * static_cast<double>(state_->packs);
}
std::size_t MeasuredStep::state_elements() const {
    return state_->model.layout().size();
}
std::size_t MeasuredStep::workspace_bytes() const {
    return state_->model.memory().activations;
}

std::vector<std::size_t> equal_segments(std::size_t tokens, std::size_t segments) {
    std::vector<std::size_t> lengths;
    for (std::size_t s = 0; s < segments; ++s) {
        lengths.push_back(tokens * (s + 1) / segments - tokens * s / segments);
    }
    std::erase(lengths, 0);
    return lengths;
}

StepRate measure_step_rate(const ModelConfig& config, const Gemm& gemm, std::size_t tokens,
                           std::size_t segments, double seconds) {
    MeasuredStep step(config, gemm, equal_segments(tokens, segments));
    step.run();  // Warms up.
    std::vector<double> times;
    const Clock::time_point begin = Clock::now();
    while (times.size() < 3 || seconds_since(begin) < seconds) {
        const Clock::time_point start = Clock::now();
        step.run();
        times.push_back(seconds_since(start));
    }
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                     times.end());
    const double median = times[times.size() / 2];
    return {tokens, median, step.flop() / median};
}

}  // namespace lockstep
