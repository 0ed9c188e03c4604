// kernels/speed_probe.h
//
// What this machine could do at best, measured beside what we do: a loop of fused
// multiply-adds in registers alone, and plain sgemm of OpenBLAS. Benchmarks give
// their figures as shares of these, since machines differ and drift.

#pragma once

#include <span>
#include <vector>

#include "kernels/blas_runtime.h"
#include "kernels/gemm.h"
#include "kernels/thread_pool.h"

namespace lockstep {

/// Rate of independent chains of fused multiply-adds that touch no memory, on every thread of the pool at
/// once; the best of about `seconds`, since it is a roof. [flop/s]
/// @pre kernel_isa_supported(isa).
double measure_fma_rate(ThreadPool& pool, KernelIsa isa, double seconds);

double flop_of(const GemmShape& shape);

/// Who splits a plain sgemm over threads.
enum class SgemmSplit {
    our_pool,  ///< One single-threaded call a thread, each with its own shard of the longer side of C.
    openblas,  ///< One call; OpenBLAS' own threads, which spin for a while when it is done.
};

/// Operands of a matrix product and the product itself: by a backend of ours, or by plain sgemm. The one
/// place of benchmarks that calls them. Operands may be shared by several shapes.
class ProductProbe {
  public:
    /// Space for the largest operands of these shapes.
    explicit ProductProbe(std::span<const GemmShape> shapes);

    void multiply(const Gemm& gemm, const GemmShape& shape);
    /// Lay the second operand out, as is done once an update for all packs; then multiply_laid_out may be
    /// timed.
    void lay_out(const Gemm& gemm, const GemmShape& shape);
    void multiply_laid_out(const Gemm& gemm, const GemmShape& shape);
    /// @return as multiply, without the numerical contract.
    void sgemm(ThreadPool& pool, const GemmShape& shape, SgemmSplit split = SgemmSplit::our_pool);

    /// C of the last product, (M, N) row-major; for tests.
    std::span<const float> result() const { return c_; }

  private:
    std::vector<float> a_, b_, c_, panels_;
};

/// Wait until no thread of this process computes, as OpenBLAS' do for up to 2^28 cycles of the clock after a
/// call that several of them shared: 0.05 to 0.13 s that would be taken from what is measured next.
/// @return false if they still do after two seconds.
bool wait_until_idle();

/// Rate of plain single-precision products of OpenBLAS, (m,k)·(n,k)ᵀ, `threads` threads each with its own
/// shard. Median over ~`seconds`. [flop/s]
double measure_sgemm_rate(std::size_t m, std::size_t n, std::size_t k, int threads, double seconds);

}  // namespace lockstep
