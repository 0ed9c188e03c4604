// io/columns/column_file.h
//
// A durable set of named columns and attributes: one HDF5 file of a documented
// shape (docs/formats/column_file.md). Every Lockstep HDF5 artifact is one.
//
// The file begins with a 512-byte user block: magic, file length, digest of every
// byte outside the block-digested columns, digest of itself. Columns of at least
// 1 MiB carry one digest per MiB in a sibling dataset "<column>_block_digest".
// So every bit of the file is covered. Equal content gives equal files.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/atomic_file.h"
#include "io/hdf5/column_type.h"

namespace lockstep {

class EarlyColumn;
class PosixFile;

/// What the place of a column that is the first of its file depends on.
struct FirstColumn {
    std::string format;
    std::uint64_t format_version = 0;
    std::string column;  ///< Of width 1.
    ColumnType type = ColumnType::u8;
};

/// Writes a column file and publishes it atomically. Nothing appears at `path`
/// before `publish`; destruction without it removes the temporary it made.
class ColumnFileWriter {
  public:
    /// @param format   "lockstep-corpus", …; stored as attribute `format` of the root group.
    /// @param version  stored as attribute `format_version`.
    ColumnFileWriter(std::filesystem::path path, std::string format, std::uint64_t version,
                     Overwrite overwrite = Overwrite::no);
    /// Goes on with a file whose first column was written early: the result is the same. Destruction without
    /// `publish` leaves that file where it is, for another EarlyColumn to take over.
    ColumnFileWriter(std::filesystem::path path, EarlyColumn early, Overwrite overwrite = Overwrite::no);
    ~ColumnFileWriter();
    ColumnFileWriter(const ColumnFileWriter&) = delete;
    ColumnFileWriter& operator=(const ColumnFileWriter&) = delete;

    /// Attributes of the root ("/") or a group ("/cursor"), which is created on first use.
    void attribute(std::string_view group, std::string_view name, std::uint64_t value);
    void attribute(std::string_view group, std::string_view name, std::int64_t value);
    void attribute(std::string_view group, std::string_view name, double value);
    void attribute(std::string_view group, std::string_view name, std::string_view text);

    /// A whole column at once. `name` is a path ("/tokens", "/cursor/pending"). `width` > 1 makes it
    /// two-dimensional: (values.size() / width, width). May be empty.
    template <class T>
    void column(std::string_view name, std::span<const T> values, std::size_t width = 1) {
        write_column(name, column_type_of<T>(), std::as_bytes(values), width);
    }

    /// A column of known length written in pieces: begin, append until `rows` rows are there. Several may be
    /// open at once; the file's layout follows the order of these calls.
    void begin_column(std::string_view name, ColumnType type, std::uint64_t rows, std::size_t width = 1);
    template <class T>
    void append(std::string_view name, std::span<const T> values) {
        append_bytes(name, column_type_of<T>(), std::as_bytes(values));
    }

    /// The file's name until it is published.
    const std::filesystem::path& temporary() const;

    /// Where the first column's bytes begin if it has 1 MiB or more [from the start of the file].
    /// @param file  is not changed.
    static std::uint64_t offset_of_first_column(PosixFile file, const FirstColumn& first);

    struct Published {
        std::uint64_t file_bytes;
        std::string digest_hex;  ///< Digest of the user block, which covers the whole file.
    };
    /// Close and digest what is complete, under its temporary name, so that `publish` has only to sync and
    /// rename it: for files that are to appear together. @param threads  that read large columns back.
    /// @throws Error{io_failure}.
    Published seal(int threads = 1);
    /// Seal unless that is done, fsync, rename, fsync the directory.
    /// @throws Error{io_failure, output_exists}; `path` is as before, and the temporary, unless it was an
    ///         EarlyColumn's, is removed with the writer.
    Published publish();
    /// The same without any fsync, for a file of a folder that is synced and published as a whole
    /// (sync_together, atomic_file.h).
    Published finish();

  private:
    void write_column(std::string_view name, ColumnType type, std::span<const std::byte> bytes,
                      std::size_t width);
    void append_bytes(std::string_view name, ColumnType type, std::span<const std::byte> bytes);

    struct State;
    std::unique_ptr<State> state_;
};

/// How much is checked when a column file is opened.
enum class VerifyAtOpen {
    automatic,  ///< Everything up to 1 GiB; above that block digests at first use of a block.
    everything,
    touched_blocks,  ///< Block digests at first use of a block, whatever the size; the rest at open.
};

/// Reads a column file through a read-only memory map. Immutable; const members may be called from many
/// threads.
class ColumnFile {
  public:
    /// @throws Error{not_found} no such file; Error{corrupt_data} not ours, cut short, or any digest mismatch
    /// (names the
    ///         object, expected and found); Error{incompatible_version} newer than `newest_version`.
    static ColumnFile open(const std::filesystem::path& path, std::string_view format,
                           std::uint64_t newest_version, VerifyAtOpen verify = VerifyAtOpen::automatic);
    /// The same for any format: for `inspect`.
    static ColumnFile open_any(const std::filesystem::path& path,
                               VerifyAtOpen verify = VerifyAtOpen::automatic);
    /// Only what the file says it is, nothing checked: to choose a reader, which then checks.
    static std::string format_of(const std::filesystem::path& path);
    ~ColumnFile();
    ColumnFile(ColumnFile&&) noexcept;
    ColumnFile& operator=(ColumnFile&&) noexcept;

    const std::filesystem::path& path() const;
    std::string format() const;
    std::uint64_t format_version() const;
    std::uint64_t file_bytes() const;
    std::string digest_hex() const;  ///< As ColumnFileWriter::Published.

    struct Info {
        std::string name;  ///< "/tokens"
        ColumnType type;
        std::uint64_t rows;
        std::size_t width;
    };
    std::vector<Info> columns() const;  ///< Sorted by name; digests left out.
    bool has_column(std::string_view name) const;
    Info info(std::string_view name) const;  ///< @throws Error{corrupt_data} if absent.

    struct Attribute {
        std::string group, name, text;  ///< `text` is the value as people read it.
    };
    std::vector<Attribute> attributes() const;
    bool has_attribute(std::string_view group, std::string_view name) const;
    /// @throws Error{corrupt_data} if absent or of another type.
    std::uint64_t attribute_u64(std::string_view group, std::string_view name) const;
    std::int64_t attribute_i64(std::string_view group, std::string_view name) const;
    double attribute_f64(std::string_view group, std::string_view name) const;
    std::string attribute_text(std::string_view group, std::string_view name) const;

    /// All values, row-major, straight from the map. Blocks not yet checked are checked now.
    /// @throws Error{corrupt_data} if absent, of another type, or a block digest differs.
    template <class T>
    std::span<const T> column(std::string_view name) const {
        const std::span<const std::byte> bytes = column_bytes(name, column_type_of<T>());
        return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
    }
    /// Rows [begin, end) only; checks just the blocks they touch.
    template <class T>
    std::span<const T> column_range(std::string_view name, std::uint64_t row_begin,
                                    std::uint64_t row_end) const {
        const std::span<const std::byte> bytes =
            column_range_bytes(name, column_type_of<T>(), row_begin, row_end);
        return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
    }

    /// Check every block not checked yet.
    void verify_everything() const;

  private:
    ColumnFile();
    std::span<const std::byte> column_bytes(std::string_view name, ColumnType type) const;
    std::span<const std::byte> column_range_bytes(std::string_view name, ColumnType type,
                                                  std::uint64_t row_begin, std::uint64_t row_end) const;
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
