#include "launch/cli/bench/step_case.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <string_view>

#include "io/base/error.h"
#include "kernels/cross_entropy.h"
#include "launch/cli/bench/bench_measure.h"
#include "worker/model/transformer.h"
#include "worker/step_rate.h"

namespace lockstep {

namespace {

constexpr std::size_t case_tokens_max = 1U << 20U;

/// Documents as they come: log-normal, one after the other until the pack is full; the last is cut to fit.
std::vector<std::size_t> mixed_segments(std::size_t tokens) {
    std::vector<std::size_t> segments;
    std::size_t left = tokens;
    for (const std::uint32_t length : log_normal_lengths(7, tokens, 300, 0.8, 1024)) {
        if (left == 0) break;
        segments.push_back(std::min<std::size_t>(length, left));
        left -= segments.back();
    }
    return segments;
}

}  // namespace

std::size_t StepCase::tokens() const {
    return std::accumulate(segment_tokens.begin(), segment_tokens.end(), std::size_t{0});
}

StepCase parse_step_case(const std::string& text) {
    const auto refuse = [&] {
        return Error(ErrorCode::invalid_argument,
                     "--case is '" + text +
                         "'; expected MODEL:SEGMENTSxTOKENS, such as gpt2-124m:4x256, or "
                         "MODEL:mixTOKENS, such as small:mix4096");
    };
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0) throw refuse();
    const auto number = [&](std::string_view digits) {
        std::size_t value = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        if (error != std::errc() || end != digits.data() + digits.size() || value < 1 ||
            value > case_tokens_max) {
            throw refuse();
        }
        return value;
    };
    StepCase result{text, text.substr(0, colon), {}};
    const std::string_view packing = std::string_view(text).substr(colon + 1);
    if (packing.starts_with("mix")) {
        result.segment_tokens = mixed_segments(number(packing.substr(3)));
        result.is_mix = true;
        return result;
    }
    const std::size_t times = packing.find('x');
    if (times == std::string_view::npos) throw refuse();
    const std::size_t segments = number(packing.substr(0, times));
    const std::size_t tokens = number(packing.substr(times + 1));
    if (segments * tokens > case_tokens_max) throw refuse();
    result.segment_tokens.assign(segments, tokens);
    return result;
}

std::vector<std::size_t> equal_segments_of_same_work(const std::vector<std::size_t>& segment_tokens) {
    double tokens = 0, squares = 0;
    for (const std::size_t length : segment_tokens) {
        tokens += static_cast<double>(length);
        squares += static_cast<double>(length) * static_cast<double>(length);
    }
    const auto segments = static_cast<std::size_t>(std::lround(tokens * tokens / squares));
    return equal_segments(static_cast<std::size_t>(tokens), std::max<std::size_t>(1, segments));
}

SgemmProbe::SgemmProbe(const ModelConfig& config, std::size_t tokens, ThreadPool& pool)
    : pool_(pool), shapes_(gemm_shapes(config, tokens)), products_(shapes_) {
    // The head's shapes are of one tile; the others are of one layer.
    const std::size_t head_tokens = std::min(tokens, head_tile_tokens);
    for (const GemmShape& s : shapes_) {
        const bool is_head = std::max({s.m, s.n, s.k}) == config.vocabulary;
        counts_.push_back(is_head ? static_cast<double>(tokens) / static_cast<double>(head_tokens)
                                  : static_cast<double>(config.layers));
    }
}

double SgemmProbe::run(SgemmSplit split) {
    double flop = 0, seconds = 0;
    for (std::size_t i = 0; i < shapes_.size(); ++i) {
        const auto work = [&] { products_.sgemm(pool_, shapes_[i], split); };
        work();
        flop += counts_[i] * flop_of(shapes_[i]);
        seconds += counts_[i] * seconds_of(work);
    }
    return flop / seconds;
}

}  // namespace lockstep
