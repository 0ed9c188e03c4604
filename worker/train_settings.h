// worker/train_settings.h
//
// Everything that decides the numbers of a run besides the plan. Recorded in
// run.json; a resumed run must agree.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "io/base/fingerprint.h"
#include "kernels/gemm_numerics.h"
#include "worker/model/lora.h"
#include "worker/model/model_config.h"

namespace lockstep {

struct OptimizerSettings {
    double learning_rate = 1e-3;
    double final_learning_rate = 1e-4;  ///< Where the cosine ends.
    std::uint64_t warmup_steps = 20;
    std::uint64_t schedule_steps = 0;  ///< Horizon of the schedule; never 0 once a run has started.
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0.1;  ///< On matrices only.
    double clip_norm = 1.0;     ///< 0: no clipping.
    friend bool operator==(const OptimizerSettings&, const OptimizerSettings&) = default;
};

struct TrainSettings {
    ModelConfig model;
    OptimizerSettings optimizer;
    std::uint64_t seed = 1;            ///< Of the initial weights, and of the adapters.
    std::int64_t scale_exponent = 50;  ///< First s of the exact sum; its ceiling too.
    Fingerprint init;                  ///< Of the initial weights, if given; empty: drawn from the seed.
    /// Adapters alone are trained; the initial weights stay as they are. None: the model is trained whole.
    std::optional<LoraSettings> lora;
    /// Its name is part of every state digest, so it is not part of the fingerprint.
    GemmNumerics numerics = GemmNumerics::fma256;
    friend bool operator==(const TrainSettings&, const TrainSettings&) = default;
};

/// @throws Error{invalid_argument} naming the option, its value and its range.
void check_train_settings(const TrainSettings& settings);

/// Names model, adapters, optimizer, initial weights and schedule: the `model` fingerprint of a cursor, which
/// names the numerics beside it.
Fingerprint fingerprint_of(const TrainSettings& settings);

std::string to_json(const TrainSettings& settings);
/// @throws Error{corrupt_data, incompatible_version}.
TrainSettings train_settings_from_json(std::string_view json);

/// First setting that differs, "learning_rate: 0.001 in the run, 0.01 asked for"; empty if none.
std::string first_difference(const TrainSettings& run, const TrainSettings& asked);

/// Learning rate of a step: linear warm-up, then a cosine to the final rate, which it keeps.
double learning_rate_at(const OptimizerSettings& settings, std::uint64_t step);

}  // namespace lockstep
