#include "io/documents/parquet/parquet_footer.h"

#include <array>
#include <cstring>

#include "io/base/error.h"
#include "io/documents/parquet/thrift_compact.h"

namespace lockstep {

namespace {

constexpr std::size_t tail_bytes = 8;  ///< Length of the footer, then the magic.
constexpr std::uint64_t footer_bytes_max = std::uint64_t{256} << 20U;
constexpr std::int64_t converted_decimal = 5;
constexpr int logical_decimal = 5;
constexpr std::int64_t converted_uint32 = 13;
constexpr std::int64_t converted_uint64 = 14;

struct SchemaElement {
    std::string name;
    std::optional<std::int64_t> type, repetition, converted;
    std::int64_t num_children = 0;
    bool is_decimal = false;
};

SchemaElement read_schema_element(ThriftReader& in) {
    SchemaElement element;
    in.structure([&](int id, ThriftType type) {
        if (id == 1) {
            element.type = in.integer(type);
        } else if (id == 3) {
            element.repetition = in.integer(type);
        } else if (id == 4) {
            element.name = in.text(type);
        } else if (id == 5) {
            element.num_children = in.integer(type);
        } else if (id == 6) {
            element.converted = in.integer(type);
            element.is_decimal = element.is_decimal || element.converted == converted_decimal;
        } else if (id == 10 && type == ThriftType::structure) {
            // The logical type, a union: writers may give it alone.
            in.structure([&](int kind, ThriftType of) {
                element.is_decimal = element.is_decimal || kind == logical_decimal;
                in.skip(of);
            });
        } else {
            in.skip(type);
        }
    });
    return element;
}

/// The schema's list, depth first, to leaves with their levels.
class SchemaWalk {
  public:
    explicit SchemaWalk(const std::vector<SchemaElement>& elements) : elements_(elements) {}

    std::vector<ParquetColumn> columns() {
        if (elements_.empty()) throw ThriftFailure{"a schema without elements", false};
        const std::int64_t children = elements_.front().num_children;
        for (std::int64_t i = 0; i < children; ++i) {
            if (next_ < elements_.size()) field_ = std::make_shared<const std::string>(elements_[next_].name);
            element(0, {});
        }
        if (next_ != elements_.size()) throw ThriftFailure{"a schema with elements left over", false};
        return std::move(columns_);
    }

  private:
    struct Levels {
        unsigned definition = 0, repetition = 0, list_definition = 0;
    };

    void element(unsigned depth, Levels levels) {
        if (next_ == elements_.size()) throw ThriftFailure{"a schema that lacks elements", false};
        if (depth == depth_max) throw ThriftFailure{"a schema nested too deep", false};
        const SchemaElement& at = elements_[next_++];
        const std::int64_t rule = at.repetition.value_or(0);
        if (rule < 0 || rule > 2) throw ThriftFailure{"an unknown repetition", false};
        if (rule == 2 && ++levels.repetition == 1) levels.list_definition = levels.definition;
        levels.definition += rule != 0 ? 1U : 0U;
        if (at.num_children > 0) {
            for (std::int64_t i = 0; i < at.num_children; ++i) element(depth + 1, levels);
            return;
        }
        if (!at.type || *at.type < 0 || *at.type > 7) throw ThriftFailure{"a column of unknown type", false};
        const bool is_unsigned = at.converted == converted_uint32 || at.converted == converted_uint64;
        columns_.push_back({field_, static_cast<ParquetType>(*at.type), is_unsigned, at.is_decimal,
                            levels.definition, levels.repetition, levels.list_definition});
    }

    static constexpr unsigned depth_max = 32;

    const std::vector<SchemaElement>& elements_;
    std::size_t next_ = 1;
    std::shared_ptr<const std::string> field_;
    std::vector<ParquetColumn> columns_;
};

std::uint64_t not_negative(std::int64_t value) {
    if (value < 0) throw ThriftFailure{"a negative count or offset", false};
    return static_cast<std::uint64_t>(value);
}

void read_column_meta(ThriftReader& in, ParquetChunk& chunk) {
    std::uint64_t data_begin = 0;
    std::uint64_t bytes = 0;
    std::optional<std::uint64_t> dictionary_begin;
    in.structure([&](int id, ThriftType type) {
        if (id == 4) {
            chunk.codec = in.integer(type);
        } else if (id == 5) {
            chunk.num_values = not_negative(in.integer(type));
        } else if (id == 7) {
            bytes = not_negative(in.integer(type));
        } else if (id == 9) {
            data_begin = not_negative(in.integer(type));
        } else if (id == 11) {
            dictionary_begin = not_negative(in.integer(type));
        } else {
            in.skip(type);
        }
    });
    // Some writers say 0 for "no dictionary".
    chunk.begin = dictionary_begin && *dictionary_begin != 0 && *dictionary_begin < data_begin
                      ? *dictionary_begin
                      : data_begin;
    chunk.end = chunk.begin + bytes;
}

ParquetRowGroup read_row_group(ThriftReader& in, std::uint64_t file_bytes) {
    ParquetRowGroup group;
    in.structure([&](int id, ThriftType type) {
        if (id == 3) {
            group.num_rows = not_negative(in.integer(type));
        } else if (id == 1) {
            in.list(type, ThriftType::structure, [&] {
                ParquetChunk chunk;
                in.structure([&](int chunk_id, ThriftType chunk_type) {
                    if (chunk_id == 3) {
                        if (chunk_type != ThriftType::structure)
                            throw ThriftFailure{"a column without its description", false};
                        read_column_meta(in, chunk);
                    } else {
                        in.skip(chunk_type);
                    }
                });
                if (chunk.begin < 4 || chunk.end < chunk.begin || chunk.end > file_bytes)
                    throw ThriftFailure{"a column that lies outside the file", false};
                group.chunks.push_back(chunk);
            });
        } else {
            in.skip(type);
        }
    });
    return group;
}

ParquetFooter parse_footer(std::span<const std::byte> bytes, std::uint64_t file_bytes) {
    ThriftReader in(bytes);
    ParquetFooter footer;
    std::vector<SchemaElement> schema;
    std::uint64_t num_rows = 0;
    in.structure([&](int id, ThriftType type) {
        if (id == 2) {
            in.list(type, ThriftType::structure, [&] { schema.push_back(read_schema_element(in)); });
        } else if (id == 3) {
            num_rows = not_negative(in.integer(type));
        } else if (id == 4) {
            in.list(type, ThriftType::structure,
                    [&] { footer.row_groups.push_back(read_row_group(in, file_bytes)); });
        } else {
            in.skip(type);
        }
    });
    footer.columns = SchemaWalk(schema).columns();
    std::uint64_t rows = 0;
    for (ParquetRowGroup& group : footer.row_groups) {
        if (group.chunks.size() != footer.columns.size())
            throw ThriftFailure{"a row group with another number of columns than the schema", false};
        if (group.num_rows > num_rows - rows) throw ThriftFailure{"row groups with too many rows", false};
        group.first_row = rows;
        rows += group.num_rows;
    }
    if (rows != num_rows) throw ThriftFailure{"row groups with too few rows", false};
    return footer;
}

}  // namespace

ParquetFooter read_parquet_footer(const PosixFile& file) {
    const std::string name = "'" + file.path().string() + "'";
    const auto corrupt = [&](const std::string& problem) {
        return Error(ErrorCode::corrupt_data, name + " is no sound Parquet file: " + problem);
    };
    const std::uint64_t file_bytes = file.size();
    if (file_bytes < 4 + tail_bytes) throw corrupt("it has " + std::to_string(file_bytes) + " bytes");
    std::array<std::byte, tail_bytes> tail{};
    file.read_at(file_bytes - tail_bytes, tail);
    if (std::memcmp(tail.data() + 4, "PARE", 4) == 0)
        throw Error(ErrorCode::invalid_argument, name + " is an encrypted Parquet file; decrypt it first");
    if (std::memcmp(tail.data() + 4, "PAR1", 4) != 0)
        throw corrupt("it does not end in PAR1; it was cut short at byte " + std::to_string(file_bytes));
    std::uint32_t footer_bytes = 0;
    std::memcpy(&footer_bytes, tail.data(), sizeof footer_bytes);
    if (footer_bytes > file_bytes - 4 - tail_bytes || footer_bytes > footer_bytes_max)
        throw corrupt("its footer claims " + std::to_string(footer_bytes) + " bytes");
    std::vector<std::byte> bytes(footer_bytes);
    file.read_at(file_bytes - tail_bytes - footer_bytes, bytes);
    try {
        return parse_footer(bytes, file_bytes);
    } catch (const ThriftFailure& failure) {
        throw corrupt(std::string("its footer holds ") + failure.problem);
    }
}

std::optional<std::size_t> find_parquet_column(const ParquetFooter& footer, const std::string& field,
                                               const std::string& file) {
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < footer.columns.size(); ++i) {
        const ParquetColumn& column = footer.columns[i];
        if (*column.field != field) continue;
        if (found || column.repetition_max > 1) {
            throw Error(ErrorCode::invalid_argument,
                        "'" + file + "': field '" + field +
                            "' is a structure or a list of lists; expected a plain column or one list");
        }
        found = i;
    }
    return found;
}

}  // namespace lockstep
