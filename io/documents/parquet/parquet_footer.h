// io/documents/parquet/parquet_footer.h
//
// What a Parquet file says of itself: leaf columns and where the pieces of each
// row group lie. Checked against the file's size.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/files/posix_file.h"

namespace lockstep {

/// Numbers of the format; others are refused by name.
enum class ParquetType : std::uint8_t {
    boolean = 0,
    int32 = 1,
    int64 = 2,
    int96 = 3,
    float32 = 4,
    float64 = 5,
    byte_array = 6,
    fixed_bytes = 7,
};
enum class ParquetCodec : std::uint8_t { none = 0, snappy = 1, gzip = 2, zstd = 6 };
/// Of values; PLAIN_DICTIONARY is read as one of these two.
enum class ParquetEncoding : std::uint8_t { plain = 0, rle_dictionary = 8 };

/// A leaf of the schema.
struct ParquetColumn {
    std::shared_ptr<const std::string> field;  ///< The top-level field it belongs to; of one, shared.
    ParquetType type = ParquetType::byte_array;
    bool is_unsigned = false;
    bool is_decimal = false;       ///< Integers of some scale.
    unsigned definition_max = 0;   ///< Level at which a value is there.
    unsigned repetition_max = 0;   ///< 0: one value a row. 1: a list.
    unsigned list_definition = 0;  ///< Level from which on the list is there, if it is one.
};

/// The pages of one column in one row group.
struct ParquetChunk {
    std::int64_t codec = 0;  ///< As stored; ParquetCodec if it is one that is read.
    std::uint64_t num_values = 0;
    std::uint64_t begin = 0, end = 0;  ///< Bytes of the file.
};

struct ParquetRowGroup {
    std::uint64_t num_rows = 0;
    std::uint64_t first_row = 0;
    std::vector<ParquetChunk> chunks;  ///< One a column.
};

struct ParquetFooter {
    std::vector<ParquetColumn> columns;
    std::vector<ParquetRowGroup> row_groups;
};

/// @throws Error{corrupt_data} cut short or damaged; Error{invalid_argument} encrypted.
ParquetFooter read_parquet_footer(const PosixFile& file);

/// Index of the leaf that holds a top-level field; nullopt if there is none of that name.
/// @throws Error{invalid_argument} if the field has several leaves (a structure) or nested lists.
std::optional<std::size_t> find_parquet_column(const ParquetFooter& footer, const std::string& field,
                                               const std::string& file);

}  // namespace lockstep
