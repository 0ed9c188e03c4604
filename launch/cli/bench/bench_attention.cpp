// `lockstep bench attention`: causal attention over packed segments, as a share of
// multiply-adds that touch no memory.

#include <algorithm>
#include <memory>
#include <vector>

#include "io/base/error.h"
#include "io/base/large_pages.h"
#include "kernels/attention.h"
#include "kernels/speed_probe.h"
#include "launch/cli/bench/bench_measure.h"

namespace lockstep {

namespace {

struct BenchAttentionArguments {
    std::size_t heads = 12, head_dim = 64;
    std::size_t kv_heads = 0;  ///< 0: as many as heads.
    std::vector<std::size_t> lengths = {64, 128, 256, 512, 1024, 2048};
    std::size_t tokens = 2048;
    int threads = 1;
    double seconds = 0.5;
    BenchOutput output;
};

/// Buffers of one pack, and the two directions. The one place of this verb that calls the kernels.
class AttentionProbe {
  public:
    AttentionProbe(const AttentionShape& shape, std::size_t segment_tokens, std::size_t segments)
        : shape_(shape),
          tokens_(segment_tokens * segments),
          qkv_(tokens_ * shape.qkv_width()),
          out_(tokens_ * shape.query_width()),
          d_out_(out_.size()),
          d_qkv_(qkv_.size()),
          softmax_(2 * tokens_ * shape.num_heads) {
        for (std::size_t i = 0; i <= segments; ++i) {
            cu_seqlens_.push_back(static_cast<std::int32_t>(i * segment_tokens));
        }
        for (std::size_t i = 0; i < qkv_.size(); ++i) {
            qkv_[i] = static_cast<float>(i * 2654435761U % 1999) * 0.001F - 1;
        }
        for (std::size_t i = 0; i < d_out_.size(); ++i) {
            d_out_[i] = static_cast<float>(i * 2654435761U % 1789) * 0.001F - 0.9F;
        }
    }

    void forward(ThreadPool& pool) {
        attention_forward(pool, shape_, cu_seqlens_, {qkv_.data(), tokens_, shape_.qkv_width()},
                          {out_.data(), tokens_, shape_.query_width()}, softmax_);
    }
    /// @pre forward ran.
    void backward(ThreadPool& pool) {
        attention_backward(pool, shape_, cu_seqlens_, {qkv_.data(), tokens_, shape_.qkv_width()},
                           {d_out_.data(), tokens_, shape_.query_width()}, softmax_,
                           {d_qkv_.data(), tokens_, shape_.qkv_width()});
    }

  private:
    AttentionShape shape_;
    std::size_t tokens_;
    std::vector<std::int32_t> cu_seqlens_;
    LargeVector<float> qkv_, out_, d_out_, d_qkv_, softmax_;  ///< As the step has them.
};

/// Scores and weighted values of the causal half: two products of two operations each.
double useful_forward_flop(const AttentionShape& shape, std::size_t segment_tokens, std::size_t segments) {
    const auto length = static_cast<double>(segment_tokens);
    return 4.0 * static_cast<double>(shape.num_heads * shape.head_dim * segments) * length * (length + 1) / 2;
}

void measure_length(BenchReport& report, const BenchAttentionArguments& a, const AttentionShape& shape,
                    std::size_t length, ThreadPool& pool) {
    const std::size_t segments = std::max<std::size_t>(1, a.tokens / length);
    AttentionProbe probe(shape, length, segments);
    probe.forward(pool);
    probe.backward(pool);
    std::vector<double> forward, backward;
    double spent = 0;
    double fma_rate = measure_fma_rate(pool, kernel_isa(), 0.02);
    while (forward.size() < 3 || spent < a.seconds) {
        forward.push_back(seconds_of([&] { probe.forward(pool); }));
        backward.push_back(seconds_of([&] { probe.backward(pool); }));
        spent += forward.back() + backward.back();
    }
    fma_rate = std::max(fma_rate, measure_fma_rate(pool, kernel_isa(), 0.02));
    const double flop = useful_forward_flop(shape, length, segments);
    // Backward makes five products of that size: scores again, and the gradients of p, v, q and k.
    const double forward_rate = flop / median_of(forward);
    const double backward_rate = 2.5 * flop / median_of(backward);
    const auto threads = static_cast<double>(pool.size());
    report.row(std::to_string(segments) + " segment(s) of " + std::to_string(length),
               {{"segment_tokens", length},
                {"segments", segments},
                {"forward_flop_per_second_a_core", forward_rate / threads},
                {"forward_fma_share", forward_rate / fma_rate},
                {"backward_flop_per_second_a_core", backward_rate / threads},
                {"backward_fma_share", backward_rate / fma_rate},
                {"fma_flop_per_second_a_core", fma_rate / threads}},
               "forward " + fixed(forward_rate / threads / 1e9, 1) + " (" +
                   fixed(forward_rate / fma_rate, 2) + ")   backward " +
                   fixed(backward_rate / threads / 1e9, 1) + " (" + fixed(backward_rate / fma_rate, 2) + ")");
}

int run_bench_attention(const Invocation& invocation, const BenchAttentionArguments& a) {
    require_one_rank("bench attention");
    const AttentionShape shape{a.heads, a.kv_heads == 0 ? a.heads : a.kv_heads, a.head_dim};
    if (shape.num_heads % shape.num_kv_heads != 0) {
        throw Error(ErrorCode::invalid_argument, "--kv-heads is " + std::to_string(a.kv_heads) +
                                                     "; expected a divisor of the " +
                                                     std::to_string(a.heads) + " heads");
    }
    BenchReport report(invocation, "attention", a.output);
    report.data() = {{"heads", shape.num_heads}, {"kv_heads", shape.num_kv_heads}, {"head_dim", a.head_dim},
                     {"tokens", a.tokens},       {"lengths", a.lengths},           {"threads", a.threads}};
    ThreadPool pool(a.threads);
    invocation.say(std::to_string(shape.num_heads) + " heads of " + std::to_string(a.head_dim) + ", " +
                   std::to_string(a.threads) + " thread(s), " + name_of(kernel_isa()) +
                   ": useful GFLOP/s a core, and share of multiply-adds in registers");
    for (const std::size_t length : a.lengths) measure_length(report, a, shape, length, pool);
    return report.finish();
}

}  // namespace

void add_bench_attention(CLI::App& bench, Invocation& invocation) {
    auto a = std::make_shared<BenchAttentionArguments>();
    a->output.time_tolerance = 0.15;
    CLI::App* verb =
        add_verb(bench, invocation, "attention", "Packed causal attention, beside multiply-adds in registers",
                 "  lockstep bench attention\n"
                 "  lockstep bench attention --lengths 256,1024 --heads 8 --kv-heads 4 --threads 2",
                 [&invocation, a] { return run_bench_attention(invocation, *a); });
    verb->add_option("--heads", a->heads, "Heads (12)")->check(CLI::Range(1, 1024));
    verb->add_option("--kv-heads", a->kv_heads, "Heads of keys and values (as many)")
        ->check(CLI::Range(1, 1024));
    verb->add_option("--head-dim", a->head_dim, "Width of a head (64)")->check(CLI::Range(1, 256));
    verb->add_option("--lengths", a->lengths, "Segment lengths (64,128,256,512,1024,2048)")
        ->delimiter(',')
        ->check(CLI::Range(1, 1 << 16));
    verb->add_option("--tokens", a->tokens, "Tokens of a pack, about: whole segments (2048)")
        ->check(CLI::Range(1, 1 << 16));
    verb->add_option("--threads", a->threads, "Threads (1)")->check(CLI::Range(1, 1024));
    verb->add_option("--seconds", a->seconds, "How long to measure a length (0.5)")
        ->check(CLI::Range(0.0, 600.0));
    add_bench_output(*verb, a->output);
}

}  // namespace lockstep
