// io/documents/parquet/parquet_page.h
//
// The pages of one column chunk, one after the other, decompressed.

#pragma once

#include <cstdint>
#include <vector>

#include "io/documents/parquet/parquet_footer.h"
#include "io/documents/parquet/parquet_growth.h"

namespace lockstep {

struct ParquetPage {
    bool is_dictionary = false;
    std::uint64_t num_values = 0;  ///< With nulls.
    ParquetEncoding encoding = ParquetEncoding::plain;
    std::span<const std::byte> repetition, definition;  ///< Levels without a length in front; may be empty.
    std::span<const std::byte> values;
};

class ParquetPages {
  public:
    /// @param page_bytes_max  largest page, decompressed.
    /// @param growth  told of every page; outlives this.
    ParquetPages(const PosixFile& file, const ParquetColumn& column, const ParquetChunk& chunk,
                 std::uint64_t page_bytes_max, ParquetGrowth& growth);

    /// The next page; its spans live until the next call. @return false at the end of the chunk.
    /// @throws Error{corrupt_data} with the page's place; Error{incompatible_version} naming a codec or
    ///         encoding that is not read.
    bool next(ParquetPage& page);
    std::uint64_t position() const { return position_; }
    [[noreturn]] void corrupt(const char* problem) const;

  private:
    struct Header;
    Header read_header();
    void read_body(const Header& header, ParquetPage& page);
    void require_encoding(std::int64_t encoding, ParquetPage& page) const;
    std::span<const std::byte> decompressed(std::span<const std::byte> stored, std::uint64_t bytes);

    const PosixFile& file_;
    const ParquetColumn& column_;
    ParquetChunk chunk_;
    ParquetGrowth& growth_;
    std::uint64_t page_bytes_max_;
    std::uint64_t position_;
    std::uint64_t page_begin_ = 0;
    std::vector<std::byte> stored_, plain_;
};

}  // namespace lockstep
