#include "worker/model/lora_adapters.h"

#include <algorithm>

#include "io/base/contract.h"
#include "kernels/elementwise.h"

namespace lockstep {

std::vector<GemmShape> lora_gemm_shapes(const ModelConfig& config, const LoraSettings& lora,
                                        std::size_t tokens) {
    using enum GemmShape::Form;
    std::vector<GemmShape> shapes;
    const auto add = [&](const GemmShape& shape) {
        if (std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
    };
    for (const LoraMap& map : lora_maps(config, lora)) {
        if (map.layer > 0) break;  // All layers are alike.
        const std::size_t projections = map.parts.size() * lora.rank;
        add({nt, tokens, projections, map.in});
        add({nn, tokens, map.in, projections});
        add({tn, projections, map.in, tokens});
        for (const LoraMap::Part& part : map.parts) {
            add({nt, tokens, part.rows, lora.rank});
            add({nn, tokens, lora.rank, part.rows});
            add({tn, part.rows, lora.rank, tokens});
        }
    }
    return shapes;
}

LoraAdapters::LoraAdapters(const ModelConfig& config, const LoraSettings& lora, const Gemm& gemm,
                           std::size_t tokens_max)
    : gemm_(gemm), rank_(lora.rank), scale_(lora.scale()), layout_(lora_layout(config, lora)) {
    for (LoraMap& map : lora_maps(config, lora)) {
        const std::size_t projections = map.parts.size() * rank_;
        projected_floats_ = std::max(projected_floats_, tokens_max * projections);
        gradient_floats_ = std::max(gradient_floats_, projections * map.in + map.rows() * rank_);
        const std::size_t a = layout_.tensor(map.name + ".lora_a").offset;
        const std::size_t b = layout_.tensor(map.name + ".lora_b").offset;
        places_.push_back({std::move(map), a, b});
    }
}

void LoraAdapters::allocate() {
    // Filled, so that no page fault falls into a step.
    projected_.assign(projected_floats_, 0.0F);
    d_projected_.assign(projected_floats_, 0.0F);
    gradient_.assign(gradient_floats_, 0.0F);
}

const LoraAdapters::Place* LoraAdapters::find(std::string_view map) const {
    const auto found =
        std::find_if(places_.begin(), places_.end(), [&](const Place& p) { return p.map.name == map; });
    return found == places_.end() ? nullptr : &*found;
}

void LoraAdapters::set_weights(std::span<const float> adapters) {
    LOCKSTEP_EXPECTS(adapters.size() == layout_.size());
    weights_ = adapters;
}

MatrixView LoraAdapters::projected(const Place& place, std::size_t tokens) {
    return {projected_.data(), tokens, place.map.parts.size() * rank_};
}

MatrixView LoraAdapters::d_projected(const Place& place, std::size_t tokens) {
    return {d_projected_.data(), tokens, place.map.parts.size() * rank_};
}

ConstMatrixView LoraAdapters::weight_a(const Place& place) const {
    return {weights_.data() + place.a, place.map.parts.size() * rank_, place.map.in};
}

template <class Body>
void LoraAdapters::for_parts(const Place& place, const Body& body) const {
    std::size_t b_row = 0;
    for (std::size_t p = 0; p < place.map.parts.size(); ++p) {
        const LoraMap::Part& part = place.map.parts[p];
        body(p * rank_, b_row, part.first_row, part.rows);
        b_row += part.rows;
    }
}

void LoraAdapters::project(const Place& place, ConstMatrixView x) {
    LOCKSTEP_EXPECTS(weights_.size() == layout_.size());
    const MatrixView h = projected(place, x.rows);
    gemm_.multiply_nt(x, WeightView(weight_a(place)), h, Accumulate::no);
    scale_by(gemm_.pool(), scale_, h);
}

void LoraAdapters::forward(const Place& place, ConstMatrixView x, MatrixView y) {
    project(place, x);
    const MatrixView h = projected(place, x.rows);
    for_parts(place, [&](std::size_t column, std::size_t b_row, std::size_t first, std::size_t rows) {
        const ConstMatrixView b(weights_.data() + place.b + b_row * rank_, rows, rank_);
        gemm_.multiply_nt(h.col_range(column, column + rank_), WeightView(b),
                          y.col_range(first, first + rows), Accumulate::yes);
    });
}

LoraAdapters::Gradients LoraAdapters::backward(const Place& place, ConstMatrixView x, ConstMatrixView d_y) {
    project(place, x);
    const MatrixView h = projected(place, x.rows);
    const MatrixView d_h = d_projected(place, x.rows);
    const MatrixView d_a(gradient_.data(), h.cols, place.map.in);
    float* const d_b = gradient_.data() + d_a.rows * d_a.cols;
    for_parts(place, [&](std::size_t column, std::size_t b_row, std::size_t first, std::size_t rows) {
        const ConstMatrixView b(weights_.data() + place.b + b_row * rank_, rows, rank_);
        const ConstMatrixView d_part = d_y.col_range(first, first + rows);
        gemm_.multiply_tn(d_part, h.col_range(column, column + rank_),
                          MatrixView(d_b + b_row * rank_, rows, rank_), Accumulate::no);
        gemm_.multiply_nn(d_part, WeightView(b), d_h.col_range(column, column + rank_), Accumulate::no);
    });
    scale_by(gemm_.pool(), scale_, d_h);
    gemm_.multiply_tn(d_h, x, d_a, Accumulate::no);
    return {place.a, place.b, {d_a.data, d_a.rows * d_a.cols}, {d_b, place.map.rows() * rank_}};
}

void LoraAdapters::add_input_gradient(const Place& place, MatrixView d_x) {
    gemm_.multiply_nn(d_projected(place, d_x.rows), WeightView(weight_a(place)), d_x, Accumulate::yes);
}

}  // namespace lockstep
