#include "worker/model/transformer.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/large_pages.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "worker/model/lora_adapters.h"
#include "worker/model/rotary_frequencies.h"

namespace lockstep {

namespace {

/// Where one linear map lives in the flat state.
struct LinearPlace {
    std::size_t weight = 0, bias = 0, out = 0, in = 0;
    bool has_bias = false;
    float* nt_panels = nullptr;  ///< The weight as the products read it; null if they do not.
    float* nn_panels = nullptr;
    const LoraAdapters::Place* adapters = nullptr;  ///< Null if there are none.
    bool ends_backward = false;                     ///< Nothing before this map is trained.
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
    float* softmax = nullptr;    // (2 · heads · T) maxima and inverse sums
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
    /// The slot stays null if nothing is asked for. @return bytes.
    std::size_t reserve(float** slot, std::size_t elements) {
        if (elements == 0) return 0;
        requests_.push_back({slot, elements});
        total_ += padded(elements);
        return padded(elements) * sizeof(float);
    }
    void allocate() {
        try {
            data_.resize(total_ + line);
        } catch (const std::bad_alloc&) {
            throw Error(ErrorCode::environment, "not enough memory for the step's workspace (" +
                                                    std::to_string(bytes() >> 20U) +
                                                    " MiB); lower the token budget");
        }
        // Touch every page now: page faults in the first step would be counted as its time.
        std::ranges::fill(data_, 0.0F);
        const auto address = reinterpret_cast<std::uintptr_t>(data_.data()) / sizeof(float);
        float* next = data_.data() + (line - address % line) % line;
        for (const Request& request : requests_) {
            *request.slot = next;
            next += padded(request.elements);
        }
    }

  private:
    std::size_t bytes() const { return total_ * sizeof(float); }

    static constexpr std::size_t line = 16;  ///< Floats of a cache line.
    struct Request {
        float** slot;
        std::size_t elements;
    };
    static std::size_t padded(std::size_t elements) { return (elements + line - 1) / line * line; }

    std::vector<Request> requests_;
    std::size_t total_ = 0;
    LargeVector<float> data_;
};

}  // namespace

std::vector<GemmShape> gemm_shapes(const ModelConfig& c, std::size_t tokens,
                                   const std::optional<LoraSettings>& lora) {
    const std::size_t query = c.heads * c.head_dim;
    const std::size_t qkv = query + 2 * c.kv_heads * c.head_dim;
    const std::size_t ffn_in = c.family == ModelFamily::gpt2 ? c.ffn : 2 * c.ffn;
    std::vector<GemmShape> shapes;
    const auto linear = [&](std::size_t out, std::size_t in, std::size_t rows) {
        shapes.push_back({GemmShape::Form::nt, rows, out, in});
        shapes.push_back({GemmShape::Form::nn, rows, in, out});
        if (!lora) shapes.push_back({GemmShape::Form::tn, out, in, rows});
    };
    linear(qkv, c.width, tokens);
    linear(c.width, query, tokens);
    linear(ffn_in, c.width, tokens);
    linear(c.width, c.ffn, tokens);
    linear(c.vocabulary, c.width, std::min(tokens, head_tile_tokens));
    if (lora) {
        const std::vector<GemmShape> adapters = lora_gemm_shapes(c, *lora, tokens);
        shapes.insert(shapes.end(), adapters.begin(), adapters.end());
    }
    return shapes;
}

struct Transformer::State {
    ModelConfig config;
    const Gemm& gemm;
    ThreadPool& pool;
    StateLayout layout;
    std::size_t tokens_max;
    Activations activations;
    std::optional<LoraAdapters> lora;  ///< With it all that is in `layout` is frozen.

    // Places in the flat state.
    std::size_t token_table = 0, position_table = 0;
    NormPlace final_norm;
    std::vector<LayerPlaces> layers;

    AttentionShape attention;
    std::optional<RotaryTable> rotary;

    Arena arena;
    TransformerMemory memory;
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
    float* d_weight = nullptr;      // Gradient of one linear map or norm at a time
    float* d_position = nullptr;    // (positions, C)
    float* d_head = nullptr;        // (V, C), and of the token table if it is the head
    float* logits = nullptr;        // (256, V) one tile of the head

    std::span<const float> weights;  ///< Borrowed.
    LinearPlace head_map;

    State(const ModelConfig& c, const Gemm& g, std::size_t tokens, Activations wanted,
          const std::optional<LoraSettings>& l)
        : config(c), gemm(g), pool(g.pool()), layout(c), tokens_max(tokens), activations(wanted) {
        if (l) lora.emplace(c, *l, g, tokens);
        find_places();
        attention = attention_shape(c, tokens);
        reserve_workspace();
    }

    bool gpt2() const { return config.family == ModelFamily::gpt2; }
    std::size_t hidden_width() const { return gpt2() ? config.ffn : 2 * config.ffn; }

    void find_places() {
        const auto at = [&](const std::string& name) { return layout.tensor(name).offset; };
        const auto linear = [&](const std::string& name) {
            const TensorSpec& weight = layout.tensor(name + ".weight");
            const TensorSpec* bias = layout.find(name + ".bias");
            LinearPlace place{weight.offset, bias != nullptr ? bias->offset : 0, weight.rows, weight.cols,
                              bias != nullptr};
            if (lora) place.adapters = lora->find(name);
            return place;
        };
        const auto norm = [&](const std::string& name) {
            NormPlace place{at(name + ".gain"), 0, config.width, gpt2()};
            if (place.has_bias) place.bias = at(name + ".bias");
            return place;
        };
        token_table = at("token_table.weight");
        if (gpt2()) position_table = at("position_table.weight");
        head_map.weight = config.tied_head ? token_table : at("head.weight");
        head_map.out = config.vocabulary;
        head_map.in = config.width;
        final_norm = norm("final_norm");
        for (std::size_t i = 0; i < config.layers; ++i) {
            const std::string p = "layers." + std::to_string(i) + ".";
            layers.push_back({norm(p + "attention_norm"), norm(p + "ffn_norm"), linear(p + "attention.qkv"),
                              linear(p + "attention.out"), linear(p + "ffn.in"), linear(p + "ffn.out")});
        }
        for (LinearPlace* map : maps_of(layers.front())) {
            map->ends_backward = map->adapters != nullptr;
            if (map->ends_backward) break;
        }
    }

    bool recomputes() const { return activations == Activations::recompute; }

    void reserve_layer(LayerActivations& a) {
        const std::size_t t = tokens_max;
        const std::size_t c = config.width;
        for (const auto& [slot, elements] : std::initializer_list<std::pair<float**, std::size_t>>{
                 {&a.normed1, t * c},
                 {&a.mean1, t},
                 {&a.rstd1, t},
                 {&a.qkv, t * attention.qkv_width()},
                 {&a.attended, t * attention.query_width()},
                 {&a.softmax, 2 * t * config.heads},
                 {&a.x_mid, t * c},
                 {&a.normed2, t * c},
                 {&a.mean2, t},
                 {&a.rstd2, t},
                 {&a.hidden, t * hidden_width()},
                 {&a.activated, t * config.ffn}}) {
            memory.activations += arena.reserve(slot, elements);
        }
    }

    void reserve_workspace() {
        const std::size_t t = tokens_max;
        const std::size_t c = config.width;
        kept.resize(config.layers);
        for (LayerActivations& a : kept) {
            memory.activations += arena.reserve(&a.x, t * c);
            if (!recomputes()) reserve_layer(a);
        }
        if (recomputes()) reserve_layer(kept.front());
        for (const auto& [slot, elements] : std::initializer_list<std::pair<float**, std::size_t>>{
                 {&x_final, t * c},
                 {&normed_final, t * c},
                 {&mean_final, t},
                 {&rstd_final, t},
                 {&d_x, t * c},
                 {&d_narrow, t * std::max(c, attention.query_width())},
                 {&d_qkv, t * attention.qkv_width()},
                 {&d_hidden, t * hidden_width()},
                 {&d_activated, gpt2() ? 0 : t * config.ffn}}) {
            memory.activations += arena.reserve(slot, elements);
        }
        std::size_t largest = 2 * c;
        for_linear_maps([&](LinearPlace& map) {
            memory.weight_panels += arena.reserve(&map.nt_panels, gemm.nt_panel_floats(map.out, map.in));
            memory.weight_panels += arena.reserve(&map.nn_panels, gemm.nn_panel_floats(map.out, map.in));
            if (&map != &head_map) largest = std::max(largest, map.out * map.in + map.out);
        });
        if (lora) {
            memory.activations += lora->workspace_bytes();
            memory.gradient += lora->gradient_bytes();
        } else {
            memory.gradient += arena.reserve(&d_weight, largest);
            memory.gradient += arena.reserve(&d_position, gpt2() ? config.positions * c : 0);
            memory.gradient += arena.reserve(&d_head, config.vocabulary * c);
        }
        memory.logits += arena.reserve(&logits, std::min(t, head_tile_tokens) * config.vocabulary);
        if (!gpt2()) memory.rotary = RotaryTable::bytes(rotary_positions(), config.head_dim);
    }

    std::size_t rotary_positions() const { return std::min(config.positions, tokens_max); }

    void allocate() {
        arena.allocate();
        if (!gpt2()) rotary.emplace(make_rotary_table(config, rotary_positions()));
        if (lora) lora->allocate();
        if (!recomputes()) return;
        // All layers share what the first has, but for their entries.
        for (LayerActivations& a : kept) {
            float* const entry = a.x;
            a = kept.front();
            a.x = entry;
        }
    }

    template <class Body>
    void for_linear_maps(const Body& body) {
        body(head_map);
        for (LayerPlaces& layer : layers) {
            for (LinearPlace* map : maps_of(layer)) body(*map);
        }
    }

    static std::array<LinearPlace*, 4> maps_of(LayerPlaces& layer) {
        return {&layer.qkv, &layer.attention_out, &layer.ffn_in, &layer.ffn_out};
    }

    void set_weights(std::span<const float> new_weights) {
        LOCKSTEP_EXPECTS(new_weights.size() == layout.size());
        weights = new_weights;
        for_linear_maps([&](const LinearPlace& map) {
            if (map.nt_panels == nullptr && map.nn_panels == nullptr) return;
            gemm.pack({weights.data() + map.weight, map.out, map.in}, map.nt_panels, map.nn_panels);
        });
    }

    // --- one layer's parts -------------------------------------------------------------

    void norm_forward(const NormPlace& place, MatrixView x, MatrixView y, float* mean, float* rstd) {
        const auto gain = weights.subspan(place.gain, place.width);
        const auto epsilon = static_cast<float>(config.norm_epsilon);
        if (place.has_bias) {
            layer_norm_forward(pool, x, gain, weights.subspan(place.bias, place.width), epsilon, y,
                               {mean, x.rows}, {rstd, x.rows});
        } else {
            rms_norm_forward(pool, x, gain, epsilon, y, {rstd, x.rows});
        }
    }

    /// Adds to d_x; hands out the gradients of gain and bias.
    void norm_backward(const NormPlace& place, GradientSink sink, MatrixView x, const float* mean,
                       const float* rstd, MatrixView d_y, MatrixView into_d_x) {
        const auto gain = weights.subspan(place.gain, place.width);
        const std::size_t width = lora ? 0 : place.width;
        const std::span<float> d_gain(d_weight, width);
        const std::span<float> d_bias(d_weight + width, width);
        if (place.has_bias) {
            layer_norm_backward(pool, x, gain, {mean, x.rows}, {rstd, x.rows}, d_y, into_d_x, d_gain, d_bias);
            if (!lora) sink(place.bias, d_bias);
        } else {
            rms_norm_backward(pool, x, gain, {rstd, x.rows}, d_y, into_d_x, d_gain);
        }
        if (!lora) sink(place.gain, d_gain);
    }

    WeightView weight_of(const LinearPlace& place) const {
        return {{weights.data() + place.weight, place.out, place.in}, place.nt_panels, place.nn_panels};
    }

    std::span<const float> bias_of(const LinearPlace& place, const MatrixRange& part) const {
        return weights.subspan(place.bias + part.column_begin, part.column_end - part.column_begin);
    }

    /// y = x·weightᵀ + bias. @param start  if given, y = start + x·weightᵀ + bias.
    void linear_forward(const LinearPlace& place, MatrixView x, MatrixView y, ConstMatrixView start = {}) {
        if (!place.has_bias) return multiply_forward(place, x, y, {start, {}});
        multiply_forward(place, x, y, {start, [&](const MatrixRange& part) {
                                           add_bias(y.part(part), bias_of(place, part));
                                       }});
    }

    /// Without the bias.
    void multiply_forward(const LinearPlace& place, MatrixView x, MatrixView y, const GemmFusion& fusion) {
        if (place.adapters == nullptr) {
            return gemm.multiply_nt(x, weight_of(place), y, Accumulate::no, fusion);
        }
        gemm.multiply_nt(x, weight_of(place), y, Accumulate::no, {fusion.start, {}});
        lora->forward(*place.adapters, x, y);
        finish_rows(fusion, y);
    }

    /// For sums that are not one product's.
    void finish_rows(const GemmFusion& fusion, MatrixView c) {
        if (!fusion.finish) return;
        pool.for_ranges(c.rows, 1, [&](std::size_t begin, std::size_t end) {
            (*fusion.finish)({begin, end, 0, c.cols});
        });
    }

    /// Hands out the gradients of what is trained, writes d_x.
    void linear_backward(const LinearPlace& place, GradientSink sink, MatrixView x, MatrixView d_y,
                         MatrixView into_d_x, const GemmFusion& fusion = {}) {
        if (lora) return frozen_linear_backward(place, sink, x, d_y, into_d_x, fusion);
        const std::size_t elements = place.out * place.in;
        gemm.multiply_tn(d_y, x, MatrixView(d_weight, place.out, place.in), Accumulate::no);
        sink(place.weight, {d_weight, elements});
        if (place.has_bias) {
            const std::span<float> d_bias(d_weight + elements, place.out);
            bias_gradient(pool, d_y, d_bias);
            sink(place.bias, d_bias);
        }
        gemm.multiply_nn(d_y, weight_of(place), into_d_x, Accumulate::no, fusion);
    }

    void frozen_linear_backward(const LinearPlace& place, GradientSink sink, MatrixView x, MatrixView d_y,
                                MatrixView into_d_x, const GemmFusion& fusion) {
        if (place.adapters != nullptr) {
            const LoraAdapters::Gradients gradients = lora->backward(*place.adapters, x, d_y);
            sink(gradients.a, gradients.d_a);
            sink(gradients.b, gradients.d_b);
        }
        if (place.ends_backward) return;
        if (place.adapters == nullptr) {
            return gemm.multiply_nn(d_y, weight_of(place), into_d_x, Accumulate::no, fusion);
        }
        gemm.multiply_nn(d_y, weight_of(place), into_d_x, Accumulate::no);
        lora->add_input_gradient(*place.adapters, into_d_x);
        finish_rows(fusion, into_d_x);
    }

    std::span<float> softmax_rows(const LayerActivations& a, std::size_t tokens) const {
        return {a.softmax, 2 * config.heads * tokens};
    }

    // --- the whole ---------------------------------------------------------------------

    void check(const PackedBatch& batch) const {
        LOCKSTEP_EXPECTS(batch.num_tokens() <= tokens_max);
        LOCKSTEP_EXPECTS(!batch.cu_seqlens.empty() &&
                         static_cast<std::size_t>(batch.cu_seqlens.back()) == batch.num_tokens());
    }

    /// A layer up to the product that ends it: all that backward needs.
    void forward_layer(std::size_t index, const PackedBatch& batch) {
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

        norm_forward(places.attention_norm, x, normed1, a.mean1, a.rstd1);
        linear_forward(places.qkv, normed1, qkv);
        if (rotary) rotary->rotate(pool, attention, batch.position_ids, qkv);
        attention_forward(pool, attention, batch.cu_seqlens, qkv, attended, softmax_rows(a, t));
        linear_forward(places.attention_out, attended, x_mid, x);

        norm_forward(places.ffn_norm, x_mid, normed2, a.mean2, a.rstd2);
        if (gpt2()) {
            const auto finish = [&](const MatrixRange& part) {
                add_bias_gelu_forward(hidden.part(part), bias_of(places.ffn_in, part), activated.part(part));
            };
            multiply_forward(places.ffn_in, normed2, hidden, {{}, finish});
        } else {
            // Not fused: a gate and its up lie too far apart for one part.
            linear_forward(places.ffn_in, normed2, hidden);
            swiglu_forward(pool, hidden, activated);
        }
    }

    void end_layer(std::size_t index, const PackedBatch& batch, MatrixView x_out) {
        const std::size_t t = batch.num_tokens();
        const LayerActivations& a = kept[index];
        linear_forward(layers[index].ffn_out, {a.activated, t, config.ffn}, x_out,
                       MatrixView(a.x_mid, t, config.width));
    }

    /// On entry d_x is the gradient of the layer's output, on return of its input.
    void backward_layer(std::size_t index, const PackedBatch& batch, GradientSink sink) {
        const std::size_t t = batch.num_tokens();
        const LayerPlaces& places = layers[index];
        const LayerActivations& a = kept[index];
        const MatrixView d(d_x, t, config.width);
        const MatrixView hidden(a.hidden, t, hidden_width());
        const MatrixView d_hid(d_hidden, t, hidden_width());
        const MatrixView activated(a.activated, t, config.ffn);

        if (gpt2()) {
            const auto finish = [&](const MatrixRange& part) {
                gelu_backward(hidden.part(part), d_hid.part(part));
            };
            linear_backward(places.ffn_out, sink, activated, d, d_hid, {{}, finish});
        } else {
            const MatrixView d_act(d_activated, t, config.ffn);
            const auto finish = [&](const MatrixRange& part) {
                const auto gate = [&](MatrixView m) { return m.col_range(0, config.ffn).part(part); };
                const auto up = [&](MatrixView m) { return m.col_range(config.ffn, m.cols).part(part); };
                swiglu_backward(gate(hidden), up(hidden), d_act.part(part), gate(d_hid), up(d_hid));
            };
            linear_backward(places.ffn_out, sink, activated, d, d_act, {{}, finish});
        }
        if (places.ffn_out.ends_backward) return;
        const MatrixView d_normed(d_narrow, t, config.width);
        linear_backward(places.ffn_in, sink, MatrixView(a.normed2, t, config.width), d_hid, d_normed);
        if (places.ffn_in.ends_backward) return;
        norm_backward(places.ffn_norm, sink, MatrixView(a.x_mid, t, config.width), a.mean2, a.rstd2, d_normed,
                      d);

        const MatrixView attended(a.attended, t, attention.query_width());
        const MatrixView d_attended(d_narrow, t, attention.query_width());
        const MatrixView d_q(d_qkv, t, attention.qkv_width());
        linear_backward(places.attention_out, sink, attended, d, d_attended);
        if (places.attention_out.ends_backward) return;
        attention_backward(pool, attention, batch.cu_seqlens, MatrixView(a.qkv, t, attention.qkv_width()),
                           d_attended, softmax_rows(a, t), d_q);
        if (rotary) rotary->rotate_back(pool, attention, batch.position_ids, d_q);
        linear_backward(places.qkv, sink, MatrixView(a.normed1, t, config.width), d_q, d_normed);
        if (places.qkv.ends_backward) return;
        norm_backward(places.attention_norm, sink, MatrixView(a.x, t, config.width), a.mean1, a.rstd1,
                      d_normed, d);
    }

    /// Leaves the normed final activations in normed_final.
    void forward_body(const PackedBatch& batch) {
        LOCKSTEP_EXPECTS(weights.size() == layout.size());
        check(batch);
        const std::size_t t = batch.num_tokens();
        const MatrixView x0(kept.front().x, t, config.width);
        embedding_forward(pool, batch.token_ids,
                          {weights.data() + token_table, config.vocabulary, config.width}, x0,
                          Accumulate::no);
        if (gpt2()) {
            embedding_forward(pool, batch.position_ids,
                              {weights.data() + position_table, config.positions, config.width}, x0,
                              Accumulate::yes);
        }
        for (std::size_t i = 0; i < config.layers; ++i) {
            float* out = i + 1 < config.layers ? kept[i + 1].x : x_final;
            forward_layer(i, batch);
            end_layer(i, batch, {out, t, config.width});
        }
        norm_forward(final_norm, {x_final, t, config.width}, {normed_final, t, config.width}, mean_final,
                     rstd_final);
    }

    double forward_backward(const PackedBatch& batch, float scale, GradientSink sink,
                            std::span<float> token_loss) {
        forward_body(batch);
        const std::size_t t = batch.num_tokens();
        const MatrixView normed(normed_final, t, config.width);
        const MatrixView d_normed(d_narrow, t, config.width);
        const MatrixView d_table(d_head, lora ? 0 : config.vocabulary, config.width);
        const double loss = head_loss_backward(gemm, normed, weight_of(head_map), batch.targets, scale,
                                               d_normed, d_table, logits, token_loss);
        const std::span<const float> table_gradient(d_head, d_table.rows * d_table.cols);
        if (!config.tied_head && !lora) sink(head_map.weight, table_gradient);
        const MatrixView d(d_x, t, config.width);
        std::fill_n(d_x, t * config.width, 0.0F);
        norm_backward(final_norm, sink, {x_final, t, config.width}, mean_final, rstd_final, d_normed, d);
        for (std::size_t i = config.layers; i-- > 0;) {
            // What the last layer left is still there.
            if (recomputes() && i + 1 < config.layers) forward_layer(i, batch);
            backward_layer(i, batch, sink);
        }
        if (lora) return loss;

        // A tied table already holds the head's gradient.
        embedding_backward(pool, batch.token_ids, d, d_table,
                           config.tied_head ? Accumulate::yes : Accumulate::no);
        sink(token_table, table_gradient);
        if (gpt2()) {
            const MatrixView d_positions(d_position, config.positions, config.width);
            embedding_backward(pool, batch.position_ids, d, d_positions, Accumulate::no);
            sink(position_table, {d_position, config.positions * config.width});
        }
        return loss;
    }
};

AttentionShape attention_shape(const ModelConfig& config, std::size_t tokens_max) {
    return {config.heads, config.kv_heads, config.head_dim, tokens_max};
}

TransformerMemory transformer_memory(const ModelConfig& config, const Gemm& gemm, std::size_t tokens_max,
                                     Activations activations, const std::optional<LoraSettings>& lora) {
    return Transformer::State(config, gemm, tokens_max, activations, lora).memory;
}

Transformer::Transformer(const ModelConfig& config, const Gemm& gemm, std::size_t tokens_max,
                         Activations activations, const std::optional<LoraSettings>& lora)
    : state_(std::make_unique<State>(config, gemm, tokens_max, activations, lora)) {
    state_->allocate();
}
Transformer::~Transformer() = default;

const StateLayout& Transformer::layout() const {
    return state_->layout;
}
const StateLayout& Transformer::trainable_layout() const {
    return state_->lora ? state_->lora->layout() : state_->layout;
}
TransformerMemory Transformer::memory() const {
    return state_->memory;
}

void Transformer::set_weights(std::span<const float> weights) {
    state_->set_weights(weights);
}

void Transformer::set_adapters(std::span<const float> adapters) {
    LOCKSTEP_EXPECTS(state_->lora.has_value());
    state_->lora->set_weights(adapters);
}

double Transformer::forward_backward(const PackedBatch& batch, float scale, GradientSink sink,
                                     std::span<float> token_loss) {
    return state_->forward_backward(batch, scale, sink, token_loss);
}

double Transformer::forward_backward(const PackedBatch& batch, float scale, std::span<float> gradient,
                                     std::span<float> token_loss) {
    LOCKSTEP_EXPECTS(gradient.size() == trainable_layout().size());
    return forward_backward(
        batch, scale,
        [&](std::size_t offset, std::span<const float> part) {
            std::ranges::copy(part, gradient.begin() + static_cast<std::ptrdiff_t>(offset));
        },
        token_loss);
}

double Transformer::forward(const PackedBatch& batch, std::span<float> token_loss) {
    state_->forward_body(batch);
    return head_loss(state_->gemm, MatrixView(state_->normed_final, batch.num_tokens(), state_->config.width),
                     state_->weight_of(state_->head_map), batch.targets, state_->logits, token_loss);
}

void Transformer::logits(const PackedBatch& batch, MatrixView out) {
    state_->forward_body(batch);
    state_->gemm.multiply_nt(MatrixView(state_->normed_final, batch.num_tokens(), state_->config.width),
                             state_->weight_of(state_->head_map), out, Accumulate::no);
}

}  // namespace lockstep
