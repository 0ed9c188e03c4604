#include "kernels/reference/gemm.h"

namespace lockstep::reference {

// Columns side by side hide the latency of an fma; each is still a chain of its own.
constexpr std::size_t columns_at_once = 16;

void multiply(const GemmProblem& p) {
    for (std::size_t i = 0; i < p.m; ++i) {
        for (std::size_t j0 = 0; j0 < p.n; j0 += columns_at_once) {
            const std::size_t columns = p.n - j0 < columns_at_once ? p.n - j0 : columns_at_once;
            float* c = p.c + i * p.c_stride + j0;
            float sum[columns_at_once] = {};
            const float* b[columns_at_once];
            for (std::size_t j = 0; j < columns_at_once; ++j) {
                // Columns beyond the last repeat it and are not stored.
                b[j] = p.b.data + (j0 + (j < columns ? j : columns - 1)) * p.b.line_stride;
                if (j < columns && p.accumulate) sum[j] = c[j];
            }
            for (std::size_t k0 = 0; k0 < p.k; k0 += gemm_block_k) {
                const std::size_t k1 = p.k - k0 < gemm_block_k ? p.k : k0 + gemm_block_k;
                float chain[columns_at_once] = {};
                for (std::size_t k = k0; k < k1; ++k) {
                    const float a = p.a.data[i * p.a.line_stride + k * p.a.k_stride];
                    for (std::size_t j = 0; j < columns_at_once; ++j) {
                        chain[j] = __builtin_fmaf(a, b[j][k * p.b.k_stride], chain[j]);
                    }
                }
                for (std::size_t j = 0; j < columns_at_once; ++j) sum[j] += chain[j];
            }
            for (std::size_t j = 0; j < columns; ++j) c[j] = sum[j];
        }
    }
}

}  // namespace lockstep::reference
