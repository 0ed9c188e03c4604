#include "worker/model/rotary_frequencies.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace lockstep {
namespace {

ModelConfig config_of(RotaryScaling scaling, std::size_t head_dim, double base, std::size_t positions) {
    ModelConfig config;
    config.family = ModelFamily::llama;
    config.head_dim = head_dim;
    config.rope_base = base;
    config.positions = positions;
    config.rope = scaling;
    return config;
}

void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_NEAR(found[i] / expected[i], 1.0, 1e-13) << i;
    }
}

std::vector<double> plain(std::size_t head_dim, double base) {
    std::vector<double> frequencies;
    for (std::size_t i = 0; i < head_dim; i += 2) {
        frequencies.push_back(std::pow(base, -static_cast<double>(i) / static_cast<double>(head_dim)));
    }
    return frequencies;
}

TEST(RotaryFrequenciesTest, PlainAndLinear) {
    expect_near(scaled_rotary_frequencies(config_of({}, 64, 10000.0, 100)), plain(64, 10000.0));
    RotaryScaling linear;
    linear.kind = RotaryScaling::Kind::linear;
    linear.factor = 3;
    std::vector<double> expected = plain(64, 10000.0);
    for (double& f : expected) f /= 3;
    expect_near(scaled_rotary_frequencies(config_of(linear, 64, 10000.0, 100)), expected);
}

// As _compute_llama3_parameters has it, with the settings of Llama 3.1.
TEST(RotaryFrequenciesTest, Llama3) {
    const RotaryScaling scaling{RotaryScaling::Kind::llama3, 8, 1, 4, 8192, 1};
    std::vector<double> expected = plain(128, 500000.0);
    int kept = 0;
    int stretched = 0;
    int mixed = 0;
    for (double& f : expected) {
        const double wavelength = 2 * std::acos(-1.0) / f;
        if (wavelength < 8192.0 / 4) {
            ++kept;
        } else if (wavelength > 8192.0) {
            f /= 8;
            ++stretched;
        } else {
            const double smooth = (8192.0 / wavelength - 1) / (4 - 1);
            f = (1 - smooth) * f / 8 + smooth * f;
            ++mixed;
        }
    }
    EXPECT_EQ(kept, 29);
    EXPECT_EQ(mixed, 6);
    EXPECT_EQ(stretched, 29);
    expect_near(scaled_rotary_frequencies(config_of(scaling, 128, 500000.0, 131072)), expected);
}

// As _compute_yarn_parameters has it, with the settings of Qwen2.5 for long texts.
TEST(RotaryFrequenciesTest, Yarn) {
    const RotaryScaling scaling{RotaryScaling::Kind::yarn, 4, 1, 32, 32768, yarn_magnitude(4)};
    EXPECT_NEAR(scaling.magnitude, 0.1 * std::log(4.0) + 1, 1e-15);
    std::vector<double> expected = plain(128, 1e6);
    const auto dimension = [](double turns) {
        return 128 * std::log(32768 / (turns * 2 * std::acos(-1.0))) / (2 * std::log(1e6));
    };
    const double low = std::floor(dimension(32));
    const double high = std::ceil(dimension(1));
    EXPECT_EQ(low, 23);
    EXPECT_EQ(high, 40);
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double ramp = std::min(1.0, std::max(0.0, (static_cast<double>(i) - low) / (high - low)));
        expected[i] = expected[i] / 4 * ramp + expected[i] * (1 - ramp);
    }
    expect_near(scaled_rotary_frequencies(config_of(scaling, 128, 1e6, 131072)), expected);
}

TEST(RotaryFrequenciesTest, YarnOfATinyHeadStaysInRange) {
    const RotaryScaling scaling{RotaryScaling::Kind::yarn, 4, 1, 32, 8, 1};
    const auto found = scaled_rotary_frequencies(config_of(scaling, 4, 10000.0, 32));
    const auto base = plain(4, 10000.0);
    for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_GE(found[i], base[i] / 4 * (1 - 1e-12));
        EXPECT_LE(found[i], base[i] * (1 + 1e-12));
    }
}

}  // namespace
}  // namespace lockstep
