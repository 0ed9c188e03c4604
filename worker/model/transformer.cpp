#include "worker/model/transformer.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "worker/model/rotary_frequencies.h"

namespace lockstep {

namespace {

/// Where one linear map lives in the flat state.
struct LinearPlace {
    std::size_t weight = 0, bias = 0, out = 0, in = 0;
    bool has_bias = false;
};

struct NormPlace {
    std::size_t gain = 0, bias = 0, width = 0;
    bool has_bias = false;
};

struct LayerPlaces {
    NormPlace attention_norm, ffn_norm;
    LinearPlace qkv, attention_out, ffn_in, ffn_out;
};

/// What forward leaves for backward, one layer.
struct LayerActivations {
    float* x = nullptr;          // (T, C) residual stream at the layer's entry
    float* normed1 = nullptr;    // (T, C)
    float* mean1 = nullptr;      // (T)
    float* rstd1 = nullptr;      // (T)
    float* qkv = nullptr;        // (T, qkv)
    float* attended = nullptr;   // (T, query)
    float* lse = nullptr;        // (heads · T)
    float* x_mid = nullptr;      // (T, C) residual stream between attention and FFN
    float* normed2 = nullptr;    // (T, C)
    float* mean2 = nullptr;      // (T)
    float* rstd2 = nullptr;      // (T)
    float* hidden = nullptr;     // (T, F) before the activation; (T, 2F) for SwiGLU
    float* activated = nullptr;  // (T, F)
};

/// One allocation, handed out once.
class Arena {
  public:
    void reserve(float** slot, std::size_t elements) {
        requests_.push_back({slot, elements});
        total_ += (elements + 15) / 16 * 16;
    }
    void allocate() {
        const std::size_t bytes = std::max<std::size_t>(total_ * sizeof(float), 64);
        data_.reset(static_cast<float*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
        if (!data_) {
            throw Error(ErrorCode::environment, "not enough memory for the step's workspace (" +
                                                    std::to_string(bytes >> 20U) +
                                                    " MiB); lower the token budget");
        }
        // Touch every page now: page faults in the first step would be counted as its time.
        std::fill_n(data_.get(), total_, 0.0F);
        float* next = data_.get();
        for (const Request& request : requests_) {
            *request.slot = next;
            next += (request.elements + 15) / 16 * 16;
        }
    }
    std::size_t bytes() const { return total_ * sizeof(float); }

  private:
    struct Request {
        float** slot;
        std::size_t elements;
    };
    struct Free {
        void operator()(float* p) const { std::free(p); }
    };
    std::vector<Request> requests_;
    std::size_t total_ = 0;
    std::unique_ptr<float, Free> data_;
};

}  // namespace

std::vector<GemmShape> gemm_shapes(const ModelConfig& c, std::size_t tokens) {
    const std::size_t query = c.heads * c.head_dim;
    const std::size_t qkv = query + 2 * c.kv_heads * c.head_dim;
    const std::size_t ffn_in = c.family == ModelFamily::gpt2 ? c.ffn : 2 * c.ffn;
    std::vector<GemmShape> shapes;
    const auto linear = [&](std::size_t out, std::size_t in, std::size_t rows) {
        shapes.push_back({GemmShape::Form::nt, rows, out, in});
        shapes.push_back({GemmShape::Form::nn, rows, in, out});
        shapes.push_back({GemmShape::Form::tn, out, in, rows});
    };
    linear(qkv, c.width, tokens);
    linear(c.width, query, tokens);
    linear(ffn_in, c.width, tokens);
    linear(c.width, c.ffn, tokens);
    linear(c.vocabulary, c.width, std::min(tokens, head_tile_tokens));
    return shapes;
}

struct Transformer::State {
    ModelConfig config;
    const Gemm& gemm;
    ThreadPool& pool;
    StateLayout layout;
    std::size_t tokens_max;

    // Places in the flat state.
    std::size_t token_table = 0, position_table = 0, head = 0;
    NormPlace final_norm;
    std::vector<LayerPlaces> layers;

    AttentionShape attention;
    std::optional<RotaryTable> rotary;

    Arena arena;
    std::vector<LayerActivations> kept;
    float* x_final = nullptr;       // (T, C)
    float* normed_final = nullptr;  // (T, C)
    float* mean_final = nullptr;    // (T)
    float* rstd_final = nullptr;    // (T)
    float* d_x = nullptr;           // (T, C) gradient of the residual stream
    float* d_narrow = nullptr;      // (T, max(C, query))
    float* d_qkv = nullptr;         // (T, qkv)
    float* d_hidden = nullptr;      // (T, hidden)
    float* d_activated = nullptr;   // (T, F), SwiGLU only
    HeadWorkspace head_workspace;

    State(const ModelConfig& c, const Gemm& g, std::size_t tokens)
        : config(c), gemm(g), pool(g.pool()), layout(c), tokens_max(tokens) {
        find_places();
        attention = {c.heads, c.kv_heads, c.head_dim};
        if (c.family == ModelFamily::llama) rotary.emplace(make_rotary_table(c));
        reserve_workspace();
    }

    bool gpt2() const { return config.family == ModelFamily::gpt2; }
    std::size_t hidden_width() const { return gpt2() ? config.ffn : 2 * config.ffn; }

    void find_places() {
        const auto at = [&](const std::string& name) { return layout.tensor(name).offset; };
        const auto linear = [&](const std::string& name) {
            const TensorSpec& weight = layout.tensor(name + ".weight");
            const TensorSpec* bias = layout.find(name + ".bias");
            return LinearPlace{weight.offset, bias != nullptr ? bias->offset : 0, weight.rows, weight.cols,
                               bias != nullptr};
        };
        const auto norm = [&](const std::string& name) {
            NormPlace place{at(name + ".gain"), 0, config.width, gpt2()};
            if (place.has_bias) place.bias = at(name + ".bias");
            return place;
        };
        token_table = at("token_table.weight");
        if (gpt2()) position_table = at("position_table.weight");
        head = config.tied_head ? token_table : at("head.weight");
        final_norm = norm("final_norm");
        for (std::size_t i = 0; i < config.layers; ++i) {
            const std::string p = "layers." + std::to_string(i) + ".";
            layers.push_back({norm(p + "attention_norm"), norm(p + "ffn_norm"), linear(p + "attention.qkv"),
                              linear(p + "attention.out"), linear(p + "ffn.in"), linear(p + "ffn.out")});
        }
    }

    void reserve_workspace() {
        const std::size_t t = tokens_max;
        const std::size_t c = config.width;
        kept.resize(config.layers);
        for (LayerActivations& a : kept) {
            arena.reserve(&a.x, t * c);
            arena.reserve(&a.normed1, t * c);
            arena.reserve(&a.mean1, t);
            arena.reserve(&a.rstd1, t);
            arena.reserve(&a.qkv, t * attention.qkv_width());
            arena.reserve(&a.attended, t * attention.query_width());
            arena.reserve(&a.lse, t * config.heads);
            arena.reserve(&a.x_mid, t * c);
            arena.reserve(&a.normed2, t * c);
            arena.reserve(&a.mean2, t);
            arena.reserve(&a.rstd2, t);
            arena.reserve(&a.hidden, t * hidden_width());
            arena.reserve(&a.activated, t * config.ffn);
        }
        arena.reserve(&x_final, t * c);
        arena.reserve(&normed_final, t * c);
        arena.reserve(&mean_final, t);
        arena.reserve(&rstd_final, t);
        arena.reserve(&d_x, t * c);
        arena.reserve(&d_narrow, t * std::max(c, attention.query_width()));
        arena.reserve(&d_qkv, t * attention.qkv_width());
        arena.reserve(&d_hidden, t * hidden_width());
        arena.reserve(&d_activated, gpt2() ? 0 : t * config.ffn);
        arena.allocate();
        head_workspace.reserve(config.vocabulary);
    }

    // --- one layer's parts -------------------------------------------------------------

    void norm_forward(const NormPlace& place, std::span<const float> w, MatrixView x, MatrixView y,
                      float* mean, float* rstd) {
        const auto gain = w.subspan(place.gain, place.width);
        const auto epsilon = static_cast<float>(config.norm_epsilon);
        if (place.has_bias) {
            layer_norm_forward(pool, x, gain, w.subspan(place.bias, place.width), epsilon, y, {mean, x.rows},
                               {rstd, x.rows});
        } else {
            rms_norm_forward(pool, x, gain, epsilon, y, {rstd, x.rows});
        }
    }

    /// Adds to d_x; writes the gradients of gain and bias.
    void norm_backward(const NormPlace& place, std::span<const float> w, std::span<float> g, MatrixView x,
                       const float* mean, const float* rstd, MatrixView d_y, MatrixView into_d_x) {
        const auto gain = w.subspan(place.gain, place.width);
        const auto d_gain = g.subspan(place.gain, place.width);
        if (place.has_bias) {
            layer_norm_backward(pool, x, gain, {mean, x.rows}, {rstd, x.rows}, d_y, into_d_x, d_gain,
                                g.subspan(place.bias, place.width));
        } else {
            rms_norm_backward(pool, x, gain, {rstd, x.rows}, d_y, into_d_x, d_gain);
        }
    }

    ConstMatrixView weight_of(const LinearPlace& place, std::span<const float> w) const {
        return {w.data() + place.weight, place.out, place.in};
    }

    void linear_forward(const LinearPlace& place, std::span<const float> w, MatrixView x, MatrixView y,
                        Accumulate accumulate) {
        gemm.multiply_nt(x, weight_of(place, w), y, accumulate);
        if (place.has_bias) add_bias(pool, y, w.subspan(place.bias, place.out));
    }

    /// Writes the gradients of weight and bias, and d_x.
    void linear_backward(const LinearPlace& place, std::span<const float> w, std::span<float> g, MatrixView x,
                         MatrixView d_y, MatrixView into_d_x) {
        gemm.multiply_tn(d_y, x, MatrixView(g.data() + place.weight, place.out, place.in), Accumulate::no);
        if (place.has_bias) bias_gradient(pool, d_y, g.subspan(place.bias, place.out));
        gemm.multiply_nn(d_y, weight_of(place, w), into_d_x, Accumulate::no);
    }

    static void copy(MatrixView from, MatrixView to) {
        std::copy_n(from.data, from.rows * from.cols, to.data);
    }

    // --- the whole ---------------------------------------------------------------------

    void check(const PackedBatch& batch) const {
        LOCKSTEP_EXPECTS(batch.num_tokens() <= tokens_max);
        LOCKSTEP_EXPECTS(!batch.cu_seqlens.empty() &&
                         static_cast<std::size_t>(batch.cu_seqlens.back()) == batch.num_tokens());
    }

    void forward_layer(std::size_t index, const PackedBatch& batch, std::span<const float> w,
                       MatrixView x_out) {
        const std::size_t t = batch.num_tokens();
        const LayerPlaces& places = layers[index];
        LayerActivations& a = kept[index];
        const MatrixView x(a.x, t, config.width);
        const MatrixView normed1(a.normed1, t, config.width);
        const MatrixView qkv(a.qkv, t, attention.qkv_width());
        const MatrixView attended(a.attended, t, attention.query_width());
        const MatrixView x_mid(a.x_mid, t, config.width);
        const MatrixView normed2(a.normed2, t, config.width);
        const MatrixView hidden(a.hidden, t, hidden_width());
        const MatrixView activated(a.activated, t, config.ffn);

        norm_forward(places.attention_norm, w, x, normed1, a.mean1, a.rstd1);
        linear_forward(places.qkv, w, normed1, qkv, Accumulate::no);
        if (rotary) rotary->rotate(pool, attention, batch.position_ids, qkv);
        attention_forward(pool, attention, batch.cu_seqlens, qkv, attended, {a.lse, config.heads * t});
        copy(x, x_mid);
        linear_forward(places.attention_out, w, attended, x_mid, Accumulate::yes);

        norm_forward(places.ffn_norm, w, x_mid, normed2, a.mean2, a.rstd2);
        linear_forward(places.ffn_in, w, normed2, hidden, Accumulate::no);
        if (gpt2()) {
            gelu_forward(pool, hidden, activated);
        } else {
            swiglu_forward(pool, hidden, activated);
        }
        copy(x_mid, x_out);
        linear_forward(places.ffn_out, w, activated, x_out, Accumulate::yes);
    }

    /// On entry d_x is the gradient of the layer's output, on return of its input.
    void backward_layer(std::size_t index, const PackedBatch& batch, std::span<const float> w,
                        std::span<float> g) {
        const std::size_t t = batch.num_tokens();
        const LayerPlaces& places = layers[index];
        const LayerActivations& a = kept[index];
        const MatrixView d(d_x, t, config.width);
        const MatrixView hidden(a.hidden, t, hidden_width());
        const MatrixView d_hid(d_hidden, t, hidden_width());
        const MatrixView activated(a.activated, t, config.ffn);

        if (gpt2()) {
            linear_backward(places.ffn_out, w, g, activated, d, d_hid);
            gelu_backward(pool, hidden, d_hid);
        } else {
            const MatrixView d_act(d_activated, t, config.ffn);
            linear_backward(places.ffn_out, w, g, activated, d, d_act);
            swiglu_backward(pool, hidden, d_act, d_hid);
        }
        const MatrixView d_normed(d_narrow, t, config.width);
        linear_backward(places.ffn_in, w, g, MatrixView(a.normed2, t, config.width), d_hid, d_normed);
        norm_backward(places.ffn_norm, w, g, MatrixView(a.x_mid, t, config.width), a.mean2, a.rstd2, d_normed,
                      d);

        const MatrixView attended(a.attended, t, attention.query_width());
        const MatrixView d_attended(d_narrow, t, attention.query_width());
        const MatrixView d_q(d_qkv, t, attention.qkv_width());
        linear_backward(places.attention_out, w, g, attended, d, d_attended);
        attention_backward(pool, attention, batch.cu_seqlens, MatrixView(a.qkv, t, attention.qkv_width()),
                           attended, d_attended, {a.lse, config.heads * t}, d_q);
        if (rotary) rotary->rotate_back(pool, attention, batch.position_ids, d_q);
        linear_backward(places.qkv, w, g, MatrixView(a.normed1, t, config.width), d_q, d_normed);
        norm_backward(places.attention_norm, w, g, MatrixView(a.x, t, config.width), a.mean1, a.rstd1,
                      d_normed, d);
    }

    /// Leaves the normed final activations in normed_final.
    void forward_body(const PackedBatch& batch, std::span<const float> w) {
        LOCKSTEP_EXPECTS(w.size() == layout.size());
        check(batch);
        const std::size_t t = batch.num_tokens();
        const MatrixView x0(kept.front().x, t, config.width);
        embedding_forward(pool, batch.token_ids, {w.data() + token_table, config.vocabulary, config.width},
                          x0, Accumulate::no);
        if (gpt2()) {
            embedding_forward(pool, batch.position_ids,
                              {w.data() + position_table, config.positions, config.width}, x0,
                              Accumulate::yes);
        }
        for (std::size_t i = 0; i < config.layers; ++i) {
            float* out = i + 1 < config.layers ? kept[i + 1].x : x_final;
            forward_layer(i, batch, w, {out, t, config.width});
        }
        norm_forward(final_norm, w, {x_final, t, config.width}, {normed_final, t, config.width}, mean_final,
                     rstd_final);
    }

    ConstMatrixView head_weight(std::span<const float> w) const {
        return {w.data() + head, config.vocabulary, config.width};
    }

    double forward_backward(const PackedBatch& batch, std::span<const float> w, float scale,
                            std::span<float> g, std::span<float> token_loss) {
        LOCKSTEP_EXPECTS(g.size() == layout.size());
        forward_body(batch, w);
        const std::size_t t = batch.num_tokens();
        const MatrixView normed(normed_final, t, config.width);
        const MatrixView d_normed(d_narrow, t, config.width);
        const double loss = head_loss_backward(gemm, normed, head_weight(w), batch.targets, scale, d_normed,
                                               {g.data() + head, config.vocabulary, config.width},
                                               head_workspace, token_loss);
        const MatrixView d(d_x, t, config.width);
        std::fill_n(d_x, t * config.width, 0.0F);
        norm_backward(final_norm, w, g, {x_final, t, config.width}, mean_final, rstd_final, d_normed, d);
        for (std::size_t i = config.layers; i-- > 0;) backward_layer(i, batch, w, g);

        // A tied table already holds the head's gradient.
        embedding_backward(pool, batch.token_ids, d,
                           {g.data() + token_table, config.vocabulary, config.width},
                           config.tied_head ? Accumulate::yes : Accumulate::no);
        if (gpt2()) {
            embedding_backward(pool, batch.position_ids, d,
                               {g.data() + position_table, config.positions, config.width}, Accumulate::no);
        }
        return loss;
    }
};

Transformer::Transformer(const ModelConfig& config, const Gemm& gemm, std::size_t tokens_max)
    : state_(std::make_unique<State>(config, gemm, tokens_max)) {}
Transformer::~Transformer() = default;

const StateLayout& Transformer::layout() const {
    return state_->layout;
}
std::size_t Transformer::workspace_bytes() const {
    return state_->arena.bytes();
}

double Transformer::forward_backward(const PackedBatch& batch, std::span<const float> weights, float scale,
                                     std::span<float> gradient, std::span<float> token_loss) {
    return state_->forward_backward(batch, weights, scale, gradient, token_loss);
}

double Transformer::forward(const PackedBatch& batch, std::span<const float> weights,
                            std::span<float> token_loss) {
    state_->forward_body(batch, weights);
    return head_loss(state_->gemm, MatrixView(state_->normed_final, batch.num_tokens(), state_->config.width),
                     state_->head_weight(weights), batch.targets, state_->head_workspace, token_loss);
}

void Transformer::logits(const PackedBatch& batch, std::span<const float> weights, MatrixView out) {
    state_->forward_body(batch, weights);
    state_->gemm.multiply_nt(MatrixView(state_->normed_final, batch.num_tokens(), state_->config.width),
                             state_->head_weight(weights), out, Accumulate::no);
}

}  // namespace lockstep
