#include "kernels/attention.h"

#include <thread>

#include "io/base/process_memory.h"
#include "kernels/reference/attention.h"
#include "tests/kernels/kernel_checks.h"
#include "tests/support/sanitizers.h"

namespace lockstep {
namespace {

constexpr std::size_t head_dims[] = {1, 16, 32, 64, 80, 128};

std::vector<std::int32_t> running_sum(std::span<const std::size_t> lengths) {
    std::vector<std::int32_t> sum{0};
    for (const std::size_t n : lengths) sum.push_back(sum.back() + static_cast<std::int32_t>(n));
    return sum;
}

/// One forward and backward pass over a pack.
struct Pass {
    AttentionShape shape;
    std::size_t tokens = 0;
    std::vector<float> qkv, d_out, out, softmax, d_qkv;

    Pass(ThreadPool& pool, const AttentionShape& s, std::span<const std::size_t> lengths,
         std::vector<float> qkv_in, std::vector<float> d_out_in)
        : shape(s), qkv(std::move(qkv_in)), d_out(std::move(d_out_in)) {
        const std::vector<std::int32_t> cu_seqlens = running_sum(lengths);
        tokens = static_cast<std::size_t>(cu_seqlens.back());
        out.assign(tokens * shape.query_width(), -1);
        softmax.assign(2 * tokens * shape.num_heads, -1);
        d_qkv.assign(tokens * shape.qkv_width(), -1);
        attention_forward(pool, shape, cu_seqlens, {qkv.data(), tokens, shape.qkv_width()},
                          {out.data(), tokens, shape.query_width()}, softmax);
        attention_backward(pool, shape, cu_seqlens, {qkv.data(), tokens, shape.qkv_width()},
                           {d_out.data(), tokens, shape.query_width()}, softmax,
                           {d_qkv.data(), tokens, shape.qkv_width()});
    }

    std::vector<float> everything() const {
        std::vector<float> all = out;
        all.insert(all.end(), softmax.begin(), softmax.end());
        all.insert(all.end(), d_qkv.begin(), d_qkv.end());
        return all;
    }

    /// (num_heads · T) of each query's scores.
    std::vector<float> log_sum_exp() const {
        const std::size_t n = softmax.size() / 2;
        std::vector<float> all(n);
        for (std::size_t i = 0; i < n; ++i) all[i] = softmax[i] - std::log(softmax[n + i]);
        return all;
    }
};

Pass random_pass(ThreadPool& pool, const AttentionShape& shape, std::span<const std::size_t> lengths,
                 float scale = 1.0F) {
    std::size_t tokens = 0;
    for (const std::size_t n : lengths) tokens += n;
    return Pass(pool, shape, lengths, normals(tokens * shape.qkv_width(), 1, scale),
                normals(tokens * shape.query_width(), 2));
}

struct Expected {
    std::vector<double> out, log_sum_exp;
};
Expected reference_pass(const AttentionShape& shape, std::span<const std::size_t> lengths,
                        std::span<const double> qkv) {
    const std::vector<std::int32_t> cu_seqlens = running_sum(lengths);
    const auto tokens = static_cast<std::size_t>(cu_seqlens.back());
    Expected e{std::vector<double>(tokens * shape.query_width()),
               std::vector<double>(tokens * shape.num_heads)};
    reference::attention(shape, cu_seqlens, {qkv.data(), tokens, shape.qkv_width()},
                         {e.out.data(), tokens, shape.query_width()}, e.log_sum_exp);
    return e;
}

// The first of all: what other tests freed is resident already, and taken again it would not show.
TEST(AttentionTest, ScratchIsWhatAThreadTakes) {
    const AttentionShape shape{1, 1, 64, 16384};
    const std::size_t said = attention_scratch_bytes(shape, 1);
    EXPECT_EQ(attention_scratch_bytes(shape, 3) - attention_scratch_bytes(shape, 2),
              attention_scratch_bytes(shape, 2) - said);
    std::size_t before = 0, after = 0;
    // A thread of its own, which has no scratch yet.
    std::thread([&] {
        ThreadPool pool(1);
        before = resident_bytes();
        const std::size_t lengths[] = {5};
        random_pass(pool, shape, lengths);
        after = resident_bytes();
    }).join();
    ASSERT_GT(after, before);
    EXPECT_GT(static_cast<double>(after - before), 0.9 * static_cast<double>(said));
    EXPECT_LT(static_cast<double>(after - before),
              (1.3 * static_cast<double>(said) + 4e6) * resident_per_byte);
}

TEST(AttentionTest, MatchesTheFullSoftmax) {
    ThreadPool pool(2);
    for (const std::size_t head_dim : head_dims) {
        for (const std::size_t tokens : Sizes{1, 63, 64, 65, 200}) {
            const AttentionShape shape{2, 1, head_dim};
            const std::size_t lengths[] = {tokens};
            const Pass pass = random_pass(pool, shape, lengths);
            const Expected expected = reference_pass(shape, lengths, as_doubles(pass.qkv));
            EXPECT_LT(largest_error(pass.out, expected.out), 3e-6) << head_dim << " × " << tokens;
            EXPECT_LT(largest_error(pass.log_sum_exp(), expected.log_sum_exp), 2e-6)
                << head_dim << " × " << tokens;
        }
    }
}

TEST(AttentionTest, MatchesTheFullSoftmaxBeyondOneBlockOfQueries) {
    ThreadPool pool(2);
    const AttentionShape shape{1, 1, 16};
    const std::size_t lengths[] = {1100};
    const Pass pass = random_pass(pool, shape, lengths);
    const Expected expected = reference_pass(shape, lengths, as_doubles(pass.qkv));
    EXPECT_LT(largest_error(pass.out, expected.out), 3e-6);
}

TEST(AttentionTest, GradientMatchesCentralDifferences) {
    ThreadPool pool(1);
    for (const std::size_t head_dim : Sizes{1, 6, 16, 80}) {
        for (const std::vector<std::size_t>& lengths :
             {std::vector<std::size_t>{1, 5, 18}, std::vector<std::size_t>{70}}) {
            const AttentionShape shape{4, 2, head_dim};
            const Pass pass = random_pass(pool, shape, lengths, 0.7F);
            const auto loss = [&](std::span<const double> qkv) {
                return dot(reference_pass(shape, lengths, qkv).out, pass.d_out);
            };
            expect_gradient(loss, pass.qkv, pass.d_qkv, 30);
        }
    }
}

TEST(AttentionTest, SameBitsForEveryInstructionSetAndThreadCount) {
    for (const std::size_t head_dim : head_dims) {
        const AttentionShape shape{2, 1, head_dim};
        std::vector<std::size_t> lengths{65, 1, 150, 63};
        if (head_dim == 16) lengths.push_back(530);  // More than one block of queries.
        const auto tokens = static_cast<std::size_t>(running_sum(lengths).back());
        const std::vector<float> qkv = normals(tokens * shape.qkv_width(), 1);
        const std::vector<float> d_out = normals(tokens * shape.query_width(), 2);
        expect_same_bits_everywhere(
            [&](ThreadPool& pool) { return Pass(pool, shape, lengths, qkv, d_out).everything(); });
    }
}

TEST(AttentionTest, PackedEqualsOneByOneAtAnyOffset) {
    ThreadPool pool(2);
    for (const std::size_t head_dim : head_dims) {
        const AttentionShape shape{2, 2, head_dim};
        for (const std::vector<std::size_t>& lengths :
             {std::vector<std::size_t>{1, 63, 64, 65, 200},
              std::vector<std::size_t>{200, 65, 7, 64, 63, 1, 17}}) {
            const Pass packed = random_pass(pool, shape, lengths);
            std::size_t begin = 0;
            for (const std::size_t n : lengths) {
                const auto rows = [&](const std::vector<float>& all, std::size_t width) {
                    const auto* const p = all.data() + begin * width;
                    return std::vector<float>(p, p + n * width);
                };
                const std::size_t alone_length[] = {n};
                const Pass alone(pool, shape, alone_length, rows(packed.qkv, shape.qkv_width()),
                                 rows(packed.d_out, shape.query_width()));
                EXPECT_EQ(bits_of(alone.out), bits_of(rows(packed.out, shape.query_width()))) << n;
                EXPECT_EQ(bits_of(alone.d_qkv), bits_of(rows(packed.d_qkv, shape.qkv_width()))) << n;
                for (std::size_t row = 0; row < 2 * shape.num_heads; ++row) {
                    const float* const p = packed.softmax.data() + row * packed.tokens + begin;
                    EXPECT_EQ(bits_of({alone.softmax.data() + row * n, n}), bits_of({p, n})) << n;
                }
                begin += n;
            }
        }
    }
}

TEST(AttentionTest, LaterTokensNeverChangeEarlierOutputs) {
    ThreadPool pool(1);
    const AttentionShape shape{2, 1, 32};
    const std::size_t whole[] = {200};
    const Pass all = random_pass(pool, shape, whole);
    for (const std::size_t tokens : Sizes{1, 15, 16, 17, 64, 130}) {
        const std::size_t lengths[] = {tokens};
        const Pass first = random_pass(pool, shape, lengths);
        const std::vector<std::uint32_t> expected = bits_of({all.out.data(), tokens * shape.query_width()});
        EXPECT_EQ(bits_of(first.out), expected) << tokens;
    }
}

TEST(AttentionTest, LargeScoresStayFinite) {
    ThreadPool pool(1);
    const AttentionShape shape{2, 2, 64};
    const std::size_t lengths[] = {130, 3};
    const Pass pass = random_pass(pool, shape, lengths, 60.0F);
    const Expected expected = reference_pass(shape, lengths, as_doubles(pass.qkv));
    for (const float x : pass.everything()) ASSERT_TRUE(std::isfinite(x));
    EXPECT_LT(largest_error(pass.log_sum_exp(), expected.log_sum_exp), 1e-5);
    // Scores in the thousands are rounded to 2e-4, and so is the softmax.
    EXPECT_LT(largest_error(pass.out, expected.out), 5e-3);
}

TEST(AttentionTest, NotANumberStaysInItsSegment) {
    ThreadPool pool(1);
    const AttentionShape shape{2, 2, 16};
    const std::size_t lengths[] = {20, 40, 20};
    Pass clean = random_pass(pool, shape, lengths);
    std::vector<float> qkv = clean.qkv;
    qkv[25 * shape.qkv_width() + shape.query_width()] = std::nanf("");
    const Pass poisoned(pool, shape, lengths, qkv, clean.d_out);
    const std::size_t width = shape.qkv_width();
    EXPECT_EQ(bits_of({poisoned.d_qkv.data(), 20 * width}), bits_of({clean.d_qkv.data(), 20 * width}));
    EXPECT_EQ(bits_of({poisoned.d_qkv.data() + 60 * width, 20 * width}),
              bits_of({clean.d_qkv.data() + 60 * width, 20 * width}));
    EXPECT_TRUE(std::isnan(poisoned.out[59 * shape.query_width()]));
}

TEST(AttentionTest, WritesOnlyItsColumns) {
    ThreadPool pool(1);
    const AttentionShape shape{2, 1, 6};
    const std::size_t lengths[] = {9, 70};
    const Pass dense = random_pass(pool, shape, lengths);
    const std::vector<std::int32_t> cu_seqlens = running_sum(lengths);
    const std::size_t tokens = dense.tokens;
    const std::size_t wide = shape.qkv_width() + 3;
    std::vector<float> qkv(tokens * wide, 7), out(tokens * wide, 7), d_qkv(tokens * wide, 7),
        softmax(tokens * 4);
    const MatrixView qkv_view(qkv.data(), tokens, shape.qkv_width(), wide);
    const MatrixView out_view(out.data(), tokens, shape.query_width(), wide);
    const MatrixView d_qkv_view(d_qkv.data(), tokens, shape.qkv_width(), wide);
    for (std::size_t t = 0; t < tokens; ++t) {
        std::copy_n(dense.qkv.data() + t * shape.qkv_width(), shape.qkv_width(), qkv_view.row(t));
    }
    attention_forward(pool, shape, cu_seqlens, qkv_view, out_view, softmax);
    attention_backward(pool, shape, cu_seqlens, qkv_view, {dense.d_out.data(), tokens, shape.query_width()},
                       softmax, d_qkv_view);
    for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t i = 0; i < wide; ++i) {
            const bool in_out = i < shape.query_width();
            const bool in_qkv = i < shape.qkv_width();
            ASSERT_EQ(out_view.row(t)[i], in_out ? dense.out[t * shape.query_width() + i] : 7.0F);
            ASSERT_EQ(d_qkv_view.row(t)[i], in_qkv ? dense.d_qkv[t * shape.qkv_width() + i] : 7.0F);
        }
    }
}

TEST(AttentionTest, EmptyPacksAndSegmentsAreLegal) {
    ThreadPool pool(2);
    const AttentionShape shape{2, 1, 16};
    EXPECT_TRUE(random_pass(pool, shape, {}).everything().empty());
    const std::size_t with_empty[] = {0, 5, 0};
    const std::size_t without[] = {5};
    EXPECT_EQ(bits_of(random_pass(pool, shape, with_empty).everything()),
              bits_of(random_pass(pool, shape, without).everything()));
}

}  // namespace
}  // namespace lockstep
