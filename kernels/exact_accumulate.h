// kernels/exact_accumulate.h
//
// The exact sum (DESIGN §6): a pack's gradient is rounded once to int64 at scale
// 2^s and added as integers, so any order and any rank give the same bits.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/thread_pool.h"

namespace lockstep {

struct ExactFlags {
    bool overflow = false;    ///< Some finite |g|·2^s ≥ 2^62 / packs in the step.
    bool non_finite = false;  ///< Some g is infinite or not a number.

    ExactFlags& operator|=(const ExactFlags& other) {
        overflow |= other.overflow;
        non_finite |= other.non_finite;
        return *this;
    }
};

/// accumulator[i] (+)= round_to_nearest_even(gradient[i] · 2^exponent), as two's-complement addition.
/// Elements are checked before conversion; if a flag is raised the accumulator's content is unspecified.
/// @param first  true: write instead of add.
ExactFlags accumulate_exact(ThreadPool& pool, std::span<const float> gradient, int exponent,
                            std::uint64_t packs_in_step, bool first, std::span<std::int64_t> accumulator);

/// A gradient as the exact sum holds it. Its elements are float(sum[i] · 2^−exponent), rounded once.
struct ExactGradient {
    std::span<const std::int64_t> sum;
    int exponent = 0;

    std::size_t size() const { return sum.size(); }
    ExactGradient subspan(std::size_t begin, std::size_t count) const {
        return {sum.subspan(begin, count), exponent};
    }
};

/// Turns runs of an ExactGradient into floats, where they are used: its float form is never held as a whole.
class ExactReader {
  public:
    explicit ExactReader(ExactGradient gradient);
    void read(std::size_t begin, std::span<float> out) const;

  private:
    std::span<const std::int64_t> sum_;
    float scale_;
};

/// out[i] = float(sum[i] · 2^−exponent), rounded once.
void exact_to_float(ThreadPool& pool, std::span<const std::int64_t> sum, int exponent, std::span<float> out);

/// a[i] += b[i], wrapping.
void add_integers(ThreadPool& pool, std::span<const std::int64_t> b, std::span<std::int64_t> a);

}  // namespace lockstep
