#include "worker/metrics_log.h"

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/files/atomic_file.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

constexpr const char* metrics_name = "metrics.jsonl";
constexpr const char* generations_name = "generations.jsonl";

/// Keeps the lines of steps before `next_step`, in order; a torn last line goes.
std::string cut_back(const std::string& text, std::uint64_t next_step) {
    std::string kept;
    std::size_t begin = 0;
    for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
        const std::string line = text.substr(begin, end - begin);
        begin = end + 1;
        const auto object = ordered_json::parse(line, nullptr, false);
        if (!object.is_object() || !object.contains("step") || !object["step"].is_number_unsigned()) break;
        if (object["step"].get<std::uint64_t>() >= next_step) break;
        kept += line + "\n";
    }
    return kept;
}

}  // namespace

std::string double_hex(double value) {
    constexpr char digits[] = "0123456789abcdef";
    const auto bits = std::bit_cast<std::uint64_t>(value);
    std::string text(16, '0');
    for (std::size_t i = 0; i < 16; ++i) text[i] = digits[(bits >> (60 - 4 * i)) & 15U];
    return text;
}

std::string to_json(const StepMetrics& m) {
    ordered_json object = {{"step", m.step}, {"loss", nullptr}, {"loss_hex", nullptr}};
    if (m.loss) {
        if (std::isfinite(*m.loss)) object["loss"] = *m.loss;
        object["loss_hex"] = double_hex(*m.loss);
    }
    object["grad_norm"] = m.gradient_norm;
    object["lr"] = m.learning_rate;
    object["tokens"] = m.tokens;
    object["targets"] = m.targets;
    object["seconds"] = m.seconds;
    object["tokens_per_second"] = m.seconds > 0 ? static_cast<double>(m.tokens) / m.seconds : 0.0;
    if (m.skipped) object["skipped"] = true;
    if (m.cross_check_agreed) object["cross_check"] = *m.cross_check_agreed ? "agreed" : "repeated";
    return object.dump();
}

std::string to_json(const GenerationCost& c) {
    return ordered_json{{"step", c.step},
                        {"bytes", c.bytes},
                        {"waited_seconds", c.waited_seconds},
                        {"copy_seconds", c.copy_seconds},
                        {"stall_seconds", c.stall_seconds},
                        {"write_seconds", c.write_seconds},
                        {"durable_seconds", c.durable_seconds},
                        {"processor_seconds", c.processor_seconds}}
        .dump();
}

MetricsLog::MetricsLog(const std::filesystem::path& run, std::uint64_t next_step) : run_(run) {
    const std::string path = (run / metrics_name).string();
    if (std::filesystem::exists(path)) {
        const std::string text = read_file(path);
        const std::string kept = cut_back(text, next_step);
        if (kept != text) write_file_atomically(path, kept, Overwrite::yes);
    }
    lines_.open(path, std::ios::app);
    if (!lines_) throw Error(ErrorCode::io_failure, "cannot open '" + path + "' for appending");
    generations_.open(run / generations_name, std::ios::app);
}

void MetricsLog::append_line(std::ofstream& file, const char* name, const std::string& line) {
    file.clear();  // A disk that was full may have room again.
    file << line << '\n' << std::flush;
    if (!file) {
        throw Error(ErrorCode::io_failure,
                    "cannot append to '" + (run_ / name).string() + "'; free some space");
    }
}

void MetricsLog::append(const StepMetrics& metrics) {
    append_line(lines_, metrics_name, to_json(metrics));
}

void MetricsLog::append(const GenerationCost& cost) {
    append_line(generations_, generations_name, to_json(cost));
}

}  // namespace lockstep
