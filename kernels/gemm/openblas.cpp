#include <cblas.h>

#include <algorithm>
#include <climits>

#include "kernels/gemm/kernels.h"

namespace lockstep {

namespace {

// OpenBLAS' AVX-512 kernels make one chain per element under these conditions alone (docs/numerics.md): at
// most 256 of k a call; rows a multiple of 32 and at least 64; and a product above 2^20, below which OpenBLAS
// takes a small-matrix kernel that sums in another order.
constexpr std::size_t recipe_rows_multiple = 32;
constexpr std::size_t recipe_rows_least = 64;
constexpr std::size_t recipe_product_above = std::size_t{1} << 20;

// A single column is left out as well: both its strides may be 1, so its form cannot be told.
bool fits_recipe(const GemmProblem& p) {
    const std::size_t longest =
        std::max({p.m, p.n, p.k, p.a.line_stride, p.a.k_stride, p.b.line_stride, p.b.k_stride, p.c_stride});
    return longest <= INT_MAX && p.k <= gemm_block_k && p.m >= recipe_rows_least &&
           p.m % recipe_rows_multiple == 0 && p.n >= 2 && p.m * p.n * p.k > recipe_product_above;
}

void call_sgemm(const GemmProblem& p) {
    const bool a_is_transposed = p.a.k_stride != 1;
    const bool b_is_transposed = p.b.k_stride == 1;
    const auto as_int = [](std::size_t x) { return static_cast<blasint>(x); };
    cblas_sgemm(CblasRowMajor, a_is_transposed ? CblasTrans : CblasNoTrans,
                b_is_transposed ? CblasTrans : CblasNoTrans, as_int(p.m), as_int(p.n), as_int(p.k), 1.0f,
                p.a.data, as_int(a_is_transposed ? p.a.k_stride : p.a.line_stride), p.b.data,
                as_int(b_is_transposed ? p.b.line_stride : p.b.k_stride), p.accumulate ? 1.0f : 0.0f, p.c,
                as_int(p.c_stride));
}

}  // namespace

// The bits are the same from either side, so a product may be cut wherever the recipe ends.
void multiply_by_recipe(const GemmProblem& p) {
    const std::size_t m_main = p.m - p.m % recipe_rows_multiple;
    for (std::size_t k = 0; k < p.k; k += gemm_block_k) {
        const std::size_t k_end = std::min(p.k, k + gemm_block_k);
        const GemmProblem main = part_of(p, 0, m_main, 0, p.n, k, k_end);
        if (!fits_recipe(main)) {
            multiply_own(part_of(p, 0, p.m, 0, p.n, k, k_end));
            continue;
        }
        call_sgemm(main);
        if (m_main < p.m) multiply_own(part_of(p, m_main, p.m, 0, p.n, k, k_end));
    }
}

}  // namespace lockstep
