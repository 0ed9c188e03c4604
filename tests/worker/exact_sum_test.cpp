#include "worker/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "io/base/philox.h"
#include "io/run/state_digest.h"
#include "kernels/optimizer.h"
#include "kernels/scalar_math.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

constexpr int exponent = 40;
constexpr std::uint64_t packs = 7;

/// A pack's gradient; sizes over many powers of two, so that the order of a float sum would show.
std::vector<float> gradient_of(std::uint64_t pack, std::size_t elements) {
    const Philox random(pack, "test-gradient");
    std::vector<float> gradient(elements);
    for (std::size_t i = 0; i < elements; ++i) {
        const int size = -static_cast<int>(random.below(2 * i, 30));
        const auto digits = static_cast<float>(random.below(2 * i + 1, 1U << 24U)) - 8388608.0F;
        gradient[i] = std::ldexp(digits, size - 20);
    }
    return gradient;
}

/// The same sum without ranks, packs in a row: integers rounded to nearest even, added, and turned back once.
std::vector<float> serial_sum(std::size_t elements, std::uint64_t num_packs) {
    std::vector<std::int64_t> sum(elements, 0);
    for (std::uint64_t pack = 0; pack < num_packs; ++pack) {
        const std::vector<float> gradient = gradient_of(pack, elements);
        for (std::size_t i = 0; i < elements; ++i)
            sum[i] += std::llrint(std::ldexp(static_cast<double>(gradient[i]), exponent));
    }
    std::vector<float> out(elements);
    for (std::size_t i = 0; i < elements; ++i) out[i] = std::ldexp(static_cast<float>(sum[i]), -exponent);
    return out;
}

/// Whom a pack is dealt to.
using Deal = std::function<int(std::uint64_t pack, int world)>;

std::vector<float> slice_sum(ExactSum& sum, Communicator& comm, std::size_t elements, std::uint64_t num_packs,
                             const Deal& deal, bool backwards) {
    sum.clear();
    std::vector<std::uint64_t> own;
    for (std::uint64_t i = 0; i < num_packs; ++i) {
        const std::uint64_t pack = backwards ? num_packs - 1 - i : i;
        if (deal(pack, comm.size().value) == comm.rank().value) own.push_back(pack);
    }
    for (const std::uint64_t pack : own) {
        if (pack == own.back()) sum.begin_last_pack();
        // Out of order, as tensors of a model come, and not where chunks end.
        const std::vector<float> gradient = gradient_of(pack, elements);
        const std::size_t cut[] = {0, elements / 3, elements / 2, elements};
        for (const std::size_t part : std::array<std::size_t, 3>{2, 0, 1}) {
            const ExactFlags flags =
                sum.add(cut[part], std::span(gradient).subspan(cut[part], cut[part + 1] - cut[part]),
                        exponent, num_packs);
            EXPECT_FALSE(flags.overflow || flags.non_finite);
        }
        sum.end_pack();
    }
    std::vector<float> slice(sum.slice().size(), 7.0F);
    ThreadPool pool(1);
    exact_to_float(pool, sum.reduce_scatter(exponent).sum, exponent, slice);
    return slice;
}

void expect_same_bits(std::span<const float> found, std::span<const float> expected, const char* what) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(found[i]), std::bit_cast<std::uint32_t>(expected[i]))
            << what << ", element " << i;
    }
}

// With 1 block most ranks own nothing; with 11 slices differ in size.
TEST(ExactSumTest, IsTheExactSumHoweverPacksAreDealt) {
    Communicator& comm = test_communicator();
    ThreadPool pool(1);
    for (const std::size_t blocks : {std::size_t{1}, std::size_t{2}, std::size_t{11}}) {
        const std::size_t elements = blocks * state_block;
        const std::vector<float> expected = serial_sum(elements, packs);
        ExactSum sum(comm, pool, elements);
        const StateSlice slice = sum.slice();
        const auto mine = std::span(expected).subspan(slice.begin, slice.size());
        const auto in_turn = [](std::uint64_t pack, int world) { return static_cast<int>(pack) % world; };
        const auto one_rank = [](std::uint64_t, int world) { return world - 1; };
        const auto shuffled = [](std::uint64_t pack, int world) {
            return static_cast<int>((pack * 5 + 2) % 7) % world;
        };
        expect_same_bits(slice_sum(sum, comm, elements, packs, in_turn, false), mine, "in turn");
        expect_same_bits(slice_sum(sum, comm, elements, packs, in_turn, true), mine, "in turn, backwards");
        expect_same_bits(slice_sum(sum, comm, elements, packs, one_rank, false), mine, "all on one rank");
        expect_same_bits(slice_sum(sum, comm, elements, packs, shuffled, false), mine, "shuffled");
    }
}

/// Three tensors with their padding, in chunks of more than one to a slice, given up and then summed.
TEST(ExactSumTest, WhatWasDiscardedLeavesNothingBehind) {
    Communicator& comm = test_communicator();
    ThreadPool pool(1);
    const std::size_t tensor = 3 * (std::size_t{1} << 21U) + 5 * state_block;
    const std::size_t elements = 3 * tensor;
    const std::size_t used = tensor - 100;
    const std::vector<StateSlice> padding = {
        {used, tensor}, {tensor + used, 2 * tensor}, {2 * tensor + used, elements}};
    ExactSum sum(comm, pool, elements, padding);
    const auto value = [&](int rank, std::size_t i, int attempt) {
        return static_cast<float>(static_cast<int>(i % 1001) - 500) * static_cast<float>(rank + 1 + attempt);
    };
    const int me = comm.rank().value;
    std::vector<float> gradient(tensor);
    for (int attempt = 0; attempt < 2; ++attempt) {
        sum.clear();
        sum.begin_last_pack();
        for (const std::size_t t : std::array<std::size_t, 3>{2, 0, 1}) {
            // The first attempt breaks off on one rank.
            if (attempt == 0 && me == 0 && t == 0) break;
            for (std::size_t i = 0; i < used; ++i) gradient[i] = value(me, t * tensor + i, attempt);
            sum.add(t * tensor, std::span(gradient).first(used), exponent, 1);
        }
        sum.end_pack();
        if (attempt == 0) sum.discard();
    }
    const StateSlice slice = sum.slice();
    std::vector<float> found(slice.size());
    exact_to_float(pool, sum.reduce_scatter(exponent).sum, exponent, found);
    for (std::size_t i = slice.begin; i < slice.end; ++i) {
        double expected = 0;
        for (int rank = 0; rank < comm.size().value && i % tensor < used; ++rank) {
            expected += static_cast<double>(value(rank, i, 1));
        }
        ASSERT_EQ(static_cast<double>(found[i - slice.begin]), expected) << "element " << i;
    }
}

TEST(ExactSumTest, AStepWithoutAnyGradientIsZero) {
    Communicator& comm = test_communicator();
    ThreadPool pool(1);
    const std::size_t elements = 3 * state_block;
    ExactSum sum(comm, pool, elements);
    const auto to_first = [](std::uint64_t, int) { return 0; };
    slice_sum(sum, comm, elements, 2, to_first, false);
    const std::vector<float> slice = slice_sum(sum, comm, elements, 0, to_first, false);
    expect_same_bits(slice, std::vector<float>(slice.size(), 0.0F), "nothing added");
}

TEST(ExactSumTest, SlicesCoverTheStateInRankOrder) {
    Communicator& comm = test_communicator();
    constexpr std::size_t blocks_per_leaf = state_leaf_elements / state_block;
    const auto world = static_cast<std::size_t>(comm.size().value);
    for (const std::size_t blocks : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{170},
                                     16 * world * blocks_per_leaf - 1, 16 * world * blocks_per_leaf + 3}) {
        const bool has_many_leaves = blocks / world >= 16 * blocks_per_leaf;
        std::size_t next = 0;
        for (int rank = 0; rank < comm.size().value; ++rank) {
            const StateSlice slice = state_slice(blocks * state_block, Rank{rank}, comm.size());
            EXPECT_EQ(slice.begin, next);
            EXPECT_LE(slice.begin, slice.end);
            EXPECT_EQ(slice.size() % state_block, 0U);
            if (rank + 1 < comm.size().value) {
                const std::size_t piece = has_many_leaves ? state_leaf_elements : state_block;
                const std::size_t mean = blocks * state_block / world;
                EXPECT_LT(slice.size(), mean + piece);
                EXPECT_GT(slice.size() + piece, mean);
            }
            if (has_many_leaves) {
                EXPECT_EQ(slice.begin % state_leaf_elements, 0U);
            }
            next = slice.end;
        }
        EXPECT_EQ(next, blocks * state_block);
    }
}

TEST(ExactSumTest, SaysWhatDoesNotFit) {
    Communicator& comm = test_communicator();
    ThreadPool pool(1);
    ExactSum sum(comm, pool, state_block);
    std::vector<float> gradient(state_block, 0.0F);
    gradient[100] = std::ldexp(1.0F, 62 - exponent);
    EXPECT_TRUE(sum.add(0, gradient, exponent, 1).overflow);
    sum.clear();
    gradient[100] = std::ldexp(1.0F, 61 - exponent);
    EXPECT_FALSE(sum.add(0, gradient, exponent, 1).overflow);
    sum.clear();
    EXPECT_TRUE(sum.add(0, gradient, exponent, 2).overflow);
    sum.clear();
    gradient[100] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(sum.add(0, gradient, exponent, 1).non_finite);
}

}  // namespace
}  // namespace lockstep
