#include "worker/sharded_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "io/comm/serial_communicator.h"
#include "io/run/state_digest.h"
#include "kernels/optimizer.h"
#include "kernels/scalar_math.h"
#include "tests/kernels/kernel_checks.h"
#include "tests/support/mpi_main.h"
#include "tests/worker/model_cases.h"
#include "worker/generation_messages.h"
#include "worker/state_snapshot.h"

namespace lockstep {
namespace {

OptimizerSettings settings() {
    OptimizerSettings s;
    s.warmup_steps = 2;
    s.schedule_steps = 10;
    s.clip_norm = 0.5;
    return s;
}

Cursor cursor() {
    Cursor c;
    c.plan.bytes[0] = 1;
    c.model.bytes[1] = 2;
    c.numerics = "fma256";
    c.next_step = 3;
    c.targets_seen = 1234;
    c.scale_exponent = 42;
    return c;
}

std::vector<float> gradient_of(std::size_t elements, std::uint64_t step) {
    std::vector<float> gradient(elements);
    for (std::size_t i = 0; i < elements; ++i) {
        gradient[i] =
            0.01F * static_cast<float>(static_cast<int>((i * 2654435761U + step * 97) % 2001) - 1000);
    }
    return gradient;
}

/// A gradient as the exact sum would hold it; no element of gradient_of is rounded at this scale.
struct Summed {
    std::vector<std::int64_t> sum;

    explicit Summed(std::span<const float> gradient) : sum(gradient.size()) {
        ThreadPool pool(1);
        const ExactFlags flags = accumulate_exact(pool, gradient, exponent, 1, true, sum);
        EXPECT_FALSE(flags.overflow || flags.non_finite);
    }
    static constexpr int exponent = 45;
    ExactGradient slice(const StateSlice& slice) const {
        return ExactGradient{sum, exponent}.subspan(slice.begin, slice.size());
    }
};

/// Three steps as the worker takes them. @return the norms.
std::vector<double> three_steps(ShardedState& state, std::size_t elements) {
    std::vector<double> norms;
    state.initialize(5);
    for (std::uint64_t step = 0; step < 3; ++step) {
        const Summed gradient(gradient_of(elements, step));
        const ExactGradient mine = gradient.slice(state.slice());
        norms.push_back(state.gradient_norm(mine));
        state.update(settings(), step, norms.back(), mine);
        state.all_gather_weights();
    }
    return norms;
}

Fingerprint root_of(std::span<const float> values) {
    std::vector<Fingerprint> leaves;
    for (std::size_t begin = 0; begin < values.size(); begin += state_leaf_elements) {
        leaves.push_back(
            state_leaf(values.subspan(begin, std::min(state_leaf_elements, values.size() - begin))));
    }
    return state_tree_root(leaves);
}

/// Collective. The state digest as a commit computes it: a snapshot, every rank's leaves, rank 0's root.
Fingerprint digest_of(Communicator& comm, ThreadPool& pool, const ShardedState& state, const Cursor& at,
                      SnapshotMode mode = SnapshotMode::copy) {
    StateSnapshot snapshot(comm, pool, state, mode);
    snapshot.take();
    snapshot.wait_for_tails();
    const auto all = comm.gather(encode_report({{}, snapshot.leaves(), {}}), Rank{0});
    std::vector<StateLeaves> leaves;
    for (const auto& bytes : all) leaves.push_back(decode_report(bytes).leaves);
    Fingerprint digest;
    if (comm.rank().value == 0) digest = state_digest_of_leaves(at, leaves);
    comm.broadcast(std::as_writable_bytes(std::span(digest.bytes)), Rank{0});
    return digest;
}

void expect_as_in_a_world_of_one(const StateLayout& layout) {
    Communicator& comm = test_communicator();
    ThreadPool pool(1);
    const auto alone = make_serial_communicator();
    ShardedState serial(*alone, pool, layout);
    const std::vector<double> expected_norms = three_steps(serial, layout.size());
    const Fingerprint expected =
        state_digest(cursor(), root_of(serial.weights()), root_of(serial.adam_m()), root_of(serial.adam_v()));
    EXPECT_EQ(digest_of(*alone, pool, serial, cursor()), expected);

    ShardedState state(comm, pool, layout);
    EXPECT_EQ(three_steps(state, layout.size()), expected_norms);
    EXPECT_TRUE(bits_of(state.weights()) == bits_of(serial.weights()));
    const StateSlice slice = state.slice();
    const auto part = [&](std::span<const float> all) {
        return bits_of(all.subspan(slice.begin, slice.size()));
    };
    EXPECT_TRUE(bits_of(state.adam_m()) == part(serial.adam_m()));
    EXPECT_TRUE(bits_of(state.adam_v()) == part(serial.adam_v()));
    EXPECT_TRUE(bits_of(state.slice_weights()) == part(serial.weights()));
    EXPECT_EQ(digest_of(comm, pool, state, cursor()), expected);
    EXPECT_EQ(digest_of(comm, pool, state, cursor(), SnapshotMode::borrow), expected);
}

TEST(ShardedStateTest, AStateOfSeveralLeavesIsTheSameForEveryWorldSize) {
    const ModelConfig config = small_gpt2(64, 10000);
    ASSERT_GT(StateLayout(config).size(), 2 * state_leaf_elements);
    expect_as_in_a_world_of_one(StateLayout(config));
}

TEST(ShardedStateTest, SlicesOfWholeLeavesAreTheSameStateToo) {
    const auto world = static_cast<std::size_t>(test_communicator().size().value);
    const std::size_t rest = StateLayout(small_gpt2(64, 64)).size() - state_block;
    const std::size_t elements = 16 * world * state_leaf_elements + 3 * state_block;
    const StateLayout layout(small_gpt2(64, (elements - rest) / 64));
    ASSERT_EQ(layout.size(), elements);
    expect_as_in_a_world_of_one(layout);
    ThreadPool pool(1);
    ShardedState state(test_communicator(), pool, layout);
    StateSnapshot snapshot(test_communicator(), pool, state, SnapshotMode::copy);
    snapshot.take();
    EXPECT_FALSE(snapshot.awaits_tails()) << "no rank needs another's elements";
}

TEST(ShardedStateTest, AStateOfLessThanALeafIsTheSameForEveryWorldSize) {
    expect_as_in_a_world_of_one(StateLayout(small_gpt2(8, 30)));
}

TEST(ShardedStateTest, ALeafsEndIsNotASlicesEnd) {
    // One block more than a leaf holds, and one less.
    const std::size_t rest = StateLayout(small_gpt2(64, 64)).size() - state_block;
    for (const std::size_t elements :
         {state_leaf_elements + state_block, state_leaf_elements - state_block}) {
        const ModelConfig config = small_gpt2(64, (elements - rest) / 64);
        ASSERT_EQ(StateLayout(config).size(), elements);
        expect_as_in_a_world_of_one(StateLayout(config));
    }
}

TEST(ShardedStateTest, RanksWithoutABlockOfTheStateChangeNothing) {
    // Of four ranks, the first and the third have none; the second begins the leaf that the fourth ends.
    const StateLayout whole(small_gpt2(8, 30));
    for (const std::size_t blocks : {std::size_t{1}, std::size_t{2}}) {
        const auto first = whole.tensors().first(blocks);
        const StateLayout layout(std::vector<TensorSpec>(first.begin(), first.end()));
        ASSERT_EQ(layout.size(), blocks * state_block);
        expect_as_in_a_world_of_one(layout);
    }
}

TEST(ShardedStateTest, TheDigestSeesEveryPart) {
    Communicator& comm = test_communicator();
    ThreadPool pool(1);
    const StateLayout layout(small_gpt2(8, 30));
    ShardedState state(comm, pool, layout);
    three_steps(state, layout.size());
    const Fingerprint before = digest_of(comm, pool, state, cursor());
    Cursor other = cursor();
    other.targets_seen += 1;
    EXPECT_NE(digest_of(comm, pool, state, other), before);
    if (comm.rank().value == comm.size().value - 1) state.weights()[layout.size() - 1] += 1.0F;
    EXPECT_NE(digest_of(comm, pool, state, cursor()), before) << "the last element of the last rank";
}

TEST(ShardedStateTest, AnUpdateIsAdamWInDouble) {
    Communicator& comm = test_communicator();
    ThreadPool pool(1);
    const StateLayout layout(small_gpt2(8, 30));
    ShardedState state(comm, pool, layout);
    state.initialize(5);
    const std::vector<float> before(state.weights().begin(), state.weights().end());
    const std::vector<double> norms = three_steps(state, layout.size());
    const OptimizerSettings o = settings();
    std::vector<std::vector<float>> gradients;
    for (std::uint64_t step = 0; step < 3; ++step) gradients.push_back(gradient_of(layout.size(), step));
    for (const TensorSpec& tensor : layout.tensors()) {
        for (std::size_t i = tensor.offset; i < tensor.offset + tensor.elements(); i += 7) {
            double w = static_cast<double>(before[i]);
            double m = 0, v = 0;
            for (std::uint64_t step = 0; step < 3; ++step) {
                const double g =
                    static_cast<double>(gradients[step][i]) * std::min(1.0, o.clip_norm / norms[step]);
                const auto t = static_cast<double>(step + 1);
                m = o.beta1 * m + (1 - o.beta1) * g;
                v = o.beta2 * v + (1 - o.beta2) * g * g;
                const double direction =
                    m / (1 - std::pow(o.beta1, t)) / (std::sqrt(v / (1 - std::pow(o.beta2, t))) + o.epsilon);
                w -= learning_rate_at(o, step) * (direction + (tensor.matrix ? o.weight_decay * w : 0.0));
            }
            ASSERT_NEAR(static_cast<double>(state.weights()[i]), w, 1e-6) << tensor.name << ", element " << i;
        }
    }
}

TEST(ShardedStateTest, TheNormIsThatOfTheWholeGradient) {
    Communicator& comm = test_communicator();
    ThreadPool pool(1);
    const StateLayout layout(small_gpt2(8, 30));
    ShardedState state(comm, pool, layout);
    const std::vector<float> gradient = gradient_of(layout.size(), 1);
    double squares = 0;
    for (const float g : gradient) squares += static_cast<double>(g) * static_cast<double>(g);
    const double norm = state.gradient_norm(Summed(gradient).slice(state.slice()));
    EXPECT_NEAR(norm, std::sqrt(squares), 1e-9 * norm);
}

}  // namespace
}  // namespace lockstep
