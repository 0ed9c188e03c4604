// io/documents/parquet/parquet_levels.h
//
// The hybrid of runs and packed bits in which Parquet stores levels and
// dictionary indices, decoded number by number: a run of a billion takes no
// memory.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lockstep {

/// What is wrong with a page; callers say in which file and where.
struct PageFailure {
    const char* problem;
};

class HybridDecoder {
  public:
    HybridDecoder() = default;
    /// @param bit_width  of a number, at most 32.
    HybridDecoder(std::span<const std::byte> bytes, unsigned bit_width);

    /// @throws PageFailure at the end of the bytes.
    std::uint32_t next() {
        if (run_left_ != 0) {
            --run_left_;
            return run_value_;
        }
        return next_slowly();
    }

  private:
    std::uint32_t next_slowly();
    void begin_run();
    std::uint32_t unpack();

    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
    unsigned width_ = 0;
    std::uint64_t run_left_ = 0;
    std::uint32_t run_value_ = 0;
    std::uint64_t packed_left_ = 0;
    std::uint64_t bits_ = 0;  ///< Not yet given, lowest first.
    unsigned num_bits_ = 0;
};

}  // namespace lockstep
