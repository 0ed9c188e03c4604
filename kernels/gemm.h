// kernels/gemm.h
//
// Matrix products under the numerical contract fma256 (docs/numerics.md): each
// element is a chain of fused multiply-adds over ascending k from +0 inside fixed
// blocks of 256, block sums added in ascending order. So an element depends on its
// row of A and its column of B alone: not on shapes, threads, backend or CPU.
//
// The contract bf16 rounds both operands to bf16 first and sums inside a block as the
// instruction tdpbf16ps does: chains of sixteen, added in pairs, denormal numbers
// flushed to zero.

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/function_ref.h"
#include "kernels/gemm_numerics.h"
#include "kernels/matrix_view.h"
#include "kernels/thread_pool.h"

namespace lockstep {

enum class GemmBackend {
    automatic,  ///< openblas where it passes the self-test and is clearly faster than own, else own.
    openblas,   ///< OpenBLAS' AVX-512 kernels by the recipe; our own kernel for what the recipe excludes.
    own,        ///< Our AVX-512 or AVX2 kernel.
    reference,  ///< The scalar loop that defines the contract, or models the instructions of bf16.
};
std::string_view name_of(GemmBackend backend);
/// @throws Error{invalid_argument} listing the names.
GemmBackend parse_gemm_backend(std::string_view text);

enum class Accumulate { no, yes };

/// Work on C before and after the sums of a product, done part of C by part, by the thread that computes the
/// part and while that is in its cache.
struct GemmFusion {
    /// (M, N) what the block sums are added to, in place of what c holds; no data: as `accumulate` says.
    ConstMatrixView start = {};
    /// Called by several threads at once, for parts whose sums are final. They cover c, each element once.
    std::optional<FunctionRef<void(const MatrixRange& part)>> finish = {};
};

/// A weight (out, in), and what Gemm::pack made of it, if it did.
struct WeightView {
    ConstMatrixView plain;
    const float* nt_panels = nullptr;
    const float* nn_panels = nullptr;

    WeightView(ConstMatrixView weight, const float* nt = nullptr, const float* nn = nullptr)
        : plain(weight), nt_panels(nt), nn_panels(nn) {}
    WeightView(MatrixView weight) : plain(weight) {}
};

/// Shape of a product, for the self-test: m, n, k and which operands are transposed.
struct GemmShape {
    enum class Form { nt, nn, tn } form;
    std::size_t m, n, k;
    friend bool operator==(const GemmShape&, const GemmShape&) = default;
};
std::string text_of(const GemmShape& shape);  ///< "nt 1024x768x768": form, m, n, k.

class Gemm {
  public:
    /// Chooses the backend: runs the self-test of DESIGN §5 against the scalar loop on `shapes` (rows capped
    /// so that it takes milliseconds) and never returns a backend that failed it.
    /// Under bf16, automatic is own: AMX, vdpbf16ps, or on a CPU without them an emulation of the same bits.
    /// @throws Error{environment} if a backend asked for by name fails its self-test, saying what to do;
    /// Error{invalid_argument} for openblas under bf16, which it does not offer.
    Gemm(ThreadPool& pool, GemmBackend wanted, std::span<const GemmShape> shapes,
         GemmNumerics numerics = GemmNumerics::fma256);
    ~Gemm();
    Gemm(const Gemm&) = delete;
    Gemm& operator=(const Gemm&) = delete;

    /// c (M, N) = or += a (M, K) · b (N, K)ᵀ. Forward: activations times weights stored (out, in).
    void multiply_nt(ConstMatrixView a, const WeightView& b, MatrixView c, Accumulate accumulate,
                     const GemmFusion& fusion = {}) const;
    /// c (M, N) = or += a (M, K) · b (K, N). Gradient of the input.
    void multiply_nn(ConstMatrixView a, const WeightView& b, MatrixView c, Accumulate accumulate,
                     const GemmFusion& fusion = {}) const;
    /// c (M, N) = or += a (K, M)ᵀ · b (K, N). Gradient of a weight: k runs over the tokens from the pack's
    /// start.
    void multiply_tn(ConstMatrixView a, ConstMatrixView b, MatrixView c, Accumulate accumulate) const;
    // K = 0 writes zeros (or adds nothing). With Accumulate::yes the first block sum is added to c too;
    // without, to +0.

    /// Room for the panels of a weight for one of the forms [floats]; 0 if this backend reads none.
    std::size_t nt_panel_floats(std::size_t out, std::size_t in) const;
    std::size_t nn_panel_floats(std::size_t out, std::size_t in) const;
    /// Lay a weight out as the kernel reads it, once for many products. A view with panels promises that they
    /// were made of the weight as it is now. @pre Room is not 0.
    /// @param nt_panels, nn_panels  null: not for that form.
    void pack(ConstMatrixView weight, float* nt_panels, float* nn_panels) const;

    /// Scratch of all threads.
    std::size_t scratch_bytes() const;

    GemmBackend backend() const;  ///< Never `automatic`.
    GemmNumerics numerics() const;
    /// For `doctor` and the run log: "own kernel avx512 (221 GFLOP/s) rather than openblas 0.3.21 SkylakeX
    /// (205 GFLOP/s); self-test passed on 12 shapes".
    std::string describe() const;
    ThreadPool& pool() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
