#include "io/corpus/length_cache.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/corpus/corpus.h"
#include "io/corpus/length_cache_state.h"
#include "io/corpus/length_keys.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

/// Lengths go into the fingerprint as u64, whatever they are held as.
void add_widened(FingerprintBuilder& builder, std::span<const std::uint32_t> values) {
    builder.add(std::uint64_t{values.size()});
    std::array<std::uint64_t, 4096> wide;
    while (!values.empty()) {
        const std::size_t count = std::min(values.size(), wide.size());
        std::copy_n(values.begin(), count, wide.begin());
        builder.raw(std::as_bytes(std::span(wide).first(count)));
        values = values.subspan(count);
    }
}

Fingerprint finish_with_keys(FingerprintBuilder& builder, std::span<const std::uint64_t> key_begin,
                             std::span<const char> key_bytes) {
    if (key_begin.empty() || keys_are_indices(key_begin, key_bytes)) {
        builder.add(std::uint64_t{0});
    } else {
        builder.add(std::uint64_t{1}).add_array(key_begin).add_array(key_bytes);
    }
    return builder.finish();
}

constexpr const char* fingerprint_tag = "lockstep-lengths-v1";

}  // namespace

void LengthColumns::add_key(std::string_view key) {
    if (key_begin.empty()) key_begin.push_back(0);
    key_bytes += key;
    key_begin.push_back(key_bytes.size());
}

void LengthColumns::clear_keys() {
    key_begin.clear();
    key_bytes.clear();
}

Fingerprint fingerprint_of_lengths(std::span<const std::uint64_t> sample_tokens,
                                   std::span<const std::uint64_t> key_begin,
                                   std::span<const char> key_bytes) {
    LOCKSTEP_EXPECTS(key_begin.empty() || key_begin.size() == sample_tokens.size() + 1);
    FingerprintBuilder builder(fingerprint_tag);
    builder.add_array(sample_tokens);
    return finish_with_keys(builder, key_begin, key_bytes);
}

Fingerprint fingerprint_of_lengths(std::span<const std::uint32_t> sample_tokens,
                                   std::span<const std::uint64_t> key_begin,
                                   std::span<const char> key_bytes) {
    LOCKSTEP_EXPECTS(key_begin.empty() || key_begin.size() == sample_tokens.size() + 1);
    FingerprintBuilder builder(fingerprint_tag);
    add_widened(builder, sample_tokens);
    return finish_with_keys(builder, key_begin, key_bytes);
}

LengthCache::LengthCache(LengthColumns columns) {
    const std::size_t num_samples = columns.sample_tokens.size();
    LOCKSTEP_EXPECTS(columns.key_begin.empty() || columns.key_begin.size() == num_samples + 1);
    LOCKSTEP_EXPECTS(columns.loss_tokens.empty() || columns.loss_tokens.size() == num_samples);
    LOCKSTEP_EXPECTS(columns.sample_score.empty() || columns.sample_score.size() == num_samples);
    if (keys_are_indices(columns.key_begin, columns.key_bytes)) columns.clear_keys();
    auto state = std::make_shared<State>();
    state->owned = std::move(columns);
    state->tokenizer_hash = state->owned.tokenizer_hash;
    state->sample_tokens = state->owned.sample_tokens;
    state->key_begin = state->owned.key_begin;
    state->key_bytes = state->owned.key_bytes;
    state->loss_tokens = state->owned.loss_tokens;
    state->sample_score = state->owned.sample_score;
    for (const std::uint32_t tokens : state->sample_tokens) state->num_tokens += tokens;
    state_ = std::move(state);
}

const std::string& LengthCache::tokenizer_hash() const {
    return state_->tokenizer_hash;
}

std::uint64_t LengthCache::num_tokens() const {
    return state_->num_tokens;
}

std::span<const std::uint32_t> LengthCache::sample_tokens() const {
    return state_->sample_tokens;
}

bool LengthCache::has_keys() const {
    return !state_->key_begin.empty();
}

std::string_view LengthCache::key(std::uint64_t sample) const {
    LOCKSTEP_EXPECTS(sample < num_samples());
    if (!has_keys()) return {};
    const std::uint64_t begin = state_->key_begin[sample];
    const std::uint64_t end = state_->key_begin[sample + 1];
    // Of a large file the ids are not all looked at when it is opened.
    if (begin > end || end > state_->key_bytes.size()) {
        throw Error(ErrorCode::corrupt_data, "the id of sample " + std::to_string(sample) +
                                                 " in the lengths does not lie within '/key_bytes'; build "
                                                 "the lengths again");
    }
    return {state_->key_bytes.data() + begin, end - begin};
}

std::span<const std::uint64_t> LengthCache::key_begin() const {
    return state_->key_begin;
}

std::span<const char> LengthCache::key_bytes() const {
    return state_->key_bytes;
}

std::span<const std::uint32_t> LengthCache::loss_tokens() const {
    return state_->loss_tokens;
}

std::span<const double> LengthCache::sample_score() const {
    return state_->sample_score;
}

Fingerprint LengthCache::lengths_fingerprint() const {
    std::call_once(state_->fingerprint_known, [this] {
        if (!state_->lengths_fingerprint.empty()) return;
        state_->lengths_fingerprint = fingerprint_of_lengths(sample_tokens(), key_begin(), key_bytes());
    });
    return state_->lengths_fingerprint;
}

Fingerprint fingerprint_of_scores(std::span<const double> sample_score) {
    if (sample_score.empty()) return {};
    FingerprintBuilder builder("lockstep-scores-v1");
    builder.add_array(sample_score);
    return builder.finish();
}

LengthCache lengths_of(const Corpus& corpus) {
    LengthColumns lengths;
    lengths.tokenizer_hash = corpus.tokenizer().fingerprint.hex();
    const std::uint64_t num_samples = corpus.num_samples();
    lengths.sample_score.assign(corpus.sample_score().begin(), corpus.sample_score().end());
    lengths.sample_tokens.reserve(num_samples);
    if (corpus.has_loss_spans()) lengths.loss_tokens.reserve(num_samples);
    for (std::uint64_t sample = 0; sample < num_samples; ++sample) {
        // A corpus holds no sample of 2^32 tokens; it checks when it is opened.
        lengths.sample_tokens.push_back(static_cast<std::uint32_t>(corpus.sample_tokens(sample)));
        if (corpus.has_keys()) lengths.add_key(corpus.key(sample));
        if (!corpus.has_loss_spans()) continue;
        // The first token of a sample is never predicted.
        std::uint32_t targets = 0;
        for (const LossSpan& span : corpus.loss_spans(sample)) {
            const std::uint32_t first = span.begin == 0 ? 1 : span.begin;
            if (span.end > first) targets += span.end - first;
        }
        lengths.loss_tokens.push_back(targets);
    }
    return LengthCache(std::move(lengths));
}

void write_lengths(const std::filesystem::path& path, const LengthCache& lengths, Overwrite overwrite) {
    if (path.extension() == ".h5") {
        write_lengths_columns(path, lengths, overwrite);
    } else {
        write_lengths_jsonl(path, lengths, overwrite);
    }
}

LengthCache open_lengths(const std::filesystem::path& path) {
    if (!is_column_file(path)) return read_lengths_jsonl(path);
    if (ColumnFile::format_of(path) == lengths_format) return LengthCache::open_columns(path);
    return lengths_of(Corpus::open(path));
}

bool is_column_file(const std::filesystem::path& path) {
    // A pipe can be read once, so it is not looked into.
    std::error_code absent;
    if (const auto kind = std::filesystem::status(path, absent).type();
        kind == std::filesystem::file_type::fifo || kind == std::filesystem::file_type::character)
        return false;
    PosixFile file(path, O_RDONLY);
    std::array<std::byte, 512> head;
    const std::size_t bytes = file.read(head);
    // A column file begins with a binary block, lines are text. A stray NUL further down is the lines' error.
    const auto begin = head.begin();
    return std::find(begin, begin + static_cast<std::ptrdiff_t>(bytes), std::byte{0}) !=
               begin + static_cast<std::ptrdiff_t>(bytes) &&
           head[0] != std::byte{'{'};
}

}  // namespace lockstep
