#include "kernels/exact_accumulate.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <limits>

#include "io/base/contract.h"
#include "kernels/simd/kernel_table.h"

namespace lockstep {
namespace {

constexpr int exponent_min = -100;
constexpr int exponent_max = 62;
constexpr std::size_t grain = 4096;

double power_of_two(int n) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52U);
}

/// The smallest float g with g·2^exponent ≥ 2^62 / packs, as real numbers; +inf if no finite float is that
/// large. A float overflows exactly when it is at least this.
float overflow_limit(int exponent, std::uint64_t packs) {
    const auto divisor = static_cast<double>(packs);
    double limit = 0x1p62 / divisor;
    // The remainder's sign is exact: round the quotient up, not to nearest.
    if (std::fma(limit, divisor, -0x1p62) < 0)
        limit = std::bit_cast<double>(std::bit_cast<std::uint64_t>(limit) + 1);
    limit *= power_of_two(-exponent);
    if (limit > static_cast<double>(std::numeric_limits<float>::max()))
        return std::numeric_limits<float>::infinity();
    const auto nearest = static_cast<float>(limit);
    if (static_cast<double>(nearest) >= limit) return nearest;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(nearest) + 1);
}

}  // namespace

ExactFlags accumulate_exact(ThreadPool& pool, std::span<const float> gradient, int exponent,
                            std::uint64_t packs_in_step, bool first, std::span<std::int64_t> accumulator) {
    LOCKSTEP_EXPECTS(gradient.size() == accumulator.size());
    LOCKSTEP_EXPECTS(exponent >= exponent_min && exponent <= exponent_max);
    LOCKSTEP_EXPECTS(packs_in_step >= 1 && packs_in_step <= (std::uint64_t{1} << 53U));
    const KernelTable& kernels = kernel_table();
    const double scale = power_of_two(exponent);
    const float limit = overflow_limit(exponent, packs_in_step);
    std::atomic<unsigned> flags{0};
    pool.for_ranges(gradient.size(), grain, [&](std::size_t begin, std::size_t end) {
        flags |= kernels.accumulate_exact(end - begin, gradient.data() + begin, scale, limit, first,
                                          accumulator.data() + begin);
    });
    const unsigned raised = flags.load();
    return {.overflow = (raised & 1U) != 0, .non_finite = (raised & 2U) != 0};
}

// A normal power of two, and the sum is 0 or at least 1: the product is exact, the conversion rounds alone.
ExactReader::ExactReader(ExactGradient gradient)
    : sum_(gradient.sum), scale_(static_cast<float>(power_of_two(-gradient.exponent))) {
    LOCKSTEP_EXPECTS(gradient.exponent >= exponent_min && gradient.exponent <= exponent_max);
}

void ExactReader::read(std::size_t begin, std::span<float> out) const {
    LOCKSTEP_EXPECTS(begin <= sum_.size() && out.size() <= sum_.size() - begin);
    kernel_table().exact_to_float(out.size(), sum_.data() + begin, scale_, out.data());
}

void exact_to_float(ThreadPool& pool, std::span<const std::int64_t> sum, int exponent, std::span<float> out) {
    LOCKSTEP_EXPECTS(sum.size() == out.size());
    const ExactReader reader({sum, exponent});
    pool.for_ranges(sum.size(), grain, [&](std::size_t begin, std::size_t end) {
        reader.read(begin, out.subspan(begin, end - begin));
    });
}

void add_integers(ThreadPool& pool, std::span<const std::int64_t> b, std::span<std::int64_t> a) {
    LOCKSTEP_EXPECTS(a.size() == b.size());
    pool.for_ranges(a.size(), grain, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            a[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(a[i]) +
                                             static_cast<std::uint64_t>(b[i]));
        }
    });
}

}  // namespace lockstep
