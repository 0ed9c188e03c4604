#include "kernels/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/philox.h"
#include "kernels/blas_runtime.h"
#include "kernels/gemm_kernels.h"
#include "kernels/gemm_operand.h"
#include "kernels/reference/gemm.h"
#include "kernels/reference/gemm_bf16.h"

namespace lockstep {

namespace {

using Kernel = void (*)(const GemmProblem&);
using Packer = void (*)(const GemmOperand&, std::size_t lines, std::size_t block_k, float* panels);
using PanelFloats = std::size_t (*)(std::size_t terms);

Kernel fma256_kernel(GemmBackend backend) {
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

// --- Many threads
// ------------------------------------------------------------------------------------------------

constexpr std::size_t shard_grain = 32;  // Shards begin at multiples of it.
constexpr std::size_t shard_product_least = std::size_t{1}
                                            << 18;  // A smaller shard is not worth waking a thread.

struct ShardGrid {
    std::size_t rows = 1;
    std::size_t columns = 1;
};

// As many shards as threads, and as square as can be: each reads its rows of A and its columns of B once.
ShardGrid shard_grid(std::size_t m, std::size_t n, std::size_t k, std::size_t threads) {
    const auto grains = [](std::size_t x) { return (x + shard_grain - 1) / shard_grain; };
    const std::size_t worthwhile = std::max<std::size_t>(1, m * n * k / shard_product_least);
    const std::size_t wanted = std::min(threads, worthwhile);
    ShardGrid best;
    std::size_t best_count = 0, best_edge = 0;
    for (std::size_t rows = 1; rows <= std::min(wanted, grains(m)); ++rows) {
        const std::size_t columns = std::min(wanted / rows, grains(n));
        const std::size_t count = rows * columns;
        const std::size_t edge = m / rows + n / columns;
        if (count > best_count || (count == best_count && edge < best_edge)) {
            best = {rows, columns};
            best_count = count;
            best_edge = edge;
        }
    }
    return best;
}

// Bound number i of `parts` over [0, items): a multiple of shard_grain, or items.
std::size_t shard_bound(std::size_t items, std::size_t i, std::size_t parts) {
    const std::size_t grains = (items + shard_grain - 1) / shard_grain;
    return std::min(items, grains * i / parts * shard_grain);
}

void multiply(ThreadPool& pool, Kernel kernel, const GemmProblem& p) {
    if (p.m == 0 || p.n == 0) return;
    if (p.k == 0) {
        for (std::size_t i = 0; i < p.m && !p.accumulate; ++i) std::fill_n(p.c + i * p.c_stride, p.n, 0.0f);
        return;
    }
    const ShardGrid grid = shard_grid(p.m, p.n, p.k, static_cast<std::size_t>(pool.size()));
    if (grid.rows * grid.columns == 1) return kernel(p);
    pool.for_each(grid.rows * grid.columns, [&](std::size_t shard) {
        const std::size_t row = shard / grid.columns;
        const std::size_t column = shard % grid.columns;
        kernel(part_of(p, shard_bound(p.m, row, grid.rows), shard_bound(p.m, row + 1, grid.rows),
                       shard_bound(p.n, column, grid.columns), shard_bound(p.n, column + 1, grid.columns), 0,
                       p.k));
    });
}

std::size_t to_panels(std::size_t lines) {
    return (lines + panel_lines - 1) / panel_lines * panel_lines;
}

std::size_t fma256_floats(std::size_t terms) {
    return terms;
}

/// @param floats_of  floats that hold so many terms of k of one line.
void pack(ThreadPool& pool, Packer packer, PanelFloats floats_of, const GemmOperand& b, std::size_t lines,
          std::size_t k, float* panels) {
    constexpr std::size_t lines_a_task = 8 * panel_lines;
    const std::size_t groups = (lines + lines_a_task - 1) / lines_a_task;
    const std::size_t blocks = (k + gemm_block_k - 1) / gemm_block_k;
    pool.for_each(groups * blocks, [&](std::size_t task) {
        const std::size_t line = task % groups * lines_a_task;
        const std::size_t k0 = task / groups * gemm_block_k;
        const std::size_t block_k = std::min(gemm_block_k, k - k0);
        packer({b.data + line * b.line_stride + k0 * b.k_stride, b.line_stride, b.k_stride},
               std::min(lines_a_task, lines - line), block_k,
               panels + floats_of(k0) * to_panels(lines) + line * floats_of(block_k));
    });
}

GemmProblem problem_of(GemmShape::Form form, ConstMatrixView a, ConstMatrixView b, MatrixView c,
                       Accumulate accumulate) {
    const bool a_transposed = form == GemmShape::Form::tn;
    const bool b_transposed = form == GemmShape::Form::nt;
    const std::size_t m = a_transposed ? a.cols : a.rows;
    const std::size_t k = a_transposed ? a.rows : a.cols;
    const std::size_t n = b_transposed ? b.rows : b.cols;
    LOCKSTEP_EXPECTS((b_transposed ? b.cols : b.rows) == k);
    LOCKSTEP_EXPECTS(c.rows == m && c.cols == n);
    LOCKSTEP_EXPECTS(a.stride >= a.cols && b.stride >= b.cols && c.stride >= c.cols);
    return {m,
            n,
            k,
            a_transposed ? GemmOperand{a.data, 1, a.stride} : GemmOperand{a.data, a.stride, 1},
            b_transposed ? GemmOperand{b.data, b.stride, 1} : GemmOperand{b.data, 1, b.stride},
            c.data,
            c.stride,
            accumulate == Accumulate::yes,
            {}};
}

// --- Self-test
// ---------------------------------------------------------------------------------------------------

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
std::optional<std::string> failure_on(ThreadPool& pool, Kernel kernel, Kernel contract,
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
    multiply(pool, kernel, problem(c));

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

class SelfTest {
  public:
    /// On always_tested and on `shapes`.
    explicit SelfTest(std::span<const GemmShape> shapes) {
        for (const GemmShape& shape : shapes) {
            const GemmShape candidate = capped(shape);
            if (candidate.m == 0 || candidate.n == 0 || candidate.k == 0) continue;
            const auto same = [&](const GemmShape& s) {
                return s.form == candidate.form && s.m == candidate.m && s.n == candidate.n &&
                       s.k == candidate.k;
            };
            if (std::none_of(shapes_.begin(), shapes_.end(), same)) shapes_.push_back(candidate);
        }
        std::size_t most_values = 0;
        for (const GemmShape& shape : shapes_)
            most_values = std::max(most_values, std::max(shape.m, shape.n) * shape.k);
        values_ = random_values(most_values);
        tiny_values_.resize(values_.size());
        std::transform(values_.begin(), values_.end(), tiny_values_.begin(),
                       [](float x) { return x * 0x1p-62F; });
    }

    std::size_t num_shapes() const { return shapes_.size(); }
    /// What differs first between the kernel and the contract's loop; nothing, if nothing does.
    std::optional<std::string> failure_of(ThreadPool& pool, Kernel kernel, Kernel contract) const {
        for (const GemmShape& shape : shapes_) {
            if (auto failure = failure_on(pool, kernel, contract, shape, values_)) return failure;
        }
        // Sums on both sides of the least normal number: is it flushed?
        for (const GemmShape& shape : std::span(always_tested).first(3)) {
            if (auto failure = failure_on(pool, kernel, contract, shape, tiny_values_)) return failure;
        }
        return std::nullopt;
    }

  private:
    std::vector<GemmShape> shapes_{always_tested.begin(), always_tested.end()};
    std::vector<float> values_, tiny_values_;
};

// --- Choice
// ------------------------------------------------------------------------------------------------------

/// Seconds of the product, best of three. Our own kernel reads B from panels, as in a step.
double seconds_of(ThreadPool& pool, Kernel kernel, const GemmProblem& problem) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < 3; ++i) {
        const auto start = std::chrono::steady_clock::now();
        multiply(pool, kernel, problem);
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
            pack(pool, pack_own, fma256_floats, problem.b, n, k, panels.data());
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

    Kernel kernel() const {
        return numerics == GemmNumerics::bf16 ? bf16_kernel.multiply : fma256_kernel(backend);
    }
    /// Null: no panels are read.
    Packer packer() const {
        if (numerics == GemmNumerics::bf16) return bf16_kernel.pack;
        return backend == GemmBackend::own && own_reads_panels() ? pack_own : nullptr;
    }
    PanelFloats panel_floats() const { return numerics == GemmNumerics::bf16 ? bf16_floats : fma256_floats; }

    void choose_fma256(std::span<const GemmShape> shapes, const SelfTest& test);
    void choose_bf16(const SelfTest& test);
};

// With openblas or automatic as `backend`, what was wanted, until here.
void Gemm::State::choose_fma256(std::span<const GemmShape> shapes, const SelfTest& test) {
    const auto failure_of = [&](Kernel tested) { return test.failure_of(pool, tested, reference::multiply); };
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

void Gemm::State::choose_bf16(const SelfTest& test) {
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
    const SelfTest test(shapes);
    state_->shapes_tested = test.num_shapes();
    if (numerics == GemmNumerics::bf16) {
        state_->choose_bf16(test);
    } else {
        state_->choose_fma256(shapes, test);
    }
}

Gemm::~Gemm() = default;

void Gemm::multiply_nt(ConstMatrixView a, const WeightView& b, MatrixView c, Accumulate accumulate) const {
    GemmProblem problem = problem_of(GemmShape::Form::nt, a, b.plain, c, accumulate);
    problem.panels = {b.nt_panels, to_panels(b.plain.rows), 0, 0};
    multiply(state_->pool, state_->kernel(), problem);
}

void Gemm::multiply_nn(ConstMatrixView a, const WeightView& b, MatrixView c, Accumulate accumulate) const {
    GemmProblem problem = problem_of(GemmShape::Form::nn, a, b.plain, c, accumulate);
    problem.panels = {b.nn_panels, to_panels(b.plain.cols), 0, 0};
    multiply(state_->pool, state_->kernel(), problem);
}

std::size_t Gemm::nt_panel_floats(std::size_t out, std::size_t in) const {
    if (state_->packer() == nullptr) return 0;
    return to_panels(out) * state_->panel_floats()(in);
}

std::size_t Gemm::nn_panel_floats(std::size_t out, std::size_t in) const {
    return nt_panel_floats(in, out);
}

void Gemm::pack_nt(ConstMatrixView weight, float* panels) const {
    LOCKSTEP_EXPECTS(state_->packer() != nullptr);
    pack(state_->pool, state_->packer(), state_->panel_floats(), {weight.data, weight.stride, 1}, weight.rows,
         weight.cols, panels);
}

void Gemm::pack_nn(ConstMatrixView weight, float* panels) const {
    LOCKSTEP_EXPECTS(state_->packer() != nullptr);
    pack(state_->pool, state_->packer(), state_->panel_floats(), {weight.data, 1, weight.stride}, weight.cols,
         weight.rows, panels);
}

void Gemm::multiply_tn(ConstMatrixView a, ConstMatrixView b, MatrixView c, Accumulate accumulate) const {
    multiply(state_->pool, state_->kernel(), problem_of(GemmShape::Form::tn, a, b, c, accumulate));
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
