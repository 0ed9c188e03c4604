#include "kernels/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <optional>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "kernels/blas_runtime.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/parallel.h"
#include "kernels/gemm/self_test.h"
#include "kernels/reference/gemm.h"
#include "kernels/reference/gemm_bf16.h"

namespace lockstep {

namespace {

GemmKernel fma256_kernel(GemmBackend backend) {
    switch (backend) {
        case GemmBackend::openblas:
            return multiply_by_recipe;
        case GemmBackend::reference:
            return reference::multiply;
        case GemmBackend::own:
        case GemmBackend::automatic:
            break;
    }
    return multiply_own;
}

/// Seconds of the product, best of three. Our own kernel reads B from panels, as in a step.
double seconds_of(ThreadPool& pool, GemmKernel kernel, const GemmProblem& problem) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < 3; ++i) {
        const auto start = std::chrono::steady_clock::now();
        multiply_parallel(pool, kernel, problem);
        best =
            std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

/// [flop/s]
struct BackendRates {
    double openblas = 0, own = 0;
};

/// Rates on the forward products of the model, capped to milliseconds. Our own kernel is timed without the
/// layout of B, which a step does once for many products.
BackendRates measure_backends(ThreadPool& pool, std::span<const GemmShape> shapes) {
    double flop = 0, openblas = 0, own = 0;
    std::vector<float> a, b, c, panels;
    for (const GemmShape& shape : shapes) {
        if (shape.form != GemmShape::Form::nt || shape.m * shape.n * shape.k == 0) continue;
        const std::size_t m = std::min<std::size_t>(shape.m, 256);
        const std::size_t n = std::min<std::size_t>(shape.n, 1024);
        const std::size_t k = std::min<std::size_t>(shape.k, 1024);
        a.assign(m * k, 0.5F);
        b.assign(n * k, 0.5F);
        c.assign(m * n, 0);
        GemmProblem problem = problem_of(GemmShape::Form::nt, {a.data(), m, k}, {b.data(), n, k},
                                         {c.data(), m, n}, Accumulate::no);
        flop += 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        openblas += seconds_of(pool, multiply_by_recipe, problem);
        if (own_reads_panels()) {
            panels.assign(to_panels(n) * k, 0);
            pack_parallel(pool, pack_own, fma256_floats, {b.data(), n, k}, panels.data(), nullptr);
            problem.panels = {panels.data(), to_panels(n), 0, 0};
        }
        own += seconds_of(pool, multiply_own, problem);
    }
    return flop > 0 ? BackendRates{flop / openblas, flop / own} : BackendRates{};
}

/// OpenBLAS must be clearly faster, or noise would decide, and with it how much memory a run takes. Both give
/// the same bits, so ranks may differ.
constexpr double clearly_faster = 1.1;

}  // namespace

std::string_view name_of(GemmShape::Form form) {
    switch (form) {
        case GemmShape::Form::nt:
            return "nt";
        case GemmShape::Form::nn:
            return "nn";
        case GemmShape::Form::tn:
            return "tn";
    }
    return "?";
}

std::string text_of(const GemmShape& shape) {
    return std::string(name_of(shape.form)) + " " + std::to_string(shape.m) + "x" + std::to_string(shape.n) +
           "x" + std::to_string(shape.k);
}

std::string_view name_of(GemmBackend backend) {
    switch (backend) {
        case GemmBackend::automatic:
            return "auto";
        case GemmBackend::openblas:
            return "openblas";
        case GemmBackend::own:
            return "own";
        case GemmBackend::reference:
            return "reference";
    }
    return "unknown";
}

GemmBackend parse_gemm_backend(std::string_view text) {
    for (const GemmBackend backend :
         {GemmBackend::automatic, GemmBackend::openblas, GemmBackend::own, GemmBackend::reference}) {
        if (text == name_of(backend)) return backend;
    }
    throw Error(
        ErrorCode::invalid_argument,
        "'" + std::string(text) + "' is not a matrix product backend; use auto, openblas, own or reference");
}

std::string_view numerics_id(GemmNumerics numerics) {
    switch (numerics) {
        case GemmNumerics::fma256:
            return "fma256-2";
        case GemmNumerics::bf16:
            return "bf16-2";
    }
    return "unknown";
}

std::string_view name_of(GemmNumerics numerics) {
    switch (numerics) {
        case GemmNumerics::fma256:
            return "fma256";
        case GemmNumerics::bf16:
            return "bf16";
    }
    return "unknown";
}

GemmNumerics parse_gemm_numerics(std::string_view text) {
    for (const GemmNumerics numerics : {GemmNumerics::fma256, GemmNumerics::bf16}) {
        if (text == name_of(numerics)) return numerics;
    }
    throw Error(ErrorCode::invalid_argument,
                "'" + std::string(text) + "' is not a numerical contract; use fma256 or bf16");
}

struct Gemm::State {
    ThreadPool& pool;
    GemmNumerics numerics;
    GemmBackend backend;
    std::size_t shapes_tested = 0;
    std::string not_chosen;  ///< Why OpenBLAS could not be chosen; empty otherwise.
    BackendRates measured;   ///< By `automatic`, if both could be chosen.
    Bf16Kernel bf16_kernel;  ///< Under bf16.

    GemmKernel kernel() const {
        return numerics == GemmNumerics::bf16 ? bf16_kernel.multiply : fma256_kernel(backend);
    }
    /// Null: no panels are read.
    PanelPacker packer() const {
        if (numerics == GemmNumerics::bf16) return bf16_kernel.pack;
        return backend == GemmBackend::own && own_reads_panels() ? pack_own : nullptr;
    }
    PanelFloats panel_floats() const { return numerics == GemmNumerics::bf16 ? bf16_floats : fma256_floats; }

    void choose_fma256(std::span<const GemmShape> shapes, const GemmSelfTest& test);
    void choose_bf16(const GemmSelfTest& test);
};

// With openblas or automatic as `backend`, what was wanted, until here.
void Gemm::State::choose_fma256(std::span<const GemmShape> shapes, const GemmSelfTest& test) {
    const auto failure_of = [&](GemmKernel tested) {
        return test.failure_of(pool, tested, reference::multiply);
    };
    const std::string blas = "openblas " + blas_version() + " " + blas_core_type();
    if (backend == GemmBackend::automatic || backend == GemmBackend::openblas) {
        const std::optional<std::string> failure = failure_of(multiply_by_recipe);
        if (failure && backend == GemmBackend::openblas) {
            throw Error(ErrorCode::environment,
                        blas + " does not follow the numerical contract fma256 (" + *failure +
                            "); on a CPU with AVX-512 set OPENBLAS_CORETYPE=SkylakeX, elsewhere use the "
                            "backend own or auto");
        }
        if (!failure && backend == GemmBackend::automatic) {
            measured = measure_backends(pool, shapes);
            backend =
                measured.openblas > clearly_faster * measured.own ? GemmBackend::openblas : GemmBackend::own;
        }
        if (failure) {
            not_chosen = blas + " does not follow fma256";
            backend = GemmBackend::own;
        }
    }
    // Our own kernel also does what the recipe leaves to it, so it is tested in each case.
    const bool is_reference = backend == GemmBackend::reference;
    if (const std::optional<std::string> failure =
            failure_of(is_reference ? reference::multiply : multiply_own)) {
        throw Error(ErrorCode::environment,
                    "matrix product backend '" + std::string(name_of(backend)) + "' on " +
                        name_of(kernel_isa()) + " does not follow the numerical contract fma256 (" +
                        *failure + "); try LOCKSTEP_ISA=avx2 and report this machine");
    }
}

void Gemm::State::choose_bf16(const GemmSelfTest& test) {
    if (backend == GemmBackend::openblas) {
        throw Error(
            ErrorCode::invalid_argument,
            "the backend openblas has no products of the numerical contract bf16; use the backend own, "
            "reference or auto, or train with fma256");
    }
    const std::span<const Bf16Kernel> kernels = bf16_kernels();
    if (backend == GemmBackend::reference) {
        bf16_kernel = kernels.back();
        return;
    }
    backend = GemmBackend::own;
    // A CPU whose instruction rounds in another way is served by the emulation.
    for (const Bf16Kernel& candidate : kernels) {
        const std::optional<std::string> failure =
            test.failure_of(pool, candidate.multiply, reference::multiply_bf16);
        if (!failure) {
            bf16_kernel = candidate;
            return;
        }
        not_chosen += (not_chosen.empty() ? "" : "; ") + std::string(candidate.name) +
                      " does not follow bf16 (" + *failure + ")";
    }
    throw Error(ErrorCode::environment, "no matrix product here follows the numerical contract bf16 (" +
                                            not_chosen + "); train with fma256 and report this machine");
}

Gemm::Gemm(ThreadPool& pool, GemmBackend wanted, std::span<const GemmShape> shapes, GemmNumerics numerics)
    : state_(new State{pool, numerics, wanted, 0, {}, {}, {}}) {
    // Our threads are the only ones.
    openblas_set_num_threads(1);
    const GemmSelfTest test(shapes);
    state_->shapes_tested = test.num_shapes();
    if (numerics == GemmNumerics::bf16) {
        state_->choose_bf16(test);
    } else {
        state_->choose_fma256(shapes, test);
    }
}

Gemm::~Gemm() = default;

void Gemm::multiply_nt(ConstMatrixView a, const WeightView& b, MatrixView c, Accumulate accumulate,
                       const GemmFusion& fusion) const {
    GemmProblem problem = problem_of(GemmShape::Form::nt, a, b.plain, c, accumulate);
    problem.panels = {b.nt_panels, to_panels(b.plain.rows), 0, 0};
    multiply_parallel(state_->pool, state_->kernel(), problem, fusion);
}

void Gemm::multiply_nn(ConstMatrixView a, const WeightView& b, MatrixView c, Accumulate accumulate,
                       const GemmFusion& fusion) const {
    GemmProblem problem = problem_of(GemmShape::Form::nn, a, b.plain, c, accumulate);
    problem.panels = {b.nn_panels, to_panels(b.plain.cols), 0, 0};
    multiply_parallel(state_->pool, state_->kernel(), problem, fusion);
}

std::size_t Gemm::nt_panel_floats(std::size_t out, std::size_t in) const {
    if (state_->packer() == nullptr) return 0;
    return to_panels(out) * state_->panel_floats()(in);
}

std::size_t Gemm::nn_panel_floats(std::size_t out, std::size_t in) const {
    return nt_panel_floats(in, out);
}

void Gemm::pack(ConstMatrixView weight, float* nt_panels, float* nn_panels) const {
    LOCKSTEP_EXPECTS(state_->packer() != nullptr);
    pack_parallel(state_->pool, state_->packer(), state_->panel_floats(), weight, nt_panels, nn_panels);
}

void Gemm::multiply_tn(ConstMatrixView a, ConstMatrixView b, MatrixView c, Accumulate accumulate) const {
    multiply_parallel(state_->pool, state_->kernel(), problem_of(GemmShape::Form::tn, a, b, c, accumulate));
}

std::size_t Gemm::scratch_bytes() const {
    return static_cast<std::size_t>(state_->pool.size()) * own_scratch_bytes();
}

GemmBackend Gemm::backend() const {
    return state_->backend;
}

GemmNumerics Gemm::numerics() const {
    return state_->numerics;
}

std::string Gemm::describe() const {
    const auto with_rate = [](const std::string& name, double flop_per_second) {
        if (flop_per_second <= 0) return name;
        char rate[48];
        std::snprintf(rate, sizeof rate, " (%.0f GFLOP/s)", flop_per_second / 1e9);
        return name + rate;
    };
    const std::string tested = "self-test passed on " + std::to_string(state_->shapes_tested) + " shapes";
    if (state_->numerics == GemmNumerics::bf16) {
        const std::string kernel = state_->bf16_kernel.name;
        if (state_->backend == GemmBackend::reference) return "bf16: reference, " + kernel;
        return "bf16: own kernel, " + kernel +
               (state_->bf16_kernel.emulates ? " (slower, the same bits)" : "") + "; " +
               (state_->not_chosen.empty() ? "" : state_->not_chosen + "; ") + tested;
    }
    const std::string own = with_rate("own kernel " + name_of(kernel_isa()), state_->measured.own);
    const std::string openblas =
        with_rate("openblas " + blas_version() + " " + blas_core_type(), state_->measured.openblas);
    switch (state_->backend) {
        case GemmBackend::openblas:
            return openblas + "; " + own + "; " + tested;
        case GemmBackend::reference:
            return "reference; " + tested;
        case GemmBackend::own:
        case GemmBackend::automatic:
            break;
    }
    if (state_->measured.own > 0) return own + " rather than " + openblas + "; " + tested;
    return own + "; " + (state_->not_chosen.empty() ? "" : state_->not_chosen + "; ") + tested;
}

ThreadPool& Gemm::pool() const {
    return state_->pool;
}

}  // namespace lockstep
