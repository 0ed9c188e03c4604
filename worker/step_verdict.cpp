#include "worker/step_verdict.h"

#include <algorithm>
#include <bit>

namespace lockstep {

void StepVerdict::set_loss(std::uint64_t pack_in_step, double loss) {
    if (pack_in_step < packs_) values_[losses_begin + pack_in_step] = std::bit_cast<std::int64_t>(loss);
}

double StepVerdict::loss_sum() const {
    double sum = 0;
    for (std::uint64_t i = 0; i < packs_; ++i) sum += std::bit_cast<double>(values_[losses_begin + i]);
    return sum;
}

void StepVerdict::set_commit_report(const GenerationCommitter::Report& report) {
    std::copy(report.begin(), report.end(), values_.begin() + commit_at);
}

GenerationCommitter::Report StepVerdict::commit_report() const {
    GenerationCommitter::Report report;
    std::copy_n(values_.begin() + commit_at, report.size(), report.begin());
    return report;
}

void StepVerdict::set_image(CrossCheckRole role, const PackImage& image) {
    values_[place_of(role)] = 1;
    image.put(std::span(values_).subspan(place_of(role) + 1).first<PackImage::words>());
}

std::optional<PackImage> StepVerdict::image(CrossCheckRole role) const {
    if (values_[place_of(role)] == 0) return std::nullopt;
    return PackImage::take(std::span(values_).subspan(place_of(role) + 1).first<PackImage::words>());
}

}  // namespace lockstep
