// launch/chaos/column_copy.h
//
// A column file taken apart into values that may be changed, and written again
// sealed: damage that no digest can tell, left to what the readers check
// themselves.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "io/columns/column_file.h"

namespace lockstep {

struct ColumnCopy {
    struct Column {
        std::string name;
        ColumnType type = ColumnType::u8;
        std::size_t width = 1;         ///< ≥ 1
        std::vector<std::byte> bytes;  ///< A multiple of width elements.
    };
    struct Attribute {
        std::string group, name;
        std::variant<std::uint64_t, std::int64_t, double, std::string> value;
    };

    std::string format;
    std::uint64_t version = 0;
    std::vector<Column> columns;
    std::vector<Attribute> attributes;  ///< But for format and version.
};

/// @throws as ColumnFile::open_any.
ColumnCopy take_apart(const std::filesystem::path& path);

/// The file again, replaced and sealed, but not synced. @throws Error{io_failure}.
void put_together(const ColumnCopy& copy, const std::filesystem::path& path);

}  // namespace lockstep
