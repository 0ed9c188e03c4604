// lengths.jsonl, read and written (docs/formats/lengths.md).
//
// Lines as Lazarus and we write them differ only in id and numbers. Such a shape
// is learned from a line that the JSON parser has taken, and lines of the same
// shape are then compared with it rather than parsed; all others go to the parser.

#include <fcntl.h>
#include <simdjson.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/corpus/length_cache.h"
#include "io/corpus/length_keys.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

constexpr std::uint64_t lengths_version = 1;
constexpr std::uint64_t length_end = std::uint64_t{1} << 32U;
constexpr std::size_t line_bytes_max = std::size_t{4} << 20U;
constexpr std::size_t read_bytes = std::size_t{256} << 10U;
constexpr std::size_t shape_bytes_max = 512;
/// Bytes behind the lines that may be read, never used: the parser's, or a shape compared at the very end.
constexpr std::size_t padding_bytes = simdjson::SIMDJSON_PADDING + 2 * shape_bytes_max;
/// A file of many shapes is left to the parser.
constexpr int shapes_learned_max = 100;

/// One line of the file while its fields come in, in any order.
struct Line {
    std::optional<std::string> key;
    std::optional<std::string_view> tokenizer_hash;  ///< Valid until the next line is parsed.
    std::optional<std::uint64_t> length;
    std::optional<std::uint64_t> loss_tokens;
    std::optional<double> score;
    std::optional<std::uint64_t> version;
};

/// What stands between the values of a line.
struct LineShape {
    std::string head;    ///< {"sample_id": "
    std::string middle;  ///< ", "tokenizer_hash": "…", "length":␣
    std::string loss;    ///< , "loss_tokens":␣
    std::string score;   ///< , "score":␣
};

/// First quote, backslash or control byte from `at` on; eight bytes at a time. `seen` collects all bytes
/// before it.
const char* string_end(const char* at, std::uint64_t& seen) {
    static_assert(std::endian::native == std::endian::little);
    constexpr std::uint64_t ones = 0x0101010101010101U;
    constexpr std::uint64_t highs = 0x8080808080808080U;
    // The lowest byte found is right; above it a borrow may find more.
    const auto zero_bytes = [](std::uint64_t word) { return (word - ones) & ~word & highs; };
    for (;; at += 8) {
        std::uint64_t word;
        std::memcpy(&word, at, 8);
        const std::uint64_t found = zero_bytes(word ^ (ones * '"')) | zero_bytes(word ^ (ones * '\\')) |
                                    ((word - ones * ' ') & ~word & highs);
        if (found != 0) {
            const auto bits = static_cast<unsigned>(std::countr_zero(found)) & ~7U;
            seen |= word & ((std::uint64_t{1} << bits) - 1);
            return at + bits / 8;
        }
        seen |= word;
    }
}

bool skip(const char*& at, const std::string& expected) {
    if (std::memcmp(at, expected.data(), expected.size()) != 0) return false;
    at += expected.size();
    return true;
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/// An integer below 2^32 as JSON writes it.
bool take_count(const char*& at, std::uint32_t& value) {
    if (!is_digit(*at)) return false;
    if (*at == '0' && is_digit(at[1])) return false;
    std::uint64_t sum = 0;
    for (int digits = 0; is_digit(*at); ++at) {
        if (++digits > 10) return false;
        sum = 10 * sum + static_cast<std::uint64_t>(*at - '0');
    }
    value = static_cast<std::uint32_t>(sum);
    return sum < length_end;
}

/// A number as JSON writes it.
bool take_number(const char*& at, double& value) {
    const char* end = at;
    const auto digits = [&end] {
        const char* begin = end;
        while (is_digit(*end)) ++end;
        return end > begin;
    };
    if (*end == '-') ++end;
    if (*end == '0' && is_digit(end[1])) return false;
    if (!digits()) return false;
    if (*end == '.' && (++end, !digits())) return false;
    if (*end == 'e' || *end == 'E') {
        ++end;
        if (*end == '-' || *end == '+') ++end;
        if (!digits()) return false;
    }
    const auto [stop, failure] = std::from_chars(at, end, value);
    if (failure != std::errc() || stop != end) return false;
    at = end;
    return true;
}

class LengthsParser {
  public:
    LengthsParser(const std::filesystem::path& path, DuplicateIds duplicates)
        : path_(path), duplicates_(duplicates), file_(path, O_RDONLY) {}

    LengthCache parse() {
        buffer_.resize(line_bytes_max + read_bytes + padding_bytes);
        std::size_t held = 0;
        for (bool at_end = false; !at_end;) {
            const std::size_t got =
                file_.read(std::as_writable_bytes(std::span(buffer_).subspan(held, read_bytes)));
            at_end = got < read_bytes;
            held += got;
            if (at_end && held > 0 && buffer_[held - 1] != '\n') buffer_[held++] = '\n';
            const std::string_view text(buffer_.data(), held);
            const std::size_t last_end = text.rfind('\n');
            const std::size_t lines = last_end == std::string_view::npos ? 0 : last_end + 1;
            const bool is_first = line_number_ == 0;
            take_lines(lines);
            if (is_first && lines > 0) reserve(lines);
            held -= lines;
            if (held > line_bytes_max) {
                ++line_number_;
                fail_too_long();
            }
            std::memmove(buffer_.data(), buffer_.data() + lines, held);
        }
        if (line_number_ == 0) {
            throw Error(ErrorCode::corrupt_data,
                        "'" + path_.string() +
                            "' is empty (0 bytes); expected a corpus, a length cache or lengths as JSONL (a "
                            "header line and one object a sample)");
        }
        return finish();
    }

  private:
    [[noreturn]] void fail(const std::string& problem) const { fail_at(line_number_, problem); }
    [[noreturn]] void fail_at(std::uint64_t line, const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data, path_.string() + ":" + std::to_string(line) + ": " + problem);
    }
    [[noreturn]] void fail_too_long() const { fail("a line of more than 4 MiB; this is no lengths file"); }

    /// Room for as many samples as the first lines let expect.
    void reserve(std::size_t bytes_so_far) {
        if (!file_.is_regular()) return;
        const std::uint64_t expected = file_.size() / bytes_so_far * columns_.sample_tokens.size();
        const std::uint64_t room = expected + expected / 16 + 16;
        columns_.sample_tokens.reserve(room);
        keys_.reserve(room);
        if (!columns_.loss_tokens.empty()) columns_.loss_tokens.reserve(room);
        if (!columns_.sample_score.empty()) columns_.sample_score.reserve(room);
    }

    /// Whole lines at the start of the buffer.
    void take_lines(std::size_t bytes) {
        const char* const end = buffer_.data() + bytes;
        for (const char* at = buffer_.data(); at < end;) {
            ++line_number_;
            if (!shape_.middle.empty() && take_line_of_shape(at)) continue;
            const auto* line_end =
                static_cast<const char*>(std::memchr(at, '\n', static_cast<std::size_t>(end - at)));
            const std::string_view line(at, static_cast<std::size_t>(line_end - at));
            if (line.size() > line_bytes_max) fail_too_long();
            take(parse_line(line));
            if (!columns_.sample_tokens.empty() && shapes_learned_ < shapes_learned_max) learn_shape(line);
            at = line_end + 1;
        }
    }

    /// Takes the line and steps behind it, or leaves everything as it is.
    bool take_line_of_shape(const char*& line) {
        const char* at = line;
        if (!skip(at, shape_.head)) return false;
        std::uint64_t seen = 0;
        const char* const key_end = string_end(at, seen);
        const std::string_view key(at, static_cast<std::size_t>(key_end - at));
        at = key_end;
        if (key.empty() || !skip(at, shape_.middle)) return false;
        if ((seen & 0x8080808080808080U) != 0 && !simdjson::validate_utf8(key.data(), key.size()))
            return false;
        std::uint32_t length = 0;
        if (!take_count(at, length)) return false;
        std::uint32_t loss_tokens = 0;
        const bool has_loss = !columns_.loss_tokens.empty();
        if (has_loss && (!skip(at, shape_.loss) || !take_count(at, loss_tokens) || loss_tokens > length))
            return false;
        double score = 0;
        const bool has_score = !columns_.sample_score.empty();
        if (has_score && (!skip(at, shape_.score) || !take_number(at, score))) return false;
        if (*at++ != '}') return false;
        if (*at == '\r') ++at;
        if (*at++ != '\n') return false;
        keys_.add(key);
        columns_.sample_tokens.push_back(length);
        if (has_loss) columns_.loss_tokens.push_back(loss_tokens);
        if (has_score) columns_.sample_score.push_back(score);
        line = at;
        return true;
    }

    /// The shape of a sample's line, if it is one of the usual. What stands between id and length must be
    /// nothing but the hash, which the parser confirms.
    void learn_shape(std::string_view line) {
        for (const std::string gap : {" ", ""}) {
            LineShape shape;
            shape.head = "{\"sample_id\":" + gap + "\"";
            if (!line.starts_with(shape.head)) continue;
            const std::size_t key_end = line.find_first_of("\"\\", shape.head.size());
            if (key_end == std::string_view::npos || line[key_end] != '"') continue;
            const std::string before_length = "," + gap + "\"length\":" + gap;
            const std::size_t at = line.find(before_length, key_end);
            if (at == std::string_view::npos) continue;
            shape.middle = line.substr(key_end, at + before_length.size() - key_end);
            shape.loss = "," + gap + "\"loss_tokens\":" + gap;
            shape.score = "," + gap + "\"score\":" + gap;
            if (shape.head.size() + shape.middle.size() > shape_bytes_max || !confirm(shape)) continue;
            shape_ = std::move(shape);
            ++shapes_learned_;
            return;
        }
    }

    bool confirm(const LineShape& shape) {
        const std::string probe = shape.head + "x" + shape.middle + "0}";
        simdjson::dom::object object;
        if (parser_.parse(probe).get_object().get(object) != simdjson::SUCCESS) return false;
        std::string names;
        for (const auto& [name, value] : object) {
            names += name;
            names += ' ';
            std::string_view text;
            if (name == "tokenizer_hash" &&
                (value.get_string().get(text) != simdjson::SUCCESS || text != columns_.tokenizer_hash)) {
                return false;
            }
            if (name == "sample_id" && (value.get_string().get(text) != simdjson::SUCCESS || text != "x"))
                return false;
        }
        return names == "sample_id length " || names == "sample_id tokenizer_hash length ";
    }

    Line parse_line(std::string_view text) {
        simdjson::dom::object object;
        // The padding is there already, so the line is parsed in place.
        const auto failure = parser_.parse(text.data(), text.size(), false).get_object().get(object);
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
        } else if (name == "score") {
            set_once(line.score, name, read_score(value));
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

    double read_score(simdjson::dom::element value) const {
        double score = 0;
        if (value.get_double().get(score) != simdjson::SUCCESS || !std::isfinite(score))
            fail("'score' must be a finite number; found " + simdjson::minify(value));
        return score;
    }

    void take(Line line) {
        if (line_number_ == 1 && !line.key && !line.length && (line.tokenizer_hash || line.version)) {
            take_header(line);
            return;
        }
        if (!line.key) fail("no 'sample_id'");
        if (!line.length) fail("no 'length'");
        check_hash(line);
        check_on_all_or_none(line.loss_tokens.has_value(), !columns_.loss_tokens.empty(), "loss_tokens");
        check_on_all_or_none(line.score.has_value(), !columns_.sample_score.empty(), "score");
        if (line.loss_tokens) {
            if (*line.loss_tokens > *line.length) {
                fail("'loss_tokens' " + std::to_string(*line.loss_tokens) + " exceeds 'length' " +
                     std::to_string(*line.length));
            }
            columns_.loss_tokens.push_back(static_cast<std::uint32_t>(*line.loss_tokens));
        }
        if (line.score) columns_.sample_score.push_back(*line.score);
        columns_.sample_tokens.push_back(static_cast<std::uint32_t>(*line.length));
        keys_.add(*line.key);
    }

    void check_on_all_or_none(bool here, bool above, const char* name) const {
        if (here != above && !columns_.sample_tokens.empty())
            fail(std::string("'") + name + "' must be on every sample or on none");
    }

    void take_header(const Line& line) {
        has_header_ = true;
        if (line.version.value_or(lengths_version) > lengths_version) {
            throw Error(ErrorCode::incompatible_version,
                        "'" + path_.string() + "' is a lengths file of version " +
                            std::to_string(*line.version) + "; this build reads up to version " +
                            std::to_string(lengths_version));
        }
        hash_known_ = line.tokenizer_hash.has_value();
        columns_.tokenizer_hash = line.tokenizer_hash.value_or("");
    }

    /// Lengths of two tokenizers in one file belong to no plan.
    void check_hash(const Line& line) {
        if (!line.tokenizer_hash) return;
        if (!hash_known_) {
            columns_.tokenizer_hash = *line.tokenizer_hash;
            hash_known_ = true;
        }
        if (*line.tokenizer_hash != columns_.tokenizer_hash) {
            fail("'tokenizer_hash' is '" + std::string(*line.tokenizer_hash) +
                 "', but the lines above have '" + columns_.tokenizer_hash +
                 "'; rebuild the file with one tokenizer");
        }
    }

    LengthCache finish() {
        columns_.key_begin = std::move(keys_.begin());
        columns_.key_bytes = std::move(keys_.bytes());
        if (!keys_.ascending()) {
            const auto repeated = find_repeated_keys(columns_.key_begin, columns_.key_bytes);
            if (!repeated.empty() && duplicates_ == DuplicateIds::refuse) {
                const auto& [first, index] = repeated.front();
                fail_at(line_of(index), "sample_id '" + key_at(index) + "' is repeated; it stands in line " +
                                            std::to_string(line_of(first)) + " too");
            }
            if (!repeated.empty()) let_last_win(repeated);
        }
        return LengthCache(std::move(columns_));
    }

    std::uint64_t line_of(std::uint64_t sample) const { return sample + (has_header_ ? 2 : 1); }
    std::string key_at(std::uint64_t sample) const {
        return columns_.key_bytes.substr(columns_.key_begin[sample],
                                         columns_.key_begin[sample + 1] - columns_.key_begin[sample]);
    }

    /// The place of the first, the values of the last: what assigning to a Python dict does.
    void let_last_win(const std::vector<RepeatedKey>& repeated) {
        LengthColumns kept;
        kept.tokenizer_hash = columns_.tokenizer_hash;
        std::vector<std::uint64_t> source(columns_.sample_tokens.size());
        for (std::uint64_t i = 0; i < source.size(); ++i) source[i] = i;
        for (const RepeatedKey& repeat : repeated) source[repeat.first] = repeat.index;
        auto next = repeated.begin();
        for (std::uint64_t i = 0; i < source.size(); ++i) {
            if (next != repeated.end() && next->index == i) {
                ++next;
                continue;
            }
            kept.add_key(key_at(i));
            kept.sample_tokens.push_back(columns_.sample_tokens[source[i]]);
            if (!columns_.loss_tokens.empty()) kept.loss_tokens.push_back(columns_.loss_tokens[source[i]]);
            if (!columns_.sample_score.empty()) kept.sample_score.push_back(columns_.sample_score[source[i]]);
        }
        columns_ = std::move(kept);
    }

    const std::filesystem::path& path_;
    DuplicateIds duplicates_;
    PosixFile file_;
    std::vector<char> buffer_;
    simdjson::dom::parser parser_;
    LineShape shape_;
    int shapes_learned_ = 0;
    std::uint64_t line_number_ = 0;
    bool has_header_ = false;
    bool hash_known_ = false;
    KeyCollector keys_;
    LengthColumns columns_;
};

std::string json_quoted(std::string_view text) {
    try {
        return nlohmann::json(text).dump();
    } catch (const nlohmann::json::type_error&) {
        throw Error(ErrorCode::invalid_argument,
                    "a sample id is not valid UTF-8; a lengths file cannot hold it");
    }
}

/// Shortest text that reads back as the same double, and not as an integer: -0 would lose its sign, and not
/// all fit one.
std::string number_text(double value) {
    char digits[32];
    const auto result = std::to_chars(digits, digits + sizeof digits, value);
    std::string text(digits, result.ptr);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

}  // namespace

LengthCache read_lengths_jsonl(const std::filesystem::path& path, DuplicateIds duplicates) {
    return LengthsParser(path, duplicates).parse();
}

void write_lengths_jsonl(const std::filesystem::path& path, const LengthCache& lengths, Overwrite overwrite) {
    const std::string hash = json_quoted(lengths.tokenizer_hash());
    const std::string before_length = ", \"tokenizer_hash\": " + hash + ", \"length\": ";
    const auto loss_tokens = lengths.loss_tokens();
    const auto scores = lengths.sample_score();
    require_writable_output(path, overwrite);
    const std::filesystem::path temporary = temporary_path(path);
    try {
        PosixFile file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
        std::string text =
            "{\"tokenizer_hash\": " + hash + ", \"version\": " + std::to_string(lengths_version) + "}\n";
        for (std::uint64_t i = 0; i < lengths.num_samples(); ++i) {
            if (lengths.has_keys() && lengths.key(i).empty()) {
                throw Error(ErrorCode::invalid_argument,
                            "sample " + std::to_string(i) +
                                " has no id while others have one; a lengths file needs all or none");
            }
            text += "{\"sample_id\": ";
            text += lengths.has_keys() ? json_quoted(lengths.key(i)) : '"' + std::to_string(i) + '"';
            text += before_length;
            text += std::to_string(lengths.sample_tokens()[i]);
            if (!loss_tokens.empty()) text += ", \"loss_tokens\": " + std::to_string(loss_tokens[i]);
            if (!scores.empty()) text += ", \"score\": " + number_text(scores[i]);
            text += "}\n";
            if (text.size() < read_bytes) continue;
            file.write(std::as_bytes(std::span(text)));
            text.clear();
        }
        file.write(std::as_bytes(std::span(text)));
        file.close();
        publish_file(temporary, path, overwrite);
    } catch (...) {
        std::error_code ignored;
        std::filesystem::remove(temporary, ignored);
        throw;
    }
}

}  // namespace lockstep
