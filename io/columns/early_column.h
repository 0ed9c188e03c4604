// io/columns/early_column.h
//
// The first column of a column file, written while nobody knows how long it will
// be: its bytes go where they will stand, and the rest of the file is made around
// them (ColumnFileWriter). So what comes in order and is large is written once.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "io/columns/block_digester.h"
#include "io/columns/column_file.h"
#include "io/files/posix_file.h"

namespace lockstep {

class EarlyColumn {
  public:
    /// @param file        not the published name; made if it is not there.
    /// @param kept_bytes  of the column that an earlier process left there, which must be in the file: the
    ///                    caller appends the same bytes again, and they are not written again. All else that
    ///                    the file holds is dropped.
    /// @throws Error{io_failure}.
    EarlyColumn(const std::filesystem::path& file, FirstColumn first, std::uint64_t kept_bytes = 0);

    /// Where the column begins, from the start of the file.
    std::uint64_t file_offset() const { return file_offset_; }
    std::uint64_t bytes() const { return bytes_; }  ///< Appended so far.

    void append(std::span<const std::byte> bytes);
    /// Whatever was appended can be read from the file.
    void flush();
    /// Bytes that are in the file.
    void read(std::uint64_t byte_offset, std::span<std::byte> into) const;

    /// For ColumnFileWriter. @throws Error{io_failure}.
    struct Ended {
        FirstColumn place;
        PosixFile file;
        std::uint64_t file_offset = 0;
        std::uint64_t bytes = 0;
        std::vector<std::byte> in_memory;  ///< All of a column too short to have that place.
        BlockDigester digester;
    };
    Ended end();

  private:
    FirstColumn first_;
    PosixFile file_;
    std::uint64_t file_offset_;
    std::uint64_t kept_bytes_;
    std::uint64_t bytes_ = 0;
    std::uint64_t bytes_written_;
    std::uint64_t sync_begun_;  ///< The disk was told of the bytes before this.
    std::vector<std::byte> gathered_;
    BlockDigester digester_;
};

}  // namespace lockstep
