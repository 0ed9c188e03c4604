#include "kernels/cross_entropy.h"

#include <algorithm>
#include <array>
#include <limits>

#include "io/base/contract.h"
#include "kernels/scalar_math.h"
#include "kernels/simd/kernel_table.h"

namespace lockstep {
namespace {

/// −log softmax(logits)[target] in double. Never a negative zero, and one bit pattern for "not a number": the
/// loss is recorded bit by bit.
double loss_of(double sum, float maximum, float target_logit) {
    const double loss = exact_log(sum) + (static_cast<double>(maximum) - static_cast<double>(target_logit));
    return loss != loss ? std::numeric_limits<double>::quiet_NaN() : loss + 0.0;
}

class Head {
  public:
    Head(const Gemm& gemm, ConstMatrixView hidden, const WeightView& head,
         std::span<const std::int32_t> targets, float* logits, std::span<float> token_loss)
        : gemm_(gemm),
          hidden_(hidden),
          head_(head),
          targets_(targets),
          logits_(logits),
          token_loss_(token_loss),
          kernels_(kernel_table()) {
        LOCKSTEP_EXPECTS(targets.size() == hidden.rows && hidden.cols == head.plain.cols &&
                         head.plain.rows > 0);
        LOCKSTEP_EXPECTS(token_loss.empty() || token_loss.size() == hidden.rows);
    }

    /// Call row(t, logits) for every row of the tile that begins at `begin`; row returns its loss.
    template <class Row>
    MatrixView tile(std::size_t begin, const Row& row) {
        const std::size_t rows = std::min(head_tile_tokens, hidden_.rows - begin);
        const MatrixView logits(logits_, rows, head_.plain.rows);
        gemm_.multiply_nt(hidden_.row_range(begin, begin + rows), head_, logits, Accumulate::no);
        std::array<double, head_tile_tokens> losses{};
        gemm_.pool().for_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
            for (std::size_t i = first; i < last; ++i) losses[i] = row(targets_[begin + i], logits.row(i));
        });
        for (std::size_t i = 0; i < rows; ++i) {
            total_ += losses[i];
            if (!token_loss_.empty()) token_loss_[begin + i] = static_cast<float>(losses[i]);
        }
        return logits;
    }

    double total() const { return total_ != total_ ? std::numeric_limits<double>::quiet_NaN() : total_; }
    const KernelTable& kernels() const { return kernels_; }
    std::size_t vocabulary() const { return head_.plain.rows; }
    std::size_t target_index(std::int32_t target) const {
        LOCKSTEP_EXPECTS(target >= 0 && static_cast<std::size_t>(target) < head_.plain.rows);
        return static_cast<std::size_t>(target);
    }

  private:
    const Gemm& gemm_;
    ConstMatrixView hidden_;
    WeightView head_;
    std::span<const std::int32_t> targets_;
    float* logits_;
    std::span<float> token_loss_;
    const KernelTable& kernels_;
    double total_ = 0;
};

}  // namespace

double head_loss_backward(const Gemm& gemm, ConstMatrixView hidden, const WeightView& head,
                          std::span<const std::int32_t> targets, float scale, MatrixView d_hidden,
                          MatrixView d_head, float* logits, std::span<float> token_loss) {
    LOCKSTEP_EXPECTS(d_hidden.rows == hidden.rows && d_hidden.cols == hidden.cols);
    LOCKSTEP_EXPECTS(d_head.rows == 0 || (d_head.rows == head.plain.rows && d_head.cols == head.plain.cols));
    Head work(gemm, hidden, head, targets, logits, token_loss);
    const KernelTable& kernels = work.kernels();
    const std::size_t n = work.vocabulary();
    const auto logits_to_gradient = [&](std::int32_t target, float* row) {
        if (target == ignored_target) {
            std::fill_n(row, n, 0.0F);
            return 0.0;
        }
        const std::size_t t = work.target_index(target);
        const float target_logit = row[t];
        const float maximum = kernels.row_max(n, row);
        const double sum = kernels.exponentials_and_sum(n, maximum, row);
        // scale·(softmax − 1 at the target).
        kernels.scale(n, static_cast<float>(static_cast<double>(scale) / sum), row);
        row[t] -= scale;
        return loss_of(sum, maximum, target_logit);
    };
    for (std::size_t begin = 0; begin < hidden.rows; begin += head_tile_tokens) {
        const MatrixView d_logits = work.tile(begin, logits_to_gradient);
        const std::size_t end = begin + d_logits.rows;
        gemm.multiply_nn(d_logits, head, d_hidden.row_range(begin, end), Accumulate::no);
        if (d_head.rows == 0) continue;
        gemm.multiply_tn(d_logits, hidden.row_range(begin, end), d_head,
                         begin == 0 ? Accumulate::no : Accumulate::yes);
    }
    if (hidden.rows == 0) {
        for (std::size_t id = 0; id < d_head.rows; ++id) std::fill_n(d_head.row(id), d_head.cols, 0.0F);
    }
    return work.total();
}

double head_loss(const Gemm& gemm, ConstMatrixView hidden, const WeightView& head,
                 std::span<const std::int32_t> targets, float* logits, std::span<float> token_loss) {
    Head work(gemm, hidden, head, targets, logits, token_loss);
    const std::size_t n = work.vocabulary();
    for (std::size_t begin = 0; begin < hidden.rows; begin += head_tile_tokens) {
        work.tile(begin, [&](std::int32_t target, const float* row) {
            if (target == ignored_target) return 0.0;
            const float maximum = work.kernels().row_max(n, row);
            const double sum = work.kernels().exponential_sum(n, maximum, row);
            return loss_of(sum, maximum, row[work.target_index(target)]);
        });
    }
    return work.total();
}

}  // namespace lockstep
