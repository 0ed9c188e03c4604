// Adapters: their settings and state, their gradient by two independent roads, and that nothing else moves.

#include "worker/model/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "tests/kernels/kernel_checks.h"
#include "tests/support/conforming_blas.h"
#include "tests/support/error_of.h"
#include "tests/worker/double_model.h"
#include "tests/worker/model_cases.h"
#include "worker/model/transformer.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using enum LoraTarget;

constexpr std::size_t vocabulary = 11;

/// Adapters on everything, on little, and so that backward may end within the first layer.
std::vector<LoraSettings> lora_cases(ModelFamily family) {
    std::vector<LoraSettings> cases = {lora_on("all-linear", family), lora_on("o", family, 1),
                                       lora_on("down", family), lora_on("up,down", family, 4)};
    LoraSettings usual = lora_on("o", family, 2);
    usual.targets = default_lora_targets(family);
    cases.push_back(usual);
    return cases;
}

/// Where nothing is zero by chance: B too.
std::vector<float> lively_adapters(const StateLayout& layout, std::uint64_t seed) {
    return lively_weights(layout, seed);
}

PackedBatch small_pack() {
    std::vector<Sequence> sequences;
    for (const std::size_t tokens : {9U, 1U, 4U})
        sequences.push_back(random_sequence(tokens, vocabulary, tokens));
    return pack_of(sequences);
}

struct Machine {
    ThreadPool pool;
    Gemm gemm;
    Transformer model;

    Machine(const ModelConfig& config, std::size_t tokens, const std::optional<LoraSettings>& lora,
            int threads = 1, GemmBackend backend = GemmBackend::own,
            GemmNumerics numerics = GemmNumerics::fma256, Activations activations = Activations::keep)
        : pool(threads),
          gemm(pool, backend, gemm_shapes(config, tokens, lora), numerics),
          model(config, gemm, tokens, activations, lora) {}
};

constexpr float untouched = 7.0F;

std::vector<float> gradient_of(Machine& machine, const PackedBatch& pack, std::span<const float> base,
                               std::span<const float> adapters, float scale) {
    std::vector<float> gradient(machine.model.trainable_layout().size(), untouched);
    machine.model.set_weights(base);
    machine.model.set_adapters(adapters);
    machine.model.forward_backward(pack, scale, gradient);
    return gradient;
}

/// weights + scale·B·A, written down from the definition, in double.
std::vector<double> merged_in_double(const ModelConfig& config, const LoraSettings& lora,
                                     std::span<const float> base, std::span<const double> adapters) {
    const StateLayout weights(config);
    const StateLayout layout = lora_layout(config, lora);
    std::vector<double> merged(base.begin(), base.end());
    for (const LoraMap& map : lora_maps(config, lora)) {
        const std::size_t a = layout.tensor(map.name + ".lora_a").offset;
        const std::size_t b = layout.tensor(map.name + ".lora_b").offset;
        const std::size_t w = weights.tensor(map.name + ".weight").offset;
        std::size_t b_row = 0;
        for (std::size_t p = 0; p < map.parts.size(); ++p) {
            for (std::size_t row = 0; row < map.parts[p].rows; ++row, ++b_row) {
                for (std::size_t in = 0; in < map.in; ++in) {
                    double sum = 0;
                    for (std::size_t r = 0; r < lora.rank; ++r) {
                        sum += adapters[b + b_row * lora.rank + r] *
                               adapters[a + (p * lora.rank + r) * map.in + in];
                    }
                    merged[w + (map.parts[p].first_row + row) * map.in + in] +=
                        lora.alpha / static_cast<double>(lora.rank) * sum;
                }
            }
        }
    }
    return merged;
}

double size_of(std::span<const float> values) {
    double squares = 0;
    for (const float value : values) squares += static_cast<double>(value) * static_cast<double>(value);
    return std::sqrt(squares);
}

// ----------------------------------------------------------- settings

TEST(LoraTest, TargetsHaveOurNamesAndTheLibrarys) {
    const auto llama = [](const std::string& text) { return parse_lora_targets(text, ModelFamily::llama); };
    const auto gpt2 = [](const std::string& text) { return parse_lora_targets(text, ModelFamily::gpt2); };
    EXPECT_THAT(llama("v,q"), ElementsAre(q, v)) << "in one order, however they are given";
    EXPECT_THAT(llama("q_proj,self_attn.v_proj,q"), ElementsAre(q, v));
    EXPECT_THAT(llama("all-linear"), ElementsAre(q, k, v, o, gate, up, down));
    EXPECT_THAT(gpt2("all-linear"), ElementsAre(qkv, o, up, down));
    EXPECT_THAT(gpt2("c_attn"), ElementsAre(qkv));
    EXPECT_THAT(gpt2("c_proj"), ElementsAre(o, down)) << "as PEFT understands it";
    EXPECT_THAT(gpt2("mlp.c_proj"), ElementsAre(down));
    for (const char* wrong : {"", "q,", ",q", "proj", "c_attn", "lm_head", "Q"}) {
        EXPECT_EQ(error_of([&] { llama(wrong); }).code(), ErrorCode::invalid_argument) << wrong;
    }
    const Error error = error_of([&] { gpt2("q"); });
    EXPECT_THAT(error.what(), HasSubstr("'q'"));
    EXPECT_THAT(error.what(), HasSubstr("qkv (attn.c_attn)"));
}

TEST(LoraTest, ImpossibleSettingsAreNamed) {
    const auto refused = [](const std::string& option, std::size_t rank, double alpha,
                            std::vector<LoraTarget> targets) {
        LoraSettings lora;
        lora.rank = rank;
        lora.alpha = alpha;
        lora.targets = std::move(targets);
        const Error error = error_of([&] { check_lora(lora, ModelFamily::llama); });
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_THAT(error.what(), HasSubstr(option));
    };
    check_lora(lora_on("q", ModelFamily::llama), ModelFamily::llama);
    refused("--lora-rank is 0", 0, 1, {q});
    refused("--lora-rank is 4097", 4097, 1, {q});
    refused("--lora-alpha is 0", 1, 0, {q});
    refused("--lora-alpha", 1, std::nan(""), {q});
    refused("--lora-alpha", 1, INFINITY, {q});
    refused("--lora-targets", 1, 1, {});
    refused("--lora-targets: 'qkv'", 1, 1, {qkv});
}

// ----------------------------------------------------------- state

TEST(LoraTest, FreshAdaptersAreUniformAndZero) {
    for (const auto& [name, config] : model_cases(64, vocabulary, 9)) {
        const LoraSettings lora = lora_on("all-linear", config.family, 8);
        const StateLayout layout = lora_layout(config, lora);
        std::vector<float> adapters(layout.size());
        initialize_weights(layout, 3, adapters);
        for (const TensorSpec& tensor : layout.tensors()) {
            const auto values = std::span(adapters).subspan(tensor.offset, tensor.elements());
            EXPECT_TRUE(tensor.matrix) << "weight decay applies to both";
            if (tensor.name.ends_with("lora_b")) {
                EXPECT_EQ(size_of(values), 0.0) << name << ", " << tensor.name;
                continue;
            }
            ASSERT_TRUE(tensor.name.ends_with("lora_a"));
            const double bound = 1 / std::sqrt(static_cast<double>(tensor.cols));
            double largest = 0, sum = 0;
            for (const float value : values) {
                largest = std::max(largest, std::abs(static_cast<double>(value)));
                sum += static_cast<double>(value);
            }
            const auto count = static_cast<double>(values.size());
            EXPECT_LE(largest, bound * (1 + 1e-7));
            EXPECT_GT(largest, 0.98 * bound) << name << ", " << tensor.name;
            EXPECT_LT(std::abs(sum / count), 4 * bound / std::sqrt(3 * count));
            EXPECT_NEAR(size_of(values), bound * std::sqrt(count / 3), 0.1 * bound * std::sqrt(count / 3));
            EXPECT_EQ(std::set<float>(values.begin(), values.end()).size(), values.size());
        }
    }
}

TEST(LoraTest, MapsStandWhereTheLibraryCutsThem) {
    const ModelConfig llama = model_cases(16, vocabulary, 9)[2].config;  // 4 heads of 4, 2 of them for keys.
    const auto maps = lora_maps(llama, lora_on("k,v,up", ModelFamily::llama));
    ASSERT_EQ(maps.size(), 2 * llama.layers);
    EXPECT_EQ(maps[2].name, "layers.1.attention.qkv");
    EXPECT_EQ(maps[2].layer, 1U);
    ASSERT_EQ(maps[2].parts.size(), 2U);
    EXPECT_EQ(maps[2].parts[0].first_row, 16U);
    EXPECT_EQ(maps[2].parts[1].first_row, 24U);
    EXPECT_EQ(maps[2].rows(), 16U);
    EXPECT_EQ(maps[3].parts[0].first_row, 24U) << "up follows gate";
    const StateLayout layout = lora_layout(llama, lora_on("k,v,up", ModelFamily::llama));
    EXPECT_EQ(layout.tensor("layers.1.attention.qkv.lora_a").rows, 6U);
    EXPECT_EQ(layout.tensor("layers.1.attention.qkv.lora_b").rows, 16U);
    EXPECT_EQ(layout.tensor("layers.1.ffn.in.lora_b").cols, 3U);
}

// ----------------------------------------------------------- forward

TEST(LoraTest, WithBZeroTheModelIsItsBaseToTheBit) {
    for (const auto& [name, config] : model_cases(16, vocabulary, 9)) {
        const LoraSettings lora = lora_on("all-linear", config.family);
        const PackedBatch pack = small_pack();
        Machine plain(config, pack.num_tokens(), std::nullopt);
        Machine adapted(config, pack.num_tokens(), lora);
        const std::vector<float> base = lively_weights(StateLayout(config), 1);
        std::vector<float> adapters(adapted.model.trainable_layout().size());
        initialize_weights(adapted.model.trainable_layout(), 1, adapters);
        std::vector<float> expected(pack.num_tokens() * vocabulary), found(expected.size());
        plain.model.set_weights(base);
        plain.model.logits(pack, {expected.data(), pack.num_tokens(), vocabulary});
        adapted.model.set_weights(base);
        adapted.model.set_adapters(adapters);
        adapted.model.logits(pack, {found.data(), pack.num_tokens(), vocabulary});
        EXPECT_EQ(found, expected) << name;
    }
}

TEST(LoraTest, TheMergedModelSaysTheSame) {
    for (const auto& [name, config] : model_cases(16, vocabulary, 9)) {
        for (const LoraSettings& lora : lora_cases(config.family)) {
            const PackedBatch pack = small_pack();
            Machine plain(config, pack.num_tokens(), std::nullopt);
            Machine adapted(config, pack.num_tokens(), lora);
            const std::vector<float> base = lively_weights(StateLayout(config), 2);
            const std::vector<float> adapters = lively_adapters(adapted.model.trainable_layout(), 3);
            std::vector<float> merged = base;
            merge_adapters(config, lora, adapters, merged);
            const std::vector<double> exact =
                merged_in_double(config, lora, base, std::vector<double>(adapters.begin(), adapters.end()));
            for (std::size_t i = 0; i < merged.size(); ++i)
                ASSERT_NEAR(static_cast<double>(merged[i]), exact[i], 1e-6) << name << ", element " << i;

            std::vector<float> of_merged(pack.num_tokens() * vocabulary), of_both(of_merged.size());
            plain.model.set_weights(merged);
            plain.model.logits(pack, {of_merged.data(), pack.num_tokens(), vocabulary});
            adapted.model.set_weights(base);
            adapted.model.set_adapters(adapters);
            adapted.model.logits(pack, {of_both.data(), pack.num_tokens(), vocabulary});
            std::vector<float> difference(of_both.size());
            for (std::size_t i = 0; i < difference.size(); ++i) difference[i] = of_both[i] - of_merged[i];
            EXPECT_LE(size_of(difference), 3e-6 * size_of(of_merged))
                << name << ", " << text_of(lora.targets);
            const double expected = DoubleModel(config).loss(pack, exact);
            EXPECT_NEAR(adapted.model.forward(pack), expected, 2e-6 * expected) << name;
        }
    }
}

// ----------------------------------------------------------- backward

TEST(LoraTest, TheGradientIsTheReferenceModelsDerivative) {
    constexpr double h = 1e-4;
    for (const auto& [name, model] : model_cases(16, vocabulary, 9)) {
        const ModelConfig& config = model;  // Clang 14 captures no structured bindings.
        for (const LoraSettings& lora : lora_cases(config.family)) {
            const PackedBatch pack = small_pack();
            Machine machine(config, pack.num_tokens(), lora);
            const StateLayout& layout = machine.model.trainable_layout();
            const std::vector<float> base = lively_weights(StateLayout(config), 5);
            const std::vector<float> adapters = lively_adapters(layout, 6);
            constexpr float scale = 0.25F;
            const std::vector<float> gradient = gradient_of(machine, pack, base, adapters, scale);
            const DoubleModel reference(config);
            const std::vector<double> centre(adapters.begin(), adapters.end());
            std::vector<double> at = centre;
            const auto loss = [&] {
                return static_cast<double>(scale) *
                       reference.loss(pack, merged_in_double(config, lora, base, at));
            };
            for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
                const TensorSpec& tensor = layout.tensors()[index];
                const auto mine = std::span(gradient).subspan(tensor.offset, tensor.elements());
                const double size = size_of(mine);
                const std::string what = name + ", " + text_of(lora.targets) + ", " + tensor.name;
                ASSERT_GT(size, 0.0) << what;
                // Two elements, and all of them at once along a random direction.
                for (const std::size_t i : {std::size_t{0}, tensor.elements() - 1}) {
                    double& element = at[tensor.offset + i];
                    element += h;
                    const double above = loss();
                    element -= 2 * h;
                    const double below = loss();
                    element = centre[tensor.offset + i];
                    EXPECT_NEAR(static_cast<double>(mine[i]), (above - below) / (2 * h), 1e-4 * size)
                        << what << "[" << i << "]";
                }
                double along = 0;
                const auto loss_along = [&](double distance) {
                    for (std::size_t i = 0; i < mine.size(); ++i) {
                        at[tensor.offset + i] = centre[tensor.offset + i] +
                                                distance * static_cast<double>(standard_normal(9, index, i));
                    }
                    return loss();
                };
                const double expected = (loss_along(h) - loss_along(-h)) / (2 * h);
                std::copy(centre.begin(), centre.end(), at.begin());
                for (std::size_t i = 0; i < mine.size(); ++i)
                    along += static_cast<double>(mine[i]) * static_cast<double>(standard_normal(9, index, i));
                EXPECT_NEAR(along, expected, 2e-4 * size) << what;
            }
        }
    }
}

// Every element by another road: with dW the gradient of the merged weight, dB = s·dW·Aᵀ and dA = s·Bᵀ·dW.
TEST(LoraTest, EveryElementFollowsFromTheMergedModelsGradient) {
    for (const auto& [name, config] : model_cases(16, vocabulary, 9)) {
        for (const LoraSettings& lora : lora_cases(config.family)) {
            const PackedBatch pack = small_pack();
            Machine machine(config, pack.num_tokens(), lora);
            Machine plain(config, pack.num_tokens(), std::nullopt);
            const StateLayout& layout = machine.model.trainable_layout();
            const StateLayout& weights = plain.model.layout();
            const std::vector<float> base = lively_weights(weights, 7);
            const std::vector<float> adapters = lively_adapters(layout, 8);
            std::vector<float> merged = base;
            merge_adapters(config, lora, adapters, merged);
            std::vector<float> whole(weights.size());
            plain.model.set_weights(merged);
            plain.model.forward_backward(pack, 0.5F, whole);
            const std::vector<float> gradient = gradient_of(machine, pack, base, adapters, 0.5F);

            std::vector<float> error(layout.size(), 0.0F), expected(layout.size(), 0.0F);
            for (const LoraMap& map : lora_maps(config, lora)) {
                const std::size_t a = layout.tensor(map.name + ".lora_a").offset;
                const std::size_t b = layout.tensor(map.name + ".lora_b").offset;
                const float* dw = whole.data() + weights.tensor(map.name + ".weight").offset;
                std::size_t b_row = 0;
                for (std::size_t p = 0; p < map.parts.size(); ++p) {
                    for (std::size_t row = 0; row < map.parts[p].rows; ++row, ++b_row) {
                        for (std::size_t r = 0; r < lora.rank; ++r) {
                            for (std::size_t in = 0; in < map.in; ++in) {
                                const float d =
                                    lora.scale() * dw[(map.parts[p].first_row + row) * map.in + in];
                                const std::size_t at_a = a + (p * lora.rank + r) * map.in + in;
                                const std::size_t at_b = b + b_row * lora.rank + r;
                                expected[at_b] += d * adapters[at_a];
                                expected[at_a] += d * adapters[at_b];
                            }
                        }
                    }
                }
            }
            for (const TensorSpec& tensor : layout.tensors()) {
                for (std::size_t i = tensor.offset; i < tensor.offset + tensor.elements(); ++i)
                    error[i] = gradient[i] - expected[i];
                EXPECT_LE(size_of(std::span(error).subspan(tensor.offset, tensor.elements())),
                          2e-5 * size_of(std::span(expected).subspan(tensor.offset, tensor.elements())))
                    << name << ", " << text_of(lora.targets) << ", " << tensor.name;
            }
        }
    }
}

TEST(LoraTest, OnlyAdaptersReceiveAGradientAndAllOfIt) {
    for (const auto& [name, config] : model_cases(16, vocabulary, 9)) {
        for (const LoraSettings& lora : lora_cases(config.family)) {
            const PackedBatch pack = small_pack();
            Machine machine(config, pack.num_tokens(), lora);
            const StateLayout& layout = machine.model.trainable_layout();
            const std::vector<float> base = lively_weights(StateLayout(config), 9);
            const std::vector<float> gradient =
                gradient_of(machine, pack, base, lively_adapters(layout, 9), 1.0F);
            std::vector<bool> written(layout.size(), false);
            for (const TensorSpec& tensor : layout.tensors())
                std::fill_n(written.begin() + static_cast<std::ptrdiff_t>(tensor.offset), tensor.elements(),
                            true);
            for (std::size_t i = 0; i < gradient.size(); ++i)
                ASSERT_EQ(gradient[i] != untouched, written[i]) << name << ", element " << i;
        }
    }
}

// ----------------------------------------------------------- the same bits everywhere

/// Large enough for several tiles of tokens and for all forms of the products.
std::vector<float> wide_gradient(const ModelConfig& config, int threads, GemmBackend backend,
                                 GemmNumerics numerics, Activations activations = Activations::keep) {
    std::vector<Sequence> sequences;
    for (const std::size_t tokens : {130U, 3U, 131U})
        sequences.push_back(random_sequence(tokens, config.vocabulary, tokens));
    const PackedBatch pack = pack_of(sequences);
    const LoraSettings lora = lora_on("all-linear", config.family, 5);
    Machine machine(config, pack.num_tokens(), lora, threads, backend, numerics, activations);
    return gradient_of(machine, pack, lively_weights(StateLayout(config), 11),
                       lively_adapters(machine.model.trainable_layout(), 12), 0.01F);
}

TEST(LoraTest, ThreadsInstructionSetsBackendsAndRecomputingDoNotChangeABit) {
    for (const auto& [name, config] : model_cases(64, 300, 131)) {
        if (config.tied_head == (config.family == ModelFamily::llama)) continue;  // One case a family.
        for (const GemmNumerics numerics : {GemmNumerics::fma256, GemmNumerics::bf16}) {
            const auto expected = bits_of(wide_gradient(config, 1, GemmBackend::reference, numerics));
            for (const int threads : {1, 2, 3}) {
                for (const KernelIsa isa : supported_isas()) {
                    const IsaScope scope(isa);
                    EXPECT_TRUE(bits_of(wide_gradient(config, threads, GemmBackend::own, numerics)) ==
                                expected)
                        << name << ", " << name_of(isa) << ", " << threads << " threads";
                }
            }
            EXPECT_TRUE(bits_of(wide_gradient(config, 2, GemmBackend::automatic, numerics,
                                              Activations::recompute)) == expected)
                << name;
        }
    }
}

TEST(LoraTest, APackedGradientIsTheSumOfItsSegments) {
    for (const auto& [name, config] : model_cases(16, vocabulary, 9)) {
        const LoraSettings lora = lora_on("all-linear", config.family);
        std::vector<Sequence> sequences;
        for (const std::size_t tokens : {9U, 2U, 5U})
            sequences.push_back(random_sequence(tokens, vocabulary, tokens));
        const PackedBatch pack = pack_of(sequences);
        Machine machine(config, pack.num_tokens(), lora);
        const StateLayout& layout = machine.model.trainable_layout();
        const std::vector<float> base = lively_weights(StateLayout(config), 13);
        const std::vector<float> adapters = lively_adapters(layout, 14);
        const std::vector<float> packed = gradient_of(machine, pack, base, adapters, 1.0F);
        std::vector<float> difference = packed;
        for (const Sequence& sequence : sequences) {
            const std::vector<float> alone =
                gradient_of(machine, pack_of(std::span(&sequence, 1)), base, adapters, 1.0F);
            for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= alone[i];
        }
        for (const TensorSpec& tensor : layout.tensors()) {
            EXPECT_LE(size_of(std::span(difference).subspan(tensor.offset, tensor.elements())),
                      1e-5 * size_of(std::span(packed).subspan(tensor.offset, tensor.elements())))
                << name << ", " << tensor.name;
        }
    }
}

TEST(LoraTest, TakesLessThanTrainingTheModel) {
    const ModelConfig config = load_model_config("tiny", 300).config;
    const LoraSettings lora = lora_on("all-linear", config.family, 8);
    ThreadPool pool(1);
    const Gemm gemm(pool, GemmBackend::own, gemm_shapes(config, 256, lora));
    const TransformerMemory whole = transformer_memory(config, gemm, 256, Activations::keep);
    const TransformerMemory adapted = transformer_memory(config, gemm, 256, Activations::keep, lora);
    EXPECT_LT(adapted.gradient * 10, whole.gradient);
    EXPECT_EQ(adapted.weight_panels, whole.weight_panels);
    EXPECT_EQ(adapted.total(), Transformer(config, gemm, 256, Activations::keep, lora).memory().total());
    EXPECT_LT(flop_per_token(config, lora, 100), 0.8 * flop_per_token(config, 100));
    EXPECT_EQ(flop_per_token(config, std::nullopt, 100), flop_per_token(config, 100));
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
    lockstep::ensure_conforming_blas(argv);
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
