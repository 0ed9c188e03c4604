// io/documents/parquet/parquet_column.h
//
// One column of one row group, row by row, as text or as numbers.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/documents/parquet/parquet_levels.h"
#include "io/documents/parquet/parquet_page.h"

namespace lockstep {

/// What a column is read for.
enum class ParquetUse { text, number };

class ParquetColumnReader {
  public:
    /// @param growth  told of every value; outlives this.
    /// @throws Error{invalid_argument} unless the column holds 32- or 64-bit integers or, as text, strings,
    /// as numbers, floats of either width; numbers are
    /// no lists and no decimals.
    ParquetColumnReader(const PosixFile& file, const ParquetColumn& column, const ParquetChunk& chunk,
                        std::uint64_t page_bytes_max, ParquetGrowth& growth,
                        ParquetUse use = ParquetUse::text);

    /// Append the next row's value: a string's bytes, an integer in decimal, a list's strings with newlines
    /// between them (null elements are passed over). @return false for null.
    /// @throws Error{corrupt_data}, also if the chunk has no further row.
    /// @pre opened as text.
    bool append_next(std::vector<char>& out, std::uint64_t bytes_max);
    /// The next row's value; nullopt for null. @throws as append_next. @pre opened as numbers.
    std::optional<double> take_number();
    /// @throws Error{corrupt_data} if values are left over.
    void expect_end();
    std::uint64_t file_position() const { return pages_.position(); }

  private:
    struct Levels {
        std::uint32_t repetition, definition;
    };

    std::optional<Levels> take_levels();
    Levels begin_row();
    void begin_page();
    void load_dictionary(const ParquetPage& page);
    void append_value(std::vector<char>& out, std::uint64_t bytes_max);
    std::string_view plain_value();
    void append_text(std::string_view text, std::vector<char>& out, std::uint64_t bytes_max) const;

    const ParquetColumn& column_;
    ParquetGrowth& growth_;
    std::uint64_t chunk_values_left_;
    ParquetPages pages_;
    ParquetPage page_;
    std::uint64_t page_values_left_ = 0;
    HybridDecoder repetition_, definition_, indices_;
    std::span<const std::byte> plain_;
    std::vector<std::byte> dictionary_bytes_;
    std::vector<std::string_view> dictionary_;
    std::optional<Levels> ahead_;  ///< Of the row after this one, seen at the end of a list.
};

}  // namespace lockstep
