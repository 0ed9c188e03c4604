#include "worker/model/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "io/base/error.h"
#include "tests/kernels/kernel_checks.h"
#include "tests/support/conforming_blas.h"
#include "tests/worker/double_model.h"
#include "tests/worker/model_cases.h"

namespace lockstep {
namespace {

// ----------------------------------------------------------- what the tests share

/// A model ready to run, on one thread unless told otherwise.
struct Machine {
    ThreadPool pool;
    Gemm gemm;
    Transformer model;

    Machine(const ModelConfig& config, std::size_t tokens_max, int threads = 1,
            GemmBackend backend = GemmBackend::automatic)
        : pool(threads),
          gemm(pool, backend, gemm_shapes(config, tokens_max)),
          model(config, gemm, tokens_max) {}
};

constexpr float untouched = 7.0F;

struct Step {
    double loss = 0;
    std::vector<float> token_loss;
    std::vector<float> gradient;
};

Step forward_backward(Transformer& model, const PackedBatch& batch, std::span<const float> weights,
                      float scale) {
    Step step;
    step.token_loss.resize(batch.num_tokens());
    step.gradient.assign(model.layout().size(), untouched);
    model.set_weights(weights);
    step.loss = model.forward_backward(batch, scale, step.gradient, step.token_loss);
    return step;
}

std::vector<float> logits_of(Transformer& model, const PackedBatch& batch, std::span<const float> weights,
                             std::size_t vocabulary) {
    std::vector<float> logits(batch.num_tokens() * vocabulary);
    model.set_weights(weights);
    model.logits(batch, {logits.data(), batch.num_tokens(), vocabulary});
    return logits;
}

/// Lengths around tile and block sizes; together more than one block of 256.
std::vector<Sequence> some_sequences(std::size_t vocabulary) {
    std::vector<Sequence> sequences;
    std::uint64_t seed = 0;
    for (const std::size_t tokens : Sizes{1, 37, 130, 2, 64, 65}) {
        sequences.push_back(random_sequence(tokens, vocabulary, ++seed));
    }
    return sequences;
}

std::size_t total_tokens(std::span<const Sequence> sequences) {
    std::size_t total = 0;
    for (const Sequence& sequence : sequences) total += sequence.ids.size();
    return total;
}

/// ‖a − b‖ / ‖b‖
double relative_distance(std::span<const float> a, std::span<const double> b) {
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double d = static_cast<double>(a[i]) - b[i];
        difference += d * d;
        size += b[i] * b[i];
    }
    return std::sqrt(difference / size);
}

// ----------------------------------------------------------- forward

TEST(TransformerTest, ASegmentHasTheSameBitsInAnyPackAtAnyOffset) {
    constexpr std::size_t vocabulary = 53;
    for (const auto& [name, config] : model_cases(32, vocabulary, 130)) {
        std::vector<Sequence> sequences = some_sequences(vocabulary);
        Machine machine(config, total_tokens(sequences));
        const std::vector<float> weights = lively_weights(machine.model.layout(), 1);
        // What each sequence gives alone, by its place in `sequences` before any turn.
        std::vector<std::vector<float>> logits, losses;
        for (const Sequence& sequence : sequences) {
            const PackedBatch alone = pack_of(std::span(&sequence, 1));
            logits.push_back(logits_of(machine.model, alone, weights, vocabulary));
            losses.emplace_back(alone.num_tokens());
            machine.model.forward(alone, losses.back());
        }
        for (std::size_t turn = 0; turn < sequences.size(); ++turn) {
            const PackedBatch pack = pack_of(sequences);
            const std::vector<float> packed_logits = logits_of(machine.model, pack, weights, vocabulary);
            std::vector<float> packed_losses(pack.num_tokens());
            machine.model.forward(pack, packed_losses);
            for (std::size_t s = 0; s < sequences.size(); ++s) {
                const auto begin = static_cast<std::size_t>(pack.cu_seqlens[s]);
                const std::size_t length = sequences[s].ids.size();
                const std::size_t which = (s + turn) % sequences.size();
                EXPECT_EQ(bits_of(std::span(packed_logits).subspan(begin * vocabulary, length * vocabulary)),
                          bits_of(logits[which]))
                    << name << ", sequence " << which << " at token " << begin;
                EXPECT_EQ(bits_of(std::span(packed_losses).subspan(begin, length)), bits_of(losses[which]))
                    << name << ", sequence " << which << " at token " << begin;
            }
            std::rotate(sequences.begin(), sequences.begin() + 1, sequences.end());
        }
    }
}

TEST(TransformerTest, TheLossOfTrainingIsTheLossOfForwardToTheBit) {
    constexpr std::size_t vocabulary = 53;
    for (const auto& [name, config] : model_cases(32, vocabulary, 130)) {
        const std::vector<Sequence> sequences = some_sequences(vocabulary);
        const PackedBatch pack = pack_of(sequences);
        Machine machine(config, pack.num_tokens());
        const std::vector<float> weights = lively_weights(machine.model.layout(), 2);
        const Step step = forward_backward(machine.model, pack, weights, 0.01F);
        std::vector<float> token_loss(pack.num_tokens());
        const double loss = machine.model.forward(pack, token_loss);
        EXPECT_EQ(std::bit_cast<std::uint64_t>(step.loss), std::bit_cast<std::uint64_t>(loss)) << name;
        EXPECT_EQ(bits_of(step.token_loss), bits_of(token_loss)) << name;
        double sum = 0;
        for (const float value : token_loss) sum += static_cast<double>(value);
        EXPECT_NEAR(loss, sum, 1e-5 * sum) << name;
        for (std::size_t t = 0; t < pack.num_tokens(); ++t) {
            EXPECT_EQ(token_loss[t] == 0.0F, pack.targets[t] == ignored_target) << name << ", token " << t;
        }
    }
}

TEST(TransformerTest, TheLossIsTheReferenceModels) {
    constexpr std::size_t vocabulary = 53;
    for (const auto& [name, config] : model_cases(32, vocabulary, 130)) {
        const std::vector<Sequence> sequences = some_sequences(vocabulary);
        const PackedBatch pack = pack_of(sequences);
        Machine machine(config, pack.num_tokens());
        const std::vector<float> weights = lively_weights(machine.model.layout(), 3);
        const double expected = DoubleModel(config).loss(pack, as_doubles(weights));
        machine.model.set_weights(weights);
        EXPECT_NEAR(machine.model.forward(pack), expected, 1e-6 * expected) << name;
    }
}

// ----------------------------------------------------------- backward

TEST(TransformerTest, APackedGradientIsTheSumOfItsSegments) {
    constexpr std::size_t vocabulary = 53;
    for (const auto& [name, config] : model_cases(32, vocabulary, 130)) {
        const std::vector<Sequence> sequences = some_sequences(vocabulary);
        const PackedBatch pack = pack_of(sequences);
        Machine machine(config, pack.num_tokens());
        const StateLayout& layout = machine.model.layout();
        const std::vector<float> weights = lively_weights(layout, 4);
        const float scale = 1.0F / static_cast<float>(pack.num_targets);
        const Step packed = forward_backward(machine.model, pack, weights, scale);
        std::vector<double> sum(layout.size(), 0.0);
        for (const Sequence& sequence : sequences) {
            const Step alone =
                forward_backward(machine.model, pack_of(std::span(&sequence, 1)), weights, scale);
            for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(alone.gradient[i]);
        }
        for (const TensorSpec& tensor : layout.tensors()) {
            EXPECT_LE(relative_distance(std::span(packed.gradient).subspan(tensor.offset, tensor.elements()),
                                        std::span(sum).subspan(tensor.offset, tensor.elements())),
                      2e-6)
                << name << ", " << tensor.name;
        }
    }
}

TEST(TransformerTest, TheGradientIsTheReferenceModelsDerivative) {
    constexpr std::size_t vocabulary = 11;
    constexpr double h = 1e-4;
    for (const auto& [name, config] : model_cases(16, vocabulary, 9)) {
        std::vector<Sequence> sequences;
        for (const std::size_t tokens : Sizes{9, 1, 4})
            sequences.push_back(random_sequence(tokens, vocabulary, tokens));
        const PackedBatch pack = pack_of(sequences);
        Machine machine(config, pack.num_tokens());
        const StateLayout& layout = machine.model.layout();
        const std::vector<float> weights = lively_weights(layout, 5);
        const float scale = 0.25F;
        const Step step = forward_backward(machine.model, pack, weights, scale);
        const DoubleModel reference(config);
        std::vector<double> at = as_doubles(weights);
        const auto loss = [&] { return static_cast<double>(scale) * reference.loss(pack, at); };

        for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
            const TensorSpec& tensor = layout.tensors()[index];
            const auto gradient = std::span(step.gradient).subspan(tensor.offset, tensor.elements());
            const auto place = std::span(at).subspan(tensor.offset, tensor.elements());
            double squares = 0;
            for (const float g : gradient) squares += static_cast<double>(g) * static_cast<double>(g);
            const double size = std::sqrt(squares / static_cast<double>(gradient.size()));
            ASSERT_GT(size, 0.0) << name << ", " << tensor.name;

            // Elements one by one.
            const std::size_t stride = std::max<std::size_t>(1, gradient.size() / 13);
            for (std::size_t i = 0; i < gradient.size(); i += stride) {
                const double before = place[i];
                place[i] = before + h;
                const double above = loss();
                place[i] = before - h;
                const double below = loss();
                place[i] = before;
                const double expected = (above - below) / (2 * h);
                EXPECT_NEAR(static_cast<double>(gradient[i]), expected,
                            1e-4 * std::abs(expected) + 2e-5 * size)
                    << name << ", " << tensor.name << "[" << i << "]";
            }

            // All of them at once, along a random direction.
            const std::vector<double> centre(place.begin(), place.end());
            const auto loss_along = [&](double distance) {
                for (std::size_t i = 0; i < place.size(); ++i) {
                    place[i] = centre[i] + distance * static_cast<double>(standard_normal(9, index, i));
                }
                return loss();
            };
            const double expected = (loss_along(h) - loss_along(-h)) / (2 * h);
            std::copy(centre.begin(), centre.end(), place.begin());
            double along = 0;
            for (std::size_t i = 0; i < gradient.size(); ++i) {
                along += static_cast<double>(gradient[i]) * static_cast<double>(standard_normal(9, index, i));
            }
            EXPECT_NEAR(along, expected, 1e-4 * std::sqrt(squares)) << name << ", " << tensor.name;
        }
    }
}

TEST(TransformerTest, EveryElementOfTheGradientIsWrittenAndThePaddingIsNot) {
    constexpr std::size_t vocabulary = 11;
    for (const auto& [name, config] : model_cases(16, vocabulary, 9)) {
        const Sequence sequence = random_sequence(7, vocabulary, 1);
        const PackedBatch pack = pack_of(std::span(&sequence, 1));
        Machine machine(config, 9);
        const StateLayout& layout = machine.model.layout();
        const std::vector<float> weights = lively_weights(layout, 6);
        std::vector<float> first(layout.size(), untouched), second(layout.size(), -untouched);
        machine.model.set_weights(weights);
        machine.model.forward_backward(pack, 1.0F, first);
        machine.model.forward_backward(pack, 1.0F, second);
        std::size_t next = 0;
        for (const TensorSpec& tensor : layout.tensors()) {
            for (; next < tensor.offset; ++next)
                ASSERT_EQ(first[next], untouched) << name << ", padding " << next;
            const std::size_t end = tensor.offset + tensor.elements();
            for (; next < end; ++next) ASSERT_EQ(first[next], second[next]) << name << ", " << tensor.name;
        }
        for (; next < layout.size(); ++next)
            ASSERT_EQ(first[next], untouched) << name << ", padding " << next;
    }
}

TEST(TransformerTest, APackWithoutTargetsHasNoLossAndNoGradient) {
    constexpr std::size_t vocabulary = 11;
    for (const auto& [name, config] : model_cases(16, vocabulary, 9)) {
        Sequence sequence = random_sequence(9, vocabulary, 1);
        std::fill(sequence.targets.begin(), sequence.targets.end(), ignored_target);
        const Sequence single = random_sequence(1, vocabulary, 2);
        for (const Sequence& one : {sequence, single}) {
            Machine machine(config, 9);
            const StateLayout& layout = machine.model.layout();
            const Step step =
                forward_backward(machine.model, pack_of(std::span(&one, 1)), lively_weights(layout, 7), 1.0F);
            EXPECT_EQ(step.loss, 0.0) << name;
            for (const TensorSpec& tensor : layout.tensors()) {
                for (std::size_t i = 0; i < tensor.elements(); ++i) {
                    ASSERT_EQ(step.gradient[tensor.offset + i], 0.0F) << name << ", " << tensor.name;
                }
            }
        }
    }
}

TEST(TransformerTest, AWorkspaceCarriesNothingFromPackToPack) {
    constexpr std::size_t vocabulary = 53;
    for (const auto& [name, config] : model_cases(32, vocabulary, 130)) {
        const std::vector<Sequence> sequences = some_sequences(vocabulary);
        const PackedBatch large = pack_of(sequences);
        const PackedBatch small = pack_of(std::span(sequences).subspan(3, 2));
        Machine used(config, large.num_tokens());
        Machine fresh(config, large.num_tokens());
        const std::vector<float> weights = lively_weights(used.model.layout(), 8);
        forward_backward(used.model, large, weights, 0.5F);
        EXPECT_EQ(bits_of(forward_backward(used.model, small, weights, 0.5F).gradient),
                  bits_of(forward_backward(fresh.model, small, weights, 0.5F).gradient))
            << name;
    }
}

TEST(TransformerTest, RecomputedActivationsGiveTheSameBitsInLessMemory) {
    constexpr std::size_t vocabulary = 53;
    for (const auto& [name, config] : model_cases(32, vocabulary, 130)) {
        const std::vector<Sequence> sequences = some_sequences(vocabulary);
        const PackedBatch pack = pack_of(sequences);
        Machine machine(config, pack.num_tokens());
        Transformer saving(config, machine.gemm, pack.num_tokens(), Activations::recompute);
        EXPECT_LT(saving.memory().activations, machine.model.memory().activations) << name;
        const std::vector<float> weights = lively_weights(machine.model.layout(), 9);
        const Step kept = forward_backward(machine.model, pack, weights, 0.5F);
        const Step recomputed = forward_backward(saving, pack, weights, 0.5F);
        EXPECT_EQ(std::bit_cast<std::uint64_t>(kept.loss), std::bit_cast<std::uint64_t>(recomputed.loss))
            << name;
        EXPECT_EQ(bits_of(kept.gradient), bits_of(recomputed.gradient)) << name;
    }
}

TEST(TransformerTest, AnnouncesTheMemoryItTakes) {
    const ModelConfig config = load_model_config("tiny", 300).config;
    Machine machine(config, 700);
    for (const Activations activations : {Activations::keep, Activations::recompute}) {
        const TransformerMemory announced = transformer_memory(config, machine.gemm, 700, activations);
        const TransformerMemory taken = Transformer(config, machine.gemm, 700, activations).memory();
        EXPECT_EQ(announced.total(), taken.total());
        // Entry of four layers; one layer's rest is at least ten of the width, and the FFN's twice four.
        EXPECT_GE(announced.activations, 700 * sizeof(float) * (4 * 128 + 18 * 128));
    }
}

// ----------------------------------------------------------- the same bits everywhere

/// Large enough for OpenBLAS' recipe (products above 2^20) and for the tiles of 256 tokens.
struct WideCase {
    ModelConfig config;
    PackedBatch pack;
    std::vector<float> weights;
};

WideCase wide_case(ModelConfig config) {
    std::vector<Sequence> sequences;
    for (const std::size_t tokens : Sizes{130, 3, 131}) {
        sequences.push_back(random_sequence(tokens, config.vocabulary, tokens));
    }
    return {config, pack_of(sequences), lively_weights(StateLayout(config), 11)};
}

std::vector<float> everything_of(const WideCase& wide, int threads, GemmBackend backend) {
    Machine machine(wide.config, wide.pack.num_tokens(), threads, backend);
    Step step = forward_backward(machine.model, wide.pack, wide.weights, 0.01F);
    const auto loss = std::bit_cast<std::uint64_t>(step.loss);
    std::vector<float> all = std::move(step.gradient);
    all.insert(all.end(), step.token_loss.begin(), step.token_loss.end());
    all.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(loss)));
    all.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(loss >> 32U)));
    return all;
}

TEST(TransformerTest, ThreadsAndInstructionSetsDoNotChangeABit) {
    for (const auto& [name, config] : model_cases(64, 300, 131)) {
        if (config.tied_head == (config.family == ModelFamily::llama)) continue;  // One case a family.
        const WideCase wide = wide_case(config);
        std::vector<std::uint32_t> expected;
        for (const int threads : {1, 2, 3}) {
            for (const KernelIsa isa : supported_isas()) {
                const IsaScope scope(isa);
                const auto bits = bits_of(everything_of(wide, threads, GemmBackend::own));
                if (expected.empty()) expected = bits;
                EXPECT_TRUE(bits == expected)
                    << name << ", " << name_of(isa) << ", " << threads << " threads";
            }
        }
    }
}

TEST(TransformerTest, BackendsDoNotChangeABit) {
    for (const auto& [name, config] : model_cases(64, 300, 131)) {
        if (config.tied_head == (config.family == ModelFamily::llama)) continue;
        const WideCase wide = wide_case(config);
        const auto expected = bits_of(everything_of(wide, 1, GemmBackend::reference));
        for (const GemmBackend backend : {GemmBackend::automatic, GemmBackend::own, GemmBackend::openblas}) {
            for (const int threads : {1, 2}) {
                try {
                    const auto bits = bits_of(everything_of(wide, threads, backend));
                    EXPECT_TRUE(bits == expected)
                        << name << ", " << name_of(backend) << ", " << threads << " threads";
                } catch (const Error& error) {
                    // Only OpenBLAS may be refused, and only where its kernels do not obey the contract.
                    EXPECT_EQ(error.code(), ErrorCode::environment) << error.what();
                    EXPECT_EQ(backend, GemmBackend::openblas) << error.what();
                    EXPECT_FALSE(kernel_isa_supported(KernelIsa::avx512)) << error.what();
                }
            }
        }
    }
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
    lockstep::ensure_conforming_blas(argv);
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
