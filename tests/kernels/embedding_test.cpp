#include "kernels/embedding.h"

#include "kernels/reference/embedding.h"
#include "tests/kernels/kernel_checks.h"

namespace lockstep {
namespace {

TEST(EmbeddingTest, ForwardCopiesOrAddsRows) {
    ThreadPool pool(2);
    const std::vector<float> table = normals(5 * 19, 1);
    const std::vector<std::uint32_t> ids = {4, 0, 4, 2};
    std::vector<float> out(4 * 19, 1.0F);
    embedding_forward(pool, ids, {table.data(), 5, 19}, {out.data(), 4, 19}, Accumulate::no);
    for (std::size_t t = 0; t < 4; ++t) {
        for (std::size_t i = 0; i < 19; ++i) ASSERT_EQ(out[t * 19 + i], table[ids[t] * 19 + i]);
    }
    embedding_forward(pool, ids, {table.data(), 5, 19}, {out.data(), 4, 19}, Accumulate::yes);
    for (std::size_t t = 0; t < 4; ++t) {
        for (std::size_t i = 0; i < 19; ++i) ASSERT_EQ(out[t * 19 + i], 2 * table[ids[t] * 19 + i]);
    }
}

TEST(EmbeddingTest, BackwardSumsInTokenOrder) {
    constexpr std::size_t width = 70;
    std::vector<std::uint32_t> ids;
    for (std::uint32_t t = 0; t < 40; ++t) ids.push_back(t * t % 7);
    const std::vector<float> d_out = normals(ids.size() * width, 1);
    std::vector<float> expected(8 * width, 0.0F);
    for (std::size_t t = 0; t < ids.size(); ++t) {
        for (std::size_t i = 0; i < width; ++i) expected[ids[t] * width + i] += d_out[t * width + i];
    }
    expect_same_bits_everywhere([&](ThreadPool& pool) {
        std::vector<float> d_table(8 * width, 5.0F);
        embedding_backward(pool, ids, {d_out.data(), ids.size(), width}, {d_table.data(), 8, width},
                           Accumulate::no);
        EXPECT_EQ(bits_of(d_table), bits_of(expected));
        embedding_backward(pool, ids, {d_out.data(), ids.size(), width}, {d_table.data(), 8, width},
                           Accumulate::yes);
        return d_table;
    });
}

TEST(EmbeddingTest, WithoutTokensTheGradientIsZero) {
    ThreadPool pool(1);
    std::vector<float> d_table(3 * 4, 5.0F);
    embedding_backward(pool, {}, {nullptr, 0, 4}, {d_table.data(), 3, 4}, Accumulate::no);
    EXPECT_EQ(d_table, std::vector<float>(12, 0.0F));
}

TEST(RotaryTableTest, MatchesTheDefinition) {
    ThreadPool pool(2);
    for (const std::size_t head_dim : Sizes{2, 16, 64, 80}) {
        const AttentionShape shape{4, 2, head_dim};
        const std::vector<std::uint32_t> positions = {0, 1, 2, 511, 2047, 3};
        std::vector<float> qkv = normals(positions.size() * shape.qkv_width(), 1);
        std::vector<double> expected = as_doubles(qkv);
        reference::rotate(shape, positions, 10000.0, {expected.data(), positions.size(), shape.qkv_width()});
        RotaryTable(2048, head_dim, 10000.0)
            .rotate(pool, shape, positions, {qkv.data(), positions.size(), shape.qkv_width()});
        EXPECT_LT(largest_error(qkv, expected), 3e-7) << head_dim;
    }
}

TEST(RotaryTableTest, TurningBackUndoesTheTurn) {
    ThreadPool pool(1);
    const AttentionShape shape{2, 1, 32};
    const RotaryTable table(100, 32, 500000.0);
    const std::vector<std::uint32_t> positions = {99, 0, 50};
    const std::vector<float> before = normals(3 * shape.qkv_width(), 1);
    std::vector<float> qkv = before;
    table.rotate(pool, shape, positions, {qkv.data(), 3, shape.qkv_width()});
    EXPECT_NE(qkv, before);
    table.rotate_back(pool, shape, positions, {qkv.data(), 3, shape.qkv_width()});
    EXPECT_LT(largest_error(qkv, as_doubles(before)), 3e-7);
}

TEST(RotaryTableTest, SameBitsForEveryInstructionSetAndThreadCount) {
    const AttentionShape shape{3, 1, 40};
    const RotaryTable table(64, 40, 10000.0);
    std::vector<std::uint32_t> positions;
    for (std::uint32_t t = 0; t < 33; ++t) positions.push_back(t % 20);
    expect_same_bits_everywhere([&](ThreadPool& pool) {
        std::vector<float> qkv = normals(positions.size() * shape.qkv_width(), 1);
        table.rotate(pool, shape, positions, {qkv.data(), positions.size(), shape.qkv_width()});
        return qkv;
    });
}

}  // namespace
}  // namespace lockstep
