#include "io/documents/parquet/parquet_column.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "io/base/error.h"

namespace lockstep {

namespace {

std::size_t fixed_bytes_of(ParquetType type) {
    return type == ParquetType::int32 || type == ParquetType::float32 ? 4 : 8;
}

/// Take one stored value off the front.
std::string_view take_plain(std::span<const std::byte>& rest, ParquetType type) {
    std::uint32_t bytes = 0;
    if (type == ParquetType::byte_array) {
        if (rest.size() < sizeof bytes) throw PageFailure{"values that end too early"};
        std::memcpy(&bytes, rest.data(), sizeof bytes);
        rest = rest.subspan(sizeof bytes);
    } else {
        bytes = static_cast<std::uint32_t>(fixed_bytes_of(type));
    }
    if (bytes > rest.size()) throw PageFailure{"a value that ends too early"};
    const std::string_view value(reinterpret_cast<const char*>(rest.data()), bytes);
    rest = rest.subspan(bytes);
    return value;
}

template <class T>
T stored_as(std::string_view stored) {
    T value = 0;
    std::memcpy(&value, stored.data(), sizeof value);
    return value;
}

std::string integer_text(std::string_view stored, const ParquetColumn& column) {
    if (column.type == ParquetType::int32) {
        return column.is_unsigned ? std::to_string(stored_as<std::uint32_t>(stored))
                                  : std::to_string(stored_as<std::int32_t>(stored));
    }
    return column.is_unsigned ? std::to_string(stored_as<std::uint64_t>(stored))
                              : std::to_string(stored_as<std::int64_t>(stored));
}

double number_of(std::string_view stored, const ParquetColumn& column) {
    switch (column.type) {
        case ParquetType::float32:
            return stored_as<float>(stored);
        case ParquetType::float64:
            return stored_as<double>(stored);
        case ParquetType::int32:
            return column.is_unsigned ? static_cast<double>(stored_as<std::uint32_t>(stored))
                                      : static_cast<double>(stored_as<std::int32_t>(stored));
        default:
            return column.is_unsigned ? static_cast<double>(stored_as<std::uint64_t>(stored))
                                      : static_cast<double>(stored_as<std::int64_t>(stored));
    }
}

bool is_readable(const ParquetColumn& column, ParquetUse use) {
    if (column.type == ParquetType::int32 || column.type == ParquetType::int64) return true;
    if (use == ParquetUse::text) return column.type == ParquetType::byte_array;
    return column.type == ParquetType::float32 || column.type == ParquetType::float64;
}

unsigned level_width(unsigned level_max) {
    return static_cast<unsigned>(std::bit_width(level_max));
}

}  // namespace

ParquetColumnReader::ParquetColumnReader(const PosixFile& file, const ParquetColumn& column,
                                         const ParquetChunk& chunk, std::uint64_t page_bytes_max,
                                         ParquetGrowth& growth, ParquetUse use)
    : column_(column),
      growth_(growth),
      chunk_values_left_(chunk.num_values),
      pages_(file, column, chunk, page_bytes_max, growth) {
    if (!is_readable(column, use)) {
        throw Error(
            ErrorCode::invalid_argument,
            "'" + file.path().string() + "': field '" + *column.field +
                (use == ParquetUse::text ? "' is neither a string nor an integer" : "' is no number"));
    }
    if (use == ParquetUse::number && column.is_decimal) {
        throw Error(ErrorCode::invalid_argument, "'" + file.path().string() + "': field '" + *column.field +
                                                     "' holds decimals; write it as floats or integers");
    }
    if (use == ParquetUse::number && column.repetition_max != 0) {
        throw Error(ErrorCode::invalid_argument,
                    "'" + file.path().string() + "': field '" + *column.field + "' is a list, not a number");
    }
}

ParquetColumnReader::Levels ParquetColumnReader::begin_row() {
    const auto levels = ahead_ ? std::exchange(ahead_, std::nullopt) : take_levels();
    if (!levels) throw PageFailure{"fewer rows than its row group"};
    if (levels->repetition != 0) throw PageFailure{"a row that continues another"};
    return *levels;
}

std::optional<double> ParquetColumnReader::take_number() {
    try {
        const bool is_there = begin_row().definition == column_.definition_max;
        growth_.add_value(is_there ? sizeof(double) : 0);
        return is_there ? std::optional(number_of(plain_value(), column_)) : std::nullopt;
    } catch (const PageFailure& failure) {
        pages_.corrupt(failure.problem);
    }
}

bool ParquetColumnReader::append_next(std::vector<char>& out, std::uint64_t bytes_max) {
    try {
        std::optional<Levels> levels = begin_row();
        if (column_.repetition_max == 0) {
            const bool is_there = levels->definition == column_.definition_max;
            const std::size_t before = out.size();
            if (is_there) append_value(out, bytes_max);
            growth_.add_value(out.size() - before);
            return is_there;
        }
        const bool null_list = levels->definition < column_.list_definition;
        const std::size_t begin = out.size();
        bool any = false;
        for (; levels; levels = take_levels()) {
            if (any && levels->repetition == 0) {
                ahead_ = levels;
                break;
            }
            const std::size_t before = out.size();
            if (levels->definition == column_.definition_max) {
                if (before != begin) out.push_back('\n');
                append_value(out, bytes_max - std::min<std::uint64_t>(bytes_max, out.size() - begin));
            }
            growth_.add_value(out.size() - before);
            any = true;
        }
        return !null_list;
    } catch (const PageFailure& failure) {
        pages_.corrupt(failure.problem);
    }
}

void ParquetColumnReader::expect_end() {
    if (ahead_ || chunk_values_left_ != 0) pages_.corrupt("more rows than its row group");
}

std::optional<ParquetColumnReader::Levels> ParquetColumnReader::take_levels() {
    if (chunk_values_left_ == 0) return std::nullopt;
    while (page_values_left_ == 0) begin_page();
    --page_values_left_;
    --chunk_values_left_;
    Levels levels{column_.repetition_max == 0 ? 0 : repetition_.next(),
                  column_.definition_max == 0 ? 0 : definition_.next()};
    if (levels.repetition > column_.repetition_max || levels.definition > column_.definition_max)
        throw PageFailure{"a level beyond its maximum"};
    return levels;
}

void ParquetColumnReader::begin_page() {
    if (!pages_.next(page_)) throw PageFailure{"fewer values than its column claims"};
    if (page_.is_dictionary) {
        load_dictionary(page_);
        return;
    }
    if (page_.num_values > chunk_values_left_) throw PageFailure{"more values than its column claims"};
    page_values_left_ = page_.num_values;
    repetition_ = HybridDecoder(page_.repetition, level_width(column_.repetition_max));
    definition_ = HybridDecoder(page_.definition, level_width(column_.definition_max));
    plain_ = page_.values;
    if (page_.encoding != ParquetEncoding::rle_dictionary) return;
    if (page_.values.empty()) {
        indices_ = HybridDecoder();  // Nulls alone.
        return;
    }
    indices_ = HybridDecoder(page_.values.subspan(1), static_cast<unsigned>(page_.values.front()));
}

void ParquetColumnReader::load_dictionary(const ParquetPage& page) {
    if (!dictionary_.empty()) throw PageFailure{"a second dictionary"};
    dictionary_bytes_.assign(page.values.begin(), page.values.end());
    std::span<const std::byte> rest = dictionary_bytes_;
    for (std::uint64_t i = 0; i < page.num_values; ++i) dictionary_.push_back(take_plain(rest, column_.type));
}

std::string_view ParquetColumnReader::plain_value() {
    if (page_.encoding == ParquetEncoding::plain) return take_plain(plain_, column_.type);
    const std::uint32_t index = indices_.next();
    if (index >= dictionary_.size()) throw PageFailure{"an index beyond its dictionary"};
    return dictionary_[index];
}

void ParquetColumnReader::append_value(std::vector<char>& out, std::uint64_t bytes_max) {
    const std::string_view stored = plain_value();
    if (column_.type == ParquetType::byte_array) {
        append_text(stored, out, bytes_max);
    } else {
        append_text(integer_text(stored, column_), out, bytes_max);
    }
}

void ParquetColumnReader::append_text(std::string_view text, std::vector<char>& out,
                                      std::uint64_t bytes_max) const {
    if (text.size() > bytes_max) throw PageFailure{"a document longer than --document-bytes-max"};
    out.insert(out.end(), text.begin(), text.end());
}

}  // namespace lockstep
