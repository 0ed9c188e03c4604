#include "kernels/reference/gemm.h"

namespace lockstep::reference {

namespace {

// Columns side by side hide the latency of an fma; each is still its own chain.
constexpr std::size_t columns_at_once = 16;

// c = c + block: `columns` chains over one block of k, from +0, ascending.
void add_block(const float* a, std::size_t a_k_stride, const GemmOperand& b, std::size_t columns,
               std::size_t block_k, float* c) {
    float chain[columns_at_once] = {};
    for (std::size_t k = 0; k < block_k; ++k) {
        for (std::size_t j = 0; j < columns; ++j) {
            chain[j] =
                __builtin_fmaf(a[k * a_k_stride], b.data[j * b.line_stride + k * b.k_stride], chain[j]);
        }
    }
    for (std::size_t j = 0; j < columns; ++j) c[j] += chain[j];
}

}  // namespace

void multiply(const GemmProblem& p) {
    for (std::size_t i = 0; i < p.m; ++i) {
        float* c = p.c + i * p.c_stride;
        for (std::size_t j = 0; j < p.n && !p.accumulate; ++j) c[j] = 0.0f;
        for (std::size_t k = 0; k < p.k; k += gemm_block_k) {
            const std::size_t block_k = p.k - k < gemm_block_k ? p.k - k : gemm_block_k;
            for (std::size_t j = 0; j < p.n; j += columns_at_once) {
                const GemmProblem cell = part_of(p, i, i + 1, j, p.n, k, k + block_k);
                if (cell.n >= columns_at_once) {
                    add_block(cell.a.data, cell.a.k_stride, cell.b, columns_at_once, block_k, cell.c);
                } else {
                    add_block(cell.a.data, cell.a.k_stride, cell.b, cell.n, block_k, cell.c);
                }
            }
        }
    }
}

}  // namespace lockstep::reference
