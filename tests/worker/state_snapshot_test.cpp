#include "worker/state_snapshot.h"

#include <gtest/gtest.h>

#include <cstddef>

#include "kernels/optimizer.h"

namespace lockstep {
namespace {

TEST(StateSnapshotTest, OnlyCopiesTakeMemory) {
    const std::size_t elements = 6 * state_block;
    EXPECT_EQ(StateSnapshot::bytes(elements, WorldSize{2}, SnapshotMode::copy),
              3 * 3 * state_block * sizeof(float));
    EXPECT_EQ(StateSnapshot::bytes(elements, WorldSize{2}, SnapshotMode::borrow), 0U);
}

}  // namespace
}  // namespace lockstep
