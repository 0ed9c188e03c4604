#include "plan/shuffle.h"

namespace lockstep {

namespace {

/// Blocks computed side by side.
constexpr std::size_t lanes = draw_words / 4;

/// One lane a block: the compiler turns the inner loops into vector code of whatever it compiles for.
[[gnu::always_inline]] inline void philox_blocks(const Philox& philox, std::uint64_t first,
                                                 std::uint32_t* words) {
    std::uint32_t c0[lanes], c1[lanes], c2[lanes], c3[lanes];
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        const PhiloxCounter counter = philox.counter(first + lane);
        c0[lane] = counter[0];
        c1[lane] = counter[1];
        c2[lane] = counter[2];
        c3[lane] = counter[3];
    }
    PhiloxKey key = philox.key();
    for (int round = 0; round < philox_rounds; ++round) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            const std::uint64_t p0 = std::uint64_t{philox_multipliers[0]} * c0[lane];
            const std::uint64_t p1 = std::uint64_t{philox_multipliers[1]} * c2[lane];
            c0[lane] = static_cast<std::uint32_t>(p1 >> 32U) ^ c1[lane] ^ key[0];
            c1[lane] = static_cast<std::uint32_t>(p1);
            c2[lane] = static_cast<std::uint32_t>(p0 >> 32U) ^ c3[lane] ^ key[1];
            c3[lane] = static_cast<std::uint32_t>(p0);
        }
        key[0] += philox_weyl[0];
        key[1] += philox_weyl[1];
    }
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        words[4 * lane] = c0[lane];
        words[4 * lane + 1] = c1[lane];
        words[4 * lane + 2] = c2[lane];
        words[4 * lane + 3] = c3[lane];
    }
}

using FillWords = void (*)(const Philox&, std::uint64_t, std::uint32_t*);

void fill_portable(const Philox& philox, std::uint64_t first, std::uint32_t* words) {
    philox_blocks(philox, first, words);
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] void fill_avx2(const Philox& philox, std::uint64_t first, std::uint32_t* words) {
    philox_blocks(philox, first, words);
}

[[gnu::target("avx512f")]] void fill_avx512(const Philox& philox, std::uint64_t first, std::uint32_t* words) {
    philox_blocks(philox, first, words);
}

FillWords fastest_fill() {
    if (__builtin_cpu_supports("avx512f")) return fill_avx512;
    return __builtin_cpu_supports("avx2") ? fill_avx2 : fill_portable;
}
#else
FillWords fastest_fill() {
    return fill_portable;
}
#endif

}  // namespace

void DrawSequence::refill() {
    static const FillWords fill = fastest_fill();
    fill(philox_, next_block_, words_.data());
    next_block_ += lanes;
    next_ = 0;
}

}  // namespace lockstep
