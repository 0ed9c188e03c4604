#include "kernels/speed_probe.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

namespace lockstep {
namespace {

using Form = GemmShape::Form;

TEST(FmaRateTest, RunsWithEveryInstructionSetOfThisMachine) {
    ThreadPool pool(2);
    for (const KernelIsa isa : {KernelIsa::scalar, KernelIsa::avx2, KernelIsa::avx512}) {
        if (!kernel_isa_supported(isa)) continue;
        const double rate = measure_fma_rate(pool, isa, 0);
        EXPECT_TRUE(std::isfinite(rate) && rate > 0) << name_of(isa);
    }
}

// A probe that computed something else would be no measure of the product.
TEST(ProductProbeTest, PlainSgemmIsTheSameProduct) {
    ThreadPool pool(3);
    const Gemm gemm(pool, GemmBackend::reference, {});
    for (const Form form : {Form::nt, Form::nn, Form::tn}) {
        for (const auto& [m, n] :
             {std::pair<std::size_t, std::size_t>{70, 131}, {131, 70}, {1, 40}, {40, 1}}) {
            const GemmShape shape{form, m, n, 37};
            ProductProbe probe({&shape, 1});
            probe.multiply(gemm, shape);
            const std::vector<float> expected(probe.result().begin(), probe.result().end());
            for (const SgemmSplit split : {SgemmSplit::our_pool, SgemmSplit::openblas}) {
                ProductProbe other({&shape, 1});
                other.sgemm(pool, shape, split);
                for (std::size_t i = 0; i < expected.size(); ++i) {
                    ASSERT_NEAR(other.result()[i], expected[i], 1e-4F * std::abs(expected[i]) + 1e-6F)
                        << m << "x" << n << " at " << i;
                }
            }
        }
    }
}

TEST(WaitUntilIdleTest, WaitsForThreadsThatSpin) {
    // Four, so that one computes at any moment also where other programs want the cores.
    std::atomic<int> spinning{0}, done{0};
    std::vector<std::thread> spinners;
    for (int i = 0; i < 4; ++i) {
        spinners.emplace_back([&] {
            const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(150);
            ++spinning;
            while (std::chrono::steady_clock::now() < end) {
            }
            ++done;
        });
    }
    while (spinning < 4) std::this_thread::yield();
    EXPECT_TRUE(wait_until_idle());
    EXPECT_EQ(done, 4);
    for (std::thread& spinner : spinners) spinner.join();
}

TEST(ProductProbeTest, CountsTwoOperationsATerm) {
    EXPECT_EQ(flop_of({Form::nn, 3, 5, 7}), 2.0 * 3 * 5 * 7);
}

}  // namespace
}  // namespace lockstep
