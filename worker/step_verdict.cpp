#include "worker/step_verdict.h"

#include <algorithm>
#include <bit>

namespace lockstep {

void StepVerdict::add_pack(std::uint64_t pack_in_step, const LedgerRow& row) {
    if (pack_in_step >= packs_) return;
    ++values_[place_of(pack_in_step, times_at)];
    const auto put = [&](PackPlace place, std::uint64_t word) {
        values_[place_of(pack_in_step, place)] = std::bit_cast<std::int64_t>(word);
    };
    put(loss_at, std::bit_cast<std::uint64_t>(row.loss));
    put(digest_low_at, row.token_digest.low);
    put(digest_high_at, row.token_digest.high);
    put(counts_at, (std::uint64_t{row.tokens} << 32U) | row.targets);
}

std::optional<StepVerdict::Miscount> StepVerdict::miscount() const {
    for (std::uint64_t i = 0; i < packs_; ++i) {
        const std::int64_t times = values_[place_of(i, times_at)];
        if (times != 1) return Miscount{.pack_in_step = i, .times = times};
    }
    return std::nullopt;
}

std::uint64_t StepVerdict::tokens() const {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < packs_; ++i) {
        sum += std::bit_cast<std::uint64_t>(values_[place_of(i, counts_at)]) >> 32U;
    }
    return sum;
}

double StepVerdict::loss_sum() const {
    double sum = 0;
    for (std::uint64_t i = 0; i < packs_; ++i) sum += std::bit_cast<double>(values_[place_of(i, loss_at)]);
    return sum;
}

void StepVerdict::ledger_rows(std::uint64_t step, std::uint64_t first_pack,
                              std::vector<LedgerRow>& rows) const {
    rows.clear();
    for (std::uint64_t i = 0; i < packs_; ++i) {
        const auto word = [&](PackPlace place) {
            return std::bit_cast<std::uint64_t>(values_[place_of(i, place)]);
        };
        LedgerRow row;
        row.step = step;
        row.pack = first_pack + i;
        row.tokens = static_cast<std::uint32_t>(word(counts_at) >> 32U);
        row.targets = static_cast<std::uint32_t>(word(counts_at));
        row.token_digest = {.low = word(digest_low_at), .high = word(digest_high_at)};
        row.loss = std::bit_cast<double>(word(loss_at));
        if (row.targets == 0) {
            row.event = PackEvent::no_target;
        } else if (non_finite()) {
            row.event = PackEvent::skipped_non_finite;
        }
        rows.push_back(row);
    }
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
