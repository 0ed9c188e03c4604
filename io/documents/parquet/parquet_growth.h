// io/documents/parquet/parquet_growth.h
//
// What a Parquet file grows to while it is read, judged against its size. Runs
// of nothing take no bytes, so every value counts for some.

#pragma once

#include <algorithm>
#include <cstdint>

#include "io/documents/byte_stream.h"

namespace lockstep {

/// Values and decompressed pages are counted apart: each alone must stay sane.
class ParquetGrowth {
  public:
    ParquetGrowth(const PosixFile& file, std::uint64_t expansion_max)
        : file_(file), file_bytes_(file.size()), expansion_max_(expansion_max) {}

    /// A row's value or a list's element, null or not. @throws Error{corrupt_data} as require_sane_expansion.
    void add_value(std::uint64_t bytes) {
        values_ += std::max(bytes, value_bytes_min);
        require_sane_expansion(file_.path(), file_bytes_, values_, expansion_max_);
    }
    void add_page(std::uint64_t bytes) {
        pages_ += bytes;
        require_sane_expansion(file_.path(), file_bytes_, pages_, expansion_max_);
    }

  private:
    static constexpr std::uint64_t value_bytes_min = 8;

    const PosixFile& file_;
    std::uint64_t file_bytes_;
    std::uint64_t expansion_max_;
    std::uint64_t values_ = 0;
    std::uint64_t pages_ = 0;
};

}  // namespace lockstep
