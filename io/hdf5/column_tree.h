// io/hdf5/column_tree.h
//
// What a column file holds, as HDF5 tells it: every dataset with its place in the
// file, and every attribute of every group. Nothing is taken on trust: a place
// outside the file, or an object we never write, is an error.

#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/files/posix_file.h"
#include "io/hdf5/attributes.h"
#include "io/hdf5/column_type.h"

namespace lockstep {

/// Element type as stored: little-endian.
hid_t hdf5_type_of(ColumnType type);

struct TreeColumn {
    std::string name;  ///< "/cursor/pending"
    ColumnType type = ColumnType::u8;
    std::uint64_t rows = 0;
    std::size_t width = 1;
    std::uint64_t offset = 0;  ///< From the start of the file [bytes], a multiple of 8; 0 when empty.
    std::uint64_t bytes = 0;

    friend bool operator==(const TreeColumn&, const TreeColumn&) = default;
};

struct TreeAttribute {
    std::string group;  ///< "/" or "/cursor"
    std::string name;
    AttributeValue value;

    friend bool operator==(const TreeAttribute&, const TreeAttribute&) = default;
};

struct ColumnTree {
    std::vector<TreeColumn> columns;        ///< Sorted by name.
    std::vector<TreeAttribute> attributes;  ///< Sorted by group, then name.

    friend bool operator==(const ColumnTree&, const ColumnTree&) = default;
};

/// Read the tree of an open file; its length bounds every column.
/// @throws Error{corrupt_data} naming the object.
ColumnTree read_column_tree(PosixFile& file);

}  // namespace lockstep
