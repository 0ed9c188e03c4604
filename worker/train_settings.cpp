#include "worker/train_settings.h"

#include <bit>
#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "kernels/scalar_math.h"

namespace lockstep {

namespace {

using nlohmann::json;

json to_object(const TrainSettings& s) {
    const OptimizerSettings& o = s.optimizer;
    json object = {{"model", json::parse(to_json(s.model))},
                   {"optimizer",
                    {{"name", "adamw"},
                     {"learning_rate", o.learning_rate},
                     {"final_learning_rate", o.final_learning_rate},
                     {"warmup_steps", o.warmup_steps},
                     {"schedule_steps", o.schedule_steps},
                     {"beta1", o.beta1},
                     {"beta2", o.beta2},
                     {"epsilon", o.epsilon},
                     {"weight_decay", o.weight_decay},
                     {"clip_norm", o.clip_norm}}},
                   {"seed", s.seed},
                   {"scale_exponent", s.scale_exponent},
                   {"init", s.init.empty() ? json() : json(s.init.hex())},
                   {"numerics", std::string(name_of(s.numerics))}};
    if (s.lora) object["lora"] = json::parse(to_json(*s.lora));
    return object;
}

void require(bool ok, const char* option, double value, const char* range) {
    if (!ok) {
        throw Error(ErrorCode::invalid_argument,
                    std::string(option) + " is " + json(value).dump() + "; allowed: " + range);
    }
}

}  // namespace

void check_train_settings(const TrainSettings& s) {
    check_model_config(s.model);
    if (s.lora) check_lora(*s.lora, s.model.family);
    const OptimizerSettings& o = s.optimizer;
    require(o.learning_rate >= 0 && o.learning_rate <= 100, "--lr", o.learning_rate, "0 to 100");
    require(o.final_learning_rate >= 0 && o.final_learning_rate <= 100, "--final-lr", o.final_learning_rate,
            "0 to 100");
    require(o.beta1 >= 0 && o.beta1 < 1, "--beta1", o.beta1, "0 up to, but not, 1");
    require(o.beta2 >= 0 && o.beta2 < 1, "--beta2", o.beta2, "0 up to, but not, 1");
    require(o.epsilon > 0 && o.epsilon <= 1, "--adam-eps", o.epsilon, "above 0, up to 1");
    require(o.weight_decay >= 0 && o.weight_decay <= 100, "--weight-decay", o.weight_decay, "0 to 100");
    require(o.clip_norm >= 0 && o.clip_norm <= 1e30, "--clip", o.clip_norm, "0 (off) or more");
    require(o.schedule_steps >= 1, "--schedule-steps", static_cast<double>(o.schedule_steps), "1 or more");
    if (s.scale_exponent < -100 || s.scale_exponent > 60) {
        throw Error(ErrorCode::invalid_argument,
                    "--scale-exponent is " + std::to_string(s.scale_exponent) + "; allowed: -100 to 60");
    }
}

Fingerprint fingerprint_of(const TrainSettings& s) {
    const OptimizerSettings& o = s.optimizer;
    const auto bits = [](double value) { return std::bit_cast<std::uint64_t>(value); };
    FingerprintBuilder builder("lockstep-training-v1");
    add_to_fingerprint(builder, s.model);
    builder.add("adamw")
        .add(bits(o.learning_rate))
        .add(bits(o.final_learning_rate))
        .add(o.warmup_steps)
        .add(o.schedule_steps)
        .add(bits(o.beta1))
        .add(bits(o.beta2))
        .add(bits(o.epsilon))
        .add(bits(o.weight_decay))
        .add(bits(o.clip_norm))
        .add(s.seed)
        .add(static_cast<std::uint64_t>(s.scale_exponent));
    if (!s.init.empty()) builder.add("init").add(s.init);
    if (s.lora) add_to_fingerprint(builder, *s.lora);
    return builder.finish();
}

std::string to_json(const TrainSettings& settings) {
    return to_object(settings).dump();
}

TrainSettings train_settings_from_json(std::string_view text) {
    try {
        const json object = json::parse(text);
        TrainSettings s;
        s.model = model_config_from_json(object.at("model").dump());
        const json& o = object.at("optimizer");
        if (o.at("name") != "adamw") {
            throw Error(ErrorCode::incompatible_version,
                        "optimizer " + o.at("name").dump() + " is unknown to this version");
        }
        o.at("learning_rate").get_to(s.optimizer.learning_rate);
        o.at("final_learning_rate").get_to(s.optimizer.final_learning_rate);
        o.at("warmup_steps").get_to(s.optimizer.warmup_steps);
        o.at("schedule_steps").get_to(s.optimizer.schedule_steps);
        o.at("beta1").get_to(s.optimizer.beta1);
        o.at("beta2").get_to(s.optimizer.beta2);
        o.at("epsilon").get_to(s.optimizer.epsilon);
        o.at("weight_decay").get_to(s.optimizer.weight_decay);
        o.at("clip_norm").get_to(s.optimizer.clip_norm);
        object.at("seed").get_to(s.seed);
        object.at("scale_exponent").get_to(s.scale_exponent);
        if (object.contains("init") && !object["init"].is_null()) {
            s.init = Fingerprint::from_hex(object["init"].get<std::string>());
        }
        if (object.contains("lora")) s.lora = lora_from_json(object["lora"].dump(), s.model.family);
        // Runs from before there was a choice do not say.
        const std::string numerics = object.value("numerics", std::string(name_of(GemmNumerics::fma256)));
        if (numerics != name_of(GemmNumerics::fma256) && numerics != name_of(GemmNumerics::bf16)) {
            throw Error(ErrorCode::incompatible_version,
                        "numerics '" + numerics + "' is unknown to this version");
        }
        s.numerics = parse_gemm_numerics(numerics);
        return s;
    } catch (const json::exception& failure) {
        throw Error(ErrorCode::corrupt_data,
                    std::string("recorded training settings cannot be read: ") + failure.what());
    }
}

std::string first_difference(const TrainSettings& run, const TrainSettings& asked) {
    const json a = to_object(run).flatten();
    const json b = to_object(asked).flatten();
    json keys = a;
    keys.update(b);  // Only one of them may have adapters.
    for (const auto& [key, value] : keys.items()) {
        const json in_run = a.value(key, json());
        const json wanted = b.value(key, json());
        if (in_run != wanted) {
            return key.substr(1) + ": " + in_run.dump() + " in the run, " + wanted.dump() + " asked for";
        }
    }
    return {};
}

double learning_rate_at(const OptimizerSettings& o, std::uint64_t step) {
    if (step < o.warmup_steps) {
        return o.learning_rate * static_cast<double>(step + 1) / static_cast<double>(o.warmup_steps);
    }
    const std::uint64_t decay_steps =
        o.schedule_steps > o.warmup_steps ? o.schedule_steps - o.warmup_steps : 0;
    const std::uint64_t done = step - o.warmup_steps;
    if (decay_steps == 0 || done >= decay_steps) return o.final_learning_rate;
    constexpr double pi = 3.14159265358979323846;
    const double phase = exact_cos(pi * static_cast<double>(done) / static_cast<double>(decay_steps));
    return o.final_learning_rate + 0.5 * (o.learning_rate - o.final_learning_rate) * (1.0 + phase);
}

}  // namespace lockstep
