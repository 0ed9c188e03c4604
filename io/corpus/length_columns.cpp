// lengths.h5: a length cache as a column file (docs/formats/lengths.md).

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/columns/fingerprint_attribute.h"
#include "io/corpus/length_cache_state.h"
#include "io/corpus/length_keys.h"

namespace lockstep {

namespace {

constexpr std::uint64_t columns_version = 1;
/// Up to this size of '/sample_tokens' values are checked at open, and up to the second the fingerprint is
/// computed anew: SHA-256 takes longer than planning.
constexpr std::uint64_t check_at_open_bytes_max = std::uint64_t{64} << 20U;
constexpr std::uint64_t fingerprint_at_open_bytes_max = std::uint64_t{1} << 20U;

namespace names {
constexpr const char* sample_tokens = "/sample_tokens";
constexpr const char* key_begin = "/key_begin";
constexpr const char* key_bytes = "/key_bytes";
constexpr const char* loss_tokens = "/loss_tokens";
constexpr const char* sample_score = "/sample_score";
}  // namespace names

[[noreturn]] void corrupt(const std::filesystem::path& path, const std::string& problem) {
    throw Error(ErrorCode::corrupt_data,
                "lengths '" + path.string() + "': " + problem + "; build the lengths again");
}

template <class T>
std::span<const T> read_column(const ColumnFile& file, const char* name, std::uint64_t rows) {
    const ColumnFile::Info info = file.info(name);
    if (info.rows != rows || info.width != 1) {
        corrupt(file.path(), std::string("'") + name + "' has " + std::to_string(info.rows) + " x " +
                                 std::to_string(info.width) + " values, expected " + std::to_string(rows));
    }
    return file.column<T>(name);
}

}  // namespace

LengthCache LengthCache::open_columns(const std::filesystem::path& path) {
    auto state = std::make_shared<State>();
    state->file = ColumnFile::open(path, lengths_format, columns_version);
    const ColumnFile& file = *state->file;
    const std::uint64_t num_samples = file.attribute_u64("/", "num_samples");
    state->tokenizer_hash = file.attribute_text("/", "tokenizer_hash");
    state->num_tokens = file.attribute_u64("/", "num_tokens");
    state->lengths_fingerprint = read_fingerprint(file, "/", "lengths_fingerprint");
    state->sample_tokens = read_column<std::uint32_t>(file, names::sample_tokens, num_samples);
    if (file.has_column(names::key_begin)) {
        state->key_begin = read_column<std::uint64_t>(file, names::key_begin, num_samples + 1);
        const auto bytes =
            read_column<std::uint8_t>(file, names::key_bytes, file.info(names::key_bytes).rows);
        state->key_bytes = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
        if (state->key_begin.front() != 0 || state->key_begin.back() != state->key_bytes.size()) {
            corrupt(path, "'/key_begin' does not go from 0 to the size of '/key_bytes'");
        }
    }
    if (file.has_column(names::loss_tokens))
        state->loss_tokens = read_column<std::uint32_t>(file, names::loss_tokens, num_samples);
    if (file.has_column(names::sample_score))
        state->sample_score = read_column<double>(file, names::sample_score, num_samples);
    LengthCache cache;
    cache.state_ = std::move(state);
    const std::uint64_t bytes = cache.sample_tokens().size_bytes();
    if (bytes <= check_at_open_bytes_max) cache.check_columns();
    if (bytes <= fingerprint_at_open_bytes_max) cache.check_fingerprint();
    return cache;
}

void LengthCache::check_columns() const {
    const State& state = *state_;
    const std::filesystem::path& path = state.file->path();
    const auto fall = std::ranges::adjacent_find(state.key_begin, std::greater<>());
    if (fall != state.key_begin.end()) {
        corrupt(path, "'/key_begin' falls after row " + std::to_string(fall - state.key_begin.begin()));
    }
    std::uint64_t num_tokens = 0;
    for (const std::uint32_t tokens : state.sample_tokens) num_tokens += tokens;
    for (std::size_t i = 0; i < state.loss_tokens.size(); ++i) {
        if (state.loss_tokens[i] > state.sample_tokens[i]) {
            corrupt(path, "'/loss_tokens' of sample " + std::to_string(i) + " is " +
                              std::to_string(state.loss_tokens[i]) + ", more than its " +
                              std::to_string(state.sample_tokens[i]) + " tokens");
        }
    }
    if (num_tokens != state.num_tokens) {
        corrupt(path, "num_tokens is " + std::to_string(state.num_tokens) + ", the column sums to " +
                          std::to_string(num_tokens));
    }
    const auto odd =
        std::ranges::find_if(state.sample_score, [](double score) { return !std::isfinite(score); });
    if (odd != state.sample_score.end()) {
        corrupt(path, "the score of sample " + std::to_string(odd - state.sample_score.begin()) +
                          " is not a finite number");
    }
}

void LengthCache::check_fingerprint() const {
    const State& state = *state_;
    const Fingerprint found = fingerprint_of_lengths(state.sample_tokens, state.key_begin, state.key_bytes);
    if (found != state.lengths_fingerprint) {
        corrupt(state.file->path(), "its lengths have fingerprint " + found.hex() + ", expected " +
                                        state.lengths_fingerprint.hex());
    }
}

void LengthCache::verify_everything() const {
    const State& state = *state_;
    if (!state.file) return;
    state.file->verify_everything();
    check_columns();
    check_fingerprint();
    const auto repeated = find_repeated_keys(state.key_begin, state.key_bytes);
    if (!repeated.empty()) {
        corrupt(state.file->path(), "the id of sample " + std::to_string(repeated.front().index) +
                                        " is that of sample " + std::to_string(repeated.front().first) +
                                        " too");
    }
}

void write_lengths_columns(const std::filesystem::path& path, const LengthCache& lengths,
                           Overwrite overwrite) {
    require_writable_output(path, overwrite);
    for (std::uint64_t sample = 0; lengths.has_keys() && sample < lengths.num_samples(); ++sample) {
        const std::string_view key = lengths.key(sample);
        if (key.empty()) {
            throw Error(ErrorCode::invalid_argument,
                        "sample " + std::to_string(sample) +
                            " has no id while others have one; a lengths file needs all or none");
        }
        if (!simdjson::validate_utf8(key.data(), key.size())) {
            throw Error(ErrorCode::invalid_argument,
                        "the id of sample " + std::to_string(sample) +
                            " is not valid UTF-8; a lengths file cannot hold it");
        }
    }
    const auto repeated = find_repeated_keys(lengths.key_begin(), lengths.key_bytes());
    if (!repeated.empty()) {
        throw Error(ErrorCode::invalid_argument, "samples " + std::to_string(repeated.front().first) +
                                                     " and " + std::to_string(repeated.front().index) +
                                                     " have one id, '" +
                                                     std::string(lengths.key(repeated.front().index)) +
                                                     "'; a lengths file needs unique ids");
    }
    ColumnFileWriter writer(path, std::string(lengths_format), columns_version, overwrite);
    writer.attribute("/", "tokenizer_hash", std::string_view(lengths.tokenizer_hash()));
    writer.attribute("/", "num_samples", lengths.num_samples());
    writer.attribute("/", "num_tokens", lengths.num_tokens());
    write_fingerprint(writer, "/", "lengths_fingerprint", lengths.lengths_fingerprint());
    writer.column(names::sample_tokens, lengths.sample_tokens());
    if (lengths.has_keys()) {
        writer.column(names::key_begin, lengths.key_begin());
        const auto bytes = lengths.key_bytes();
        writer.column(names::key_bytes,
                      std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
    }
    if (!lengths.loss_tokens().empty()) writer.column(names::loss_tokens, lengths.loss_tokens());
    if (!lengths.sample_score().empty()) writer.column(names::sample_score, lengths.sample_score());
    writer.publish();
}

}  // namespace lockstep
