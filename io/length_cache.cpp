#include "io/length_cache.h"

#include <simdjson.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/corpus.h"

namespace lockstep {

namespace {

constexpr std::uint64_t lengths_version = 1;
constexpr std::uint64_t length_end = std::uint64_t{1} << 32U;

/// True when key i is the decimal index i: such keys say nothing, and count as none.
template <class KeyAt>
bool keys_are_indices(std::size_t num_keys, const KeyAt& key_at) {
    for (std::size_t i = 0; i < num_keys; ++i) {
        if (key_at(i) != std::to_string(i)) return false;
    }
    return true;
}

/// One line of the file while its fields come in, in any order.
struct Line {
    std::optional<std::string> key;
    std::optional<std::string_view> tokenizer_hash;  ///< Valid until the next line is parsed.
    std::optional<std::uint64_t> length;
    std::optional<std::uint64_t> loss_tokens;
    std::optional<std::uint64_t> version;
};

class LengthsParser {
  public:
    explicit LengthsParser(const std::filesystem::path& path) : path_(path) {
        text_ = read_file(path);
        text_bytes_ = text_.size();
        text_.append(simdjson::SIMDJSON_PADDING, '\0');
    }

    LengthCache parse() {
        if (text_bytes_ == 0) {
            throw Error(ErrorCode::corrupt_data,
                        "'" + path_.string() + "' is empty; expected a header line and one object a sample");
        }
        for (std::size_t begin = 0; begin < text_bytes_;) {
            std::size_t end = text_.find('\n', begin);
            if (end == std::string::npos || end > text_bytes_) end = text_bytes_;
            ++line_number_;
            take(parse_line(begin, end));
            begin = end + 1;
        }
        finish_keys();
        return std::move(result_);
    }

  private:
    [[noreturn]] void fail(const std::string& problem) const { fail_at(line_number_, problem); }
    [[noreturn]] void fail_at(std::uint64_t line, const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data, path_.string() + ":" + std::to_string(line) + ": " + problem);
    }

    Line parse_line(std::size_t begin, std::size_t end) {
        simdjson::dom::object object;
        // The padding is there already, so the line is parsed in place.
        const auto failure = parser_.parse(text_.data() + begin, end - begin, false).get_object().get(object);
        if (failure != simdjson::SUCCESS) {
            fail(std::string("not one JSON object (") + simdjson::error_message(failure) +
                 "); the file may be cut short");
        }
        Line line;
        for (const auto& [name, value] : object) read_field(name, value, line);
        return line;
    }

    void read_field(std::string_view name, simdjson::dom::element value, Line& line) const {
        if (name == "sample_id") {
            set_once(line.key, name, read_key(value));
        } else if (name == "tokenizer_hash") {
            set_once(line.tokenizer_hash, name, read_hash(value));
        } else if (name == "length") {
            set_once(line.length, name, read_count(value, name));
        } else if (name == "loss_tokens") {
            set_once(line.loss_tokens, name, read_count(value, name));
        } else if (name == "version") {
            set_once(line.version, name, read_count(value, name));
        }
    }

    template <class T>
    void set_once(std::optional<T>& field, std::string_view name, T value) const {
        if (field) fail("'" + std::string(name) + "' stands twice in one object");
        field = std::move(value);
    }

    std::string read_key(simdjson::dom::element value) const {
        std::string_view text;
        if (value.get_string().get(text) == simdjson::SUCCESS) {
            if (text.empty()) fail("'sample_id' is empty; every sample needs an id");
            return std::string(text);
        }
        std::uint64_t number = 0;
        if (value.get_uint64().get(number) == simdjson::SUCCESS) return std::to_string(number);
        fail("'sample_id' must be a string; found " + simdjson::minify(value));
    }

    std::string_view read_hash(simdjson::dom::element value) const {
        std::string_view text;
        if (value.get_string().get(text) == simdjson::SUCCESS || value.is_null()) return text;
        fail("'tokenizer_hash' must be a string; found " + simdjson::minify(value));
    }

    std::uint64_t read_count(simdjson::dom::element value, std::string_view name) const {
        std::uint64_t count = 0;
        if (value.get_uint64().get(count) != simdjson::SUCCESS || count >= length_end) {
            fail("'" + std::string(name) + "' must be an integer in [0, 2^32); found " +
                 simdjson::minify(value));
        }
        return count;
    }

    void take(Line line) {
        if (line_number_ == 1 && !line.key && !line.length && (line.tokenizer_hash || line.version)) {
            take_header(std::move(line));
            return;
        }
        if (!line.key) fail("no 'sample_id'");
        if (!line.length) fail("no 'length'");
        check_hash(line);
        if (line.loss_tokens.has_value() != !result_.loss_tokens.empty() && !result_.sample_tokens.empty()) {
            fail("'loss_tokens' must be on every sample or on none");
        }
        if (line.loss_tokens) {
            if (*line.loss_tokens > *line.length) {
                fail("'loss_tokens' " + std::to_string(*line.loss_tokens) + " exceeds 'length' " +
                     std::to_string(*line.length));
            }
            result_.loss_tokens.push_back(*line.loss_tokens);
        }
        result_.sample_tokens.push_back(*line.length);
        result_.keys.push_back(std::move(*line.key));
    }

    void take_header(Line line) {
        has_header_ = true;
        if (line.version.value_or(lengths_version) > lengths_version) {
            throw Error(ErrorCode::incompatible_version,
                        "'" + path_.string() + "' is a lengths file of version " +
                            std::to_string(*line.version) + "; this build reads up to version " +
                            std::to_string(lengths_version));
        }
        hash_known_ = line.tokenizer_hash.has_value();
        result_.tokenizer_hash = line.tokenizer_hash.value_or("");
    }

    /// Lengths of two tokenizers in one file belong to no plan.
    void check_hash(const Line& line) {
        if (!line.tokenizer_hash) return;
        if (!hash_known_) {
            result_.tokenizer_hash = *line.tokenizer_hash;
            hash_known_ = true;
        }
        if (*line.tokenizer_hash != result_.tokenizer_hash) {
            fail("'tokenizer_hash' is '" + std::string(*line.tokenizer_hash) +
                 "', but the lines above have '" + result_.tokenizer_hash +
                 "'; rebuild the file with one tokenizer");
        }
    }

    void finish_keys() {
        std::vector<std::string>& keys = result_.keys;
        if (keys_are_indices(keys.size(), [&](std::size_t i) -> std::string_view { return keys[i]; })) {
            keys.clear();
            return;
        }
        if (const auto repeated = first_repeated(keys)) {
            fail_at(*repeated + (has_header_ ? 2 : 1), "sample_id '" + keys[*repeated] + "' is repeated");
        }
    }

    /// The first key that stands further up too. Sorting hashes touches memory in order; a hash table of a
    /// million keys misses the cache at each of them.
    static std::optional<std::size_t> first_repeated(const std::vector<std::string>& keys) {
        std::vector<std::pair<std::size_t, std::size_t>> hash_and_index;
        hash_and_index.reserve(keys.size());
        for (std::size_t i = 0; i < keys.size(); ++i) {
            hash_and_index.emplace_back(std::hash<std::string>{}(keys[i]), i);
        }
        std::sort(hash_and_index.begin(), hash_and_index.end());
        std::optional<std::size_t> first;
        for (std::size_t i = 0; i < hash_and_index.size(); ++i) {
            const auto [hash, index] = hash_and_index[i];
            for (std::size_t j = i; j > 0 && hash_and_index[j - 1].first == hash; --j) {
                if (keys[hash_and_index[j - 1].second] != keys[index]) continue;
                if (!first || index < *first) first = index;
                break;
            }
        }
        return first;
    }

    const std::filesystem::path& path_;
    std::string text_;  ///< The file and simdjson's padding.
    std::size_t text_bytes_ = 0;
    simdjson::dom::parser parser_;
    std::uint64_t line_number_ = 0;
    bool has_header_ = false;
    bool hash_known_ = false;
    LengthCache result_;
};

std::string json_quoted(const std::string& text) {
    try {
        return nlohmann::json(text).dump();
    } catch (const nlohmann::json::type_error&) {
        throw Error(ErrorCode::invalid_argument,
                    "a sample id is not valid UTF-8; a lengths file cannot hold it");
    }
}

}  // namespace

Fingerprint fingerprint_of_lengths(std::span<const std::uint64_t> sample_tokens,
                                   std::span<const std::uint64_t> key_begin,
                                   std::span<const char> key_bytes) {
    LOCKSTEP_EXPECTS(key_begin.empty() || key_begin.size() == sample_tokens.size() + 1);
    FingerprintBuilder builder("lockstep-lengths-v1");
    builder.add_array(sample_tokens);
    const auto key_at = [&](std::size_t i) {
        return std::string_view(key_bytes.data() + key_begin[i], key_begin[i + 1] - key_begin[i]);
    };
    if (key_begin.empty() || keys_are_indices(sample_tokens.size(), key_at)) {
        builder.add(std::uint64_t{0});
    } else {
        builder.add(std::uint64_t{1}).add_array(key_begin).add_array(key_bytes);
    }
    return builder.finish();
}

Fingerprint LengthCache::lengths_fingerprint() const {
    std::vector<std::uint64_t> key_begin;
    std::string key_bytes;
    if (!keys.empty()) {
        key_begin.reserve(keys.size() + 1);
        key_begin.push_back(0);
        for (const std::string& key : keys) {
            key_bytes += key;
            key_begin.push_back(key_bytes.size());
        }
    }
    return fingerprint_of_lengths(sample_tokens, key_begin, key_bytes);
}

LengthCache read_lengths_jsonl(const std::filesystem::path& path) {
    return LengthsParser(path).parse();
}

void write_lengths_jsonl(const std::filesystem::path& path, const LengthCache& lengths, Overwrite overwrite) {
    const std::size_t num_samples = lengths.sample_tokens.size();
    LOCKSTEP_EXPECTS(lengths.keys.empty() || lengths.keys.size() == num_samples);
    LOCKSTEP_EXPECTS(lengths.loss_tokens.empty() || lengths.loss_tokens.size() == num_samples);

    const std::string hash = json_quoted(lengths.tokenizer_hash);
    std::string text =
        "{\"tokenizer_hash\": " + hash + ", \"version\": " + std::to_string(lengths_version) + "}\n";
    for (std::size_t i = 0; i < num_samples; ++i) {
        if (!lengths.keys.empty() && lengths.keys[i].empty()) {
            throw Error(ErrorCode::invalid_argument,
                        "sample " + std::to_string(i) +
                            " has no id while others have one; a lengths file needs all or none");
        }
        text += "{\"sample_id\": ";
        text += lengths.keys.empty() ? '"' + std::to_string(i) + '"' : json_quoted(lengths.keys[i]);
        text += ", \"tokenizer_hash\": " + hash + ", \"length\": " + std::to_string(lengths.sample_tokens[i]);
        if (!lengths.loss_tokens.empty()) {
            text += ", \"loss_tokens\": " + std::to_string(lengths.loss_tokens[i]);
        }
        text += "}\n";
    }
    write_file_atomically(path, text, overwrite);
}

LengthCache lengths_of(const Corpus& corpus) {
    LengthCache lengths;
    lengths.tokenizer_hash = corpus.tokenizer().fingerprint.hex();
    const std::uint64_t num_samples = corpus.num_samples();
    lengths.sample_tokens.reserve(num_samples);
    for (std::uint64_t sample = 0; sample < num_samples; ++sample) {
        lengths.sample_tokens.push_back(corpus.sample_tokens(sample));
        if (corpus.has_keys()) lengths.keys.emplace_back(corpus.key(sample));
        if (!corpus.has_loss_spans()) continue;
        // The first token of a sample is never predicted.
        std::uint64_t targets = 0;
        for (const LossSpan& span : corpus.loss_spans(sample)) {
            const std::uint32_t first = span.begin == 0 ? 1 : span.begin;
            if (span.end > first) targets += span.end - first;
        }
        lengths.loss_tokens.push_back(targets);
    }
    return lengths;
}

}  // namespace lockstep
