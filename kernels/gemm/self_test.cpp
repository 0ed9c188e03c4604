#include "kernels/gemm/self_test.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>

#include "io/base/philox.h"

namespace lockstep {

namespace {

// Shapes of every self-test: small and odd ones, and one on each side of every edge of the recipe.
constexpr std::array<GemmShape, 8> always_tested{{{GemmShape::Form::nt, 1, 1, 1},
                                                  {GemmShape::Form::nn, 3, 5, 7},
                                                  {GemmShape::Form::tn, 13, 33, 258},
                                                  {GemmShape::Form::nt, 64, 97, 300},
                                                  {GemmShape::Form::nt, 101, 515, 256},
                                                  {GemmShape::Form::nn, 96, 131, 200},
                                                  {GemmShape::Form::tn, 133, 190, 513},
                                                  {GemmShape::Form::nn, 17, 64, 64}}};

// Large enough to take the same paths, small enough for milliseconds in all.
GemmShape capped(GemmShape shape) {
    return {shape.form, std::min<std::size_t>(shape.m, 100), std::min<std::size_t>(shape.n, 600),
            std::min<std::size_t>(shape.k, 600)};
}

// In [-1, 1) with 24 bits: every sum rounds, so another order shows.
std::vector<float> random_values(std::size_t count) {
    const Philox random(0, "gemm-self-test");
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; i += 4) {
        const PhiloxCounter words = random.block(i / 4);
        for (std::size_t w = 0; w < 4 && i + w < count; ++w) {
            values[i + w] =
                static_cast<float>(static_cast<std::int32_t>(words[w] >> 8U) - (1 << 23)) * 0x1p-23f;
        }
    }
    return values;
}

// Compare with the scalar loop: all rows of the first, the middle and the last columns.
// @return what differs, or nothing.
std::optional<std::string> failure_on(ThreadPool& pool, GemmKernel kernel, GemmKernel contract,
                                      const GemmShape& shape, std::span<const float> values) {
    const bool a_transposed = shape.form == GemmShape::Form::tn;
    const bool b_transposed = shape.form == GemmShape::Form::nt;
    const float* const a = values.data();
    const float* const b = values.data() + values.size() - shape.n * shape.k;
    std::vector<float> c(shape.m * shape.n), expected(c.size());
    const auto problem = [&](std::vector<float>& out) {
        return problem_of(
            shape.form,
            a_transposed ? ConstMatrixView(a, shape.k, shape.m) : ConstMatrixView(a, shape.m, shape.k),
            b_transposed ? ConstMatrixView(b, shape.n, shape.k) : ConstMatrixView(b, shape.k, shape.n),
            MatrixView(out.data(), shape.m, shape.n), Accumulate::no);
    };
    multiply_parallel(pool, kernel, problem(c));

    constexpr std::size_t columns = 16;
    for (const std::size_t wanted : {std::size_t{0}, shape.n / 2, shape.n}) {
        const std::size_t begin = std::min(wanted, shape.n - std::min(columns, shape.n));
        const std::size_t end = std::min(begin + columns, shape.n);
        contract(part_of(problem(expected), 0, shape.m, begin, end, 0, shape.k));
        for (std::size_t i = 0; i < shape.m; ++i) {
            for (std::size_t j = begin; j < end; ++j) {
                const float found = c[i * shape.n + j];
                const float wanted_value = expected[i * shape.n + j];
                if (std::bit_cast<std::uint32_t>(found) == std::bit_cast<std::uint32_t>(wanted_value))
                    continue;
                char difference[96];
                std::snprintf(difference, sizeof difference, ", element (%zu, %zu): expected %a, found %a", i,
                              j, static_cast<double>(wanted_value), static_cast<double>(found));
                return text_of(shape) + difference;
            }
        }
    }
    return std::nullopt;
}

}  // namespace

GemmSelfTest::GemmSelfTest(std::span<const GemmShape> shapes)
    : shapes_(always_tested.begin(), always_tested.end()) {
    for (const GemmShape& shape : shapes) {
        const GemmShape candidate = capped(shape);
        if (candidate.m == 0 || candidate.n == 0 || candidate.k == 0) continue;
        if (std::find(shapes_.begin(), shapes_.end(), candidate) == shapes_.end()) {
            shapes_.push_back(candidate);
        }
    }
    std::size_t most_values = 0;
    for (const GemmShape& shape : shapes_)
        most_values = std::max(most_values, std::max(shape.m, shape.n) * shape.k);
    values_ = random_values(most_values);
    tiny_values_.resize(values_.size());
    std::transform(values_.begin(), values_.end(), tiny_values_.begin(),
                   [](float x) { return x * 0x1p-62F; });
}

std::optional<std::string> GemmSelfTest::failure_of(ThreadPool& pool, GemmKernel kernel,
                                                    GemmKernel contract) const {
    for (const GemmShape& shape : shapes_) {
        if (auto failure = failure_on(pool, kernel, contract, shape, values_)) return failure;
    }
    // Sums on both sides of the least normal number: is it flushed?
    for (const GemmShape& shape : std::span(always_tested).first(3)) {
        if (auto failure = failure_on(pool, kernel, contract, shape, tiny_values_)) return failure;
    }
    return std::nullopt;
}

}  // namespace lockstep
