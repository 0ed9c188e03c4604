#include "kernels/speed_probe.h"

#include <cblas.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <thread>

#include "io/base/contract.h"

namespace lockstep {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

// Enough chains to hide the latency of two multiply-add units, few enough for the registers.
constexpr std::size_t num_chains = 12;

// Values near 1 that stay there: no chain grows, dies out or can be computed in advance.
[[gnu::target("avx512f"), gnu::noinline]] float fma_chains_avx512(std::size_t rounds, float x, float y) {
    const __m512 factor = _mm512_set1_ps(x);
    const __m512 addend = _mm512_set1_ps(y);
    __m512 chain[num_chains];
#pragma GCC unroll 12
    for (std::size_t i = 0; i < num_chains; ++i) chain[i] = _mm512_set1_ps(x + static_cast<float>(i));
    for (std::size_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (std::size_t i = 0; i < num_chains; ++i) chain[i] = _mm512_fmadd_ps(chain[i], factor, addend);
    }
    __m512 sum = chain[0];
#pragma GCC unroll 12
    for (std::size_t i = 1; i < num_chains; ++i) sum = _mm512_add_ps(sum, chain[i]);
    return _mm512_cvtss_f32(sum);
}

[[gnu::target("avx2,fma"), gnu::noinline]] float fma_chains_avx2(std::size_t rounds, float x, float y) {
    const __m256 factor = _mm256_set1_ps(x);
    const __m256 addend = _mm256_set1_ps(y);
    __m256 chain[num_chains];
#pragma GCC unroll 12
    for (std::size_t i = 0; i < num_chains; ++i) chain[i] = _mm256_set1_ps(x + static_cast<float>(i));
    for (std::size_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (std::size_t i = 0; i < num_chains; ++i) chain[i] = _mm256_fmadd_ps(chain[i], factor, addend);
    }
    __m256 sum = chain[0];
#pragma GCC unroll 12
    for (std::size_t i = 1; i < num_chains; ++i) sum = _mm256_add_ps(sum, chain[i]);
    return _mm256_cvtss_f32(sum);
}

[[gnu::target("fma"), gnu::noinline]] float fma_chains_scalar(std::size_t rounds, float x, float y) {
    __m128 chain[num_chains];
    const __m128 factor = _mm_set_ss(x);
    const __m128 addend = _mm_set_ss(y);
#pragma GCC unroll 12
    for (std::size_t i = 0; i < num_chains; ++i) chain[i] = _mm_set_ss(x + static_cast<float>(i));
    for (std::size_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (std::size_t i = 0; i < num_chains; ++i) chain[i] = _mm_fmadd_ss(chain[i], factor, addend);
    }
    __m128 sum = chain[0];
#pragma GCC unroll 12
    for (std::size_t i = 1; i < num_chains; ++i) sum = _mm_add_ss(sum, chain[i]);
    return _mm_cvtss_f32(sum);
}

struct FmaLoop {
    float (*run)(std::size_t rounds, float x, float y);
    std::size_t lanes;
};

FmaLoop fma_loop(KernelIsa isa) {
    switch (isa) {
        case KernelIsa::avx512:
            return {fma_chains_avx512, 16};
        case KernelIsa::avx2:
            return {fma_chains_avx2, 8};
        case KernelIsa::scalar:
            break;
    }
    return {fma_chains_scalar, 1};
}

/// One single-threaded call: rows [m_begin, m_end) and columns [n_begin, n_end) of C.
void call_sgemm(const GemmShape& s, const float* a, const float* b, float* c, std::size_t m_begin,
                std::size_t m_end, std::size_t n_begin, std::size_t n_end) {
    const auto as_int = [](std::size_t x) { return static_cast<blasint>(x); };
    const bool a_transposed = s.form == GemmShape::Form::tn;
    const bool b_transposed = s.form == GemmShape::Form::nt;
    cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans,
                b_transposed ? CblasTrans : CblasNoTrans, as_int(m_end - m_begin), as_int(n_end - n_begin),
                as_int(s.k), 1.0F, a + (a_transposed ? m_begin : m_begin * s.k),
                as_int(a_transposed ? s.m : s.k), b + (b_transposed ? n_begin * s.k : n_begin),
                as_int(b_transposed ? s.k : s.n), 0.0F, c + m_begin * s.n + n_begin, as_int(s.n));
}

}  // namespace

double measure_fma_rate(ThreadPool& pool, KernelIsa isa, double seconds) {
    LOCKSTEP_EXPECTS(kernel_isa_supported(isa));
    constexpr std::size_t rounds = 200'000;  // About a millisecond.
    const FmaLoop loop = fma_loop(isa);
    const auto threads = static_cast<std::size_t>(pool.size());
    std::vector<float> results(threads * 16);
    const volatile float factor = 0.999F;
    const volatile float addend = 0.001F;
    const auto run = [&] {
        pool.for_each(threads, [&](std::size_t i) { results[i * 16] = loop.run(rounds, factor, addend); });
    };
    double best = 1e300;
    const auto start = Clock::now();
    do {
        const auto before = Clock::now();
        run();
        best = std::min(best, seconds_since(before));
    } while (seconds_since(start) < seconds);
    return 2.0 * static_cast<double>(rounds * num_chains * loop.lanes * threads) / best;
}

double flop_of(const GemmShape& shape) {
    return 2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) * static_cast<double>(shape.k);
}

ProductProbe::ProductProbe(std::span<const GemmShape> shapes) {
    std::size_t a = 0, b = 0, c = 0;
    for (const GemmShape& shape : shapes) {
        a = std::max(a, shape.m * shape.k);
        b = std::max(b, shape.n * shape.k);
        c = std::max(c, shape.m * shape.n);
    }
    a_.resize(a);
    b_.resize(b);
    c_.resize(c);
    for (std::size_t i = 0; i < a; ++i) a_[i] = static_cast<float>(i % 977) * 0.001F;
    for (std::size_t i = 0; i < b; ++i) b_[i] = static_cast<float>(i % 613) * 0.001F;
}

namespace {

void multiply_by(const Gemm& gemm, const GemmShape& shape, const float* a, const float* b,
                 const float* panels, float* c) {
    const auto [form, m, n, k] = shape;
    const MatrixView out(c, m, n);
    switch (form) {
        case GemmShape::Form::nt:
            return gemm.multiply_nt({a, m, k}, {ConstMatrixView(b, n, k), panels}, out, Accumulate::no);
        case GemmShape::Form::nn:
            return gemm.multiply_nn({a, m, k}, {ConstMatrixView(b, k, n), nullptr, panels}, out,
                                    Accumulate::no);
        case GemmShape::Form::tn:
            return gemm.multiply_tn({a, k, m}, {b, k, n}, out, Accumulate::no);
    }
}

}  // namespace

void ProductProbe::multiply(const Gemm& gemm, const GemmShape& shape) {
    multiply_by(gemm, shape, a_.data(), b_.data(), nullptr, c_.data());
}

void ProductProbe::lay_out(const Gemm& gemm, const GemmShape& shape) {
    panels_.clear();
    if (shape.form == GemmShape::Form::tn || gemm.nt_panel_floats(shape.n, shape.k) == 0) return;
    panels_.resize(gemm.nt_panel_floats(shape.n, shape.k));
    if (shape.form == GemmShape::Form::nt) {
        gemm.pack({b_.data(), shape.n, shape.k}, panels_.data(), nullptr);
    } else {
        gemm.pack({b_.data(), shape.k, shape.n}, nullptr, panels_.data());
    }
}

void ProductProbe::multiply_laid_out(const Gemm& gemm, const GemmShape& shape) {
    multiply_by(gemm, shape, a_.data(), b_.data(), panels_.empty() ? nullptr : panels_.data(), c_.data());
}

void ProductProbe::sgemm(ThreadPool& pool, const GemmShape& shape, SgemmSplit split) {
    if (split == SgemmSplit::openblas) {
        openblas_set_num_threads(pool.size());
        call_sgemm(shape, a_.data(), b_.data(), c_.data(), 0, shape.m, 0, shape.n);
        openblas_set_num_threads(1);
        return;
    }
    openblas_set_num_threads(1);
    if (shape.m > shape.n) {
        pool.for_ranges(shape.m, 32, [&](std::size_t begin, std::size_t end) {
            call_sgemm(shape, a_.data(), b_.data(), c_.data(), begin, end, 0, shape.n);
        });
    } else {
        pool.for_ranges(shape.n, 32, [&](std::size_t begin, std::size_t end) {
            call_sgemm(shape, a_.data(), b_.data(), c_.data(), 0, shape.m, begin, end);
        });
    }
}

bool wait_until_idle() {
    // Two ticks of the slowest kernel clock (100 Hz), at which a running thread's time is counted.
    constexpr auto look = std::chrono::milliseconds(25);
    constexpr std::clock_t busy = CLOCKS_PER_SEC / 400;  // A tenth of a look.
    for (int i = 0; i < 80; ++i) {
        const std::clock_t before = std::clock();
        std::this_thread::sleep_for(look);
        if (std::clock() - before < busy) return true;
    }
    return false;
}

double measure_sgemm_rate(std::size_t m, std::size_t n, std::size_t k, int threads, double seconds) {
    LOCKSTEP_EXPECTS(m > 0 && n > 0 && k > 0 && threads >= 1);
    ThreadPool pool(threads);
    const GemmShape shape{GemmShape::Form::nt, m, n, k};
    ProductProbe probe(std::span(&shape, 1));
    probe.sgemm(pool, shape);
    std::vector<double> times;
    const auto start = Clock::now();
    do {
        const auto before = Clock::now();
        probe.sgemm(pool, shape);
        times.push_back(seconds_since(before));
    } while (seconds_since(start) < seconds || times.size() < 3);
    return flop_of(shape) / median(times);
}

}  // namespace lockstep
