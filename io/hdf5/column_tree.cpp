#include "io/hdf5/column_tree.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "io/hdf5/handle.h"
#include "io/hdf5/storage.h"

namespace lockstep {

namespace {

constexpr std::array all_types{ColumnType::u8,  ColumnType::u16, ColumnType::u32, ColumnType::u64,
                               ColumnType::i32, ColumnType::i64, ColumnType::f32, ColumnType::f64};
constexpr int group_depth_max = 8;
constexpr std::uint64_t column_alignment_bytes = 8;

/// Walks groups depth first and collects.
class TreeReader {
  public:
    TreeReader(const std::filesystem::path& path, std::uint64_t file_bytes)
        : calls_(path, ErrorCode::corrupt_data), file_bytes_(file_bytes) {}

    const Hdf5Calls& calls() const { return calls_; }

    void read_group(hid_t group, const std::string& name, int depth) {
        if (depth > group_depth_max) malformed(name, "groups nested too deep");
        for (const std::string& attribute : attribute_names(group, calls_)) {
            tree_.attributes.push_back({name, attribute, read_attribute(group, attribute, calls_)});
        }
        H5G_info_t info{};
        calls_.checked(H5Gget_info(group, &info), "list", name);
        for (hsize_t i = 0; i < info.nlinks; ++i) read_link(group, name, i, depth);
    }

    ColumnTree finish() {
        std::ranges::sort(tree_.columns, {}, &TreeColumn::name);
        std::ranges::sort(tree_.attributes, [](const auto& a, const auto& b) {
            return std::tie(a.group, a.name) < std::tie(b.group, b.name);
        });
        return std::move(tree_);
    }

  private:
    [[noreturn]] void malformed(const std::string& object, const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data, "'" + object + "' in '" + calls_.file().string() +
                                                 "': " + problem + "; not a column file of this program");
    }

    void read_link(hid_t group, const std::string& parent, hsize_t index, int depth) {
        const ssize_t length = calls_.checked(
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, index, nullptr, 0, H5P_DEFAULT),
            "list", parent);
        std::string name(static_cast<std::size_t>(length), '\0');
        calls_.checked(H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, index, name.data(),
                                          name.size() + 1, H5P_DEFAULT),
                       "list", parent);
        const std::string path = (parent == "/" ? "" : parent) + "/" + name;

        H5L_info_t link{};
        calls_.checked(H5Lget_info(group, name.c_str(), &link, H5P_DEFAULT), "examine", path);
        if (link.type != H5L_TYPE_HARD) malformed(path, "is a link, expected a group or a dataset");
        const Hdf5Object object(calls_.checked(H5Oopen(group, name.c_str(), H5P_DEFAULT), "open", path));
        switch (H5Iget_type(object.id())) {
            case H5I_GROUP:
                read_group(object.id(), path, depth + 1);
                break;
            case H5I_DATASET:
                tree_.columns.push_back(read_column(object.id(), path));
                break;
            default:
                malformed(path, "is neither a group nor a dataset");
        }
    }

    TreeColumn read_column(hid_t dataset, const std::string& name) const {
        TreeColumn column;
        column.name = name;
        read_shape(dataset, column);
        column.type = read_type(dataset, name);
        check_layout(dataset, name);

        const std::uint64_t row_bytes = column.width * column_type_bytes(column.type);
        if (column.rows > file_bytes_ / row_bytes) {
            malformed(name, std::to_string(column.rows) + " rows of " + std::to_string(row_bytes) +
                                " bytes do not fit a file of " + std::to_string(file_bytes_) + " bytes");
        }
        column.bytes = column.rows * row_bytes;
        if (column.bytes == 0) return column;
        const haddr_t offset = H5Dget_offset(dataset);
        if (offset == HADDR_UNDEF || offset % column_alignment_bytes != 0 ||
            offset > file_bytes_ - column.bytes) {
            malformed(name, "its " + std::to_string(column.bytes) +
                                " bytes do not lie at a multiple of 8 inside the file");
        }
        column.offset = offset;
        return column;
    }

    void read_shape(hid_t dataset, TreeColumn& column) const {
        const Hdf5Dataspace space(calls_.checked(H5Dget_space(dataset), "examine", column.name));
        const int dimensions = H5Sget_simple_extent_ndims(space.id());
        if (dimensions != 1 && dimensions != 2) malformed(column.name, "has neither one nor two dimensions");
        std::array<hsize_t, 2> extent{0, 1};
        calls_.checked(H5Sget_simple_extent_dims(space.id(), extent.data(), nullptr), "examine", column.name);
        constexpr hsize_t width_max = hsize_t{1} << 32U;
        if (extent[1] < 1 || extent[1] > width_max)
            malformed(column.name, "has rows of no or too many values");
        column.rows = extent[0];
        column.width = static_cast<std::size_t>(extent[1]);
    }

    ColumnType read_type(hid_t dataset, const std::string& name) const {
        const Hdf5Datatype type(calls_.checked(H5Dget_type(dataset), "examine", name));
        const auto* known = std::ranges::find_if(all_types, [&](ColumnType candidate) {
            return calls_.checked(H5Tequal(type.id(), hdf5_type_of(candidate)), "examine", name) > 0;
        });
        if (known == all_types.end()) malformed(name, "has an element type that no column has");
        return *known;
    }

    void check_layout(hid_t dataset, const std::string& name) const {
        const Hdf5Properties creation(calls_.checked(H5Dget_create_plist(dataset), "examine", name));
        if (H5Pget_layout(creation.id()) != H5D_CONTIGUOUS || H5Pget_external_count(creation.id()) != 0) {
            malformed(name, "is not stored contiguously in this file");
        }
    }

    Hdf5Calls calls_;
    std::uint64_t file_bytes_;
    ColumnTree tree_;
};

}  // namespace

hid_t hdf5_type_of(ColumnType type) {
    switch (type) {
        case ColumnType::u8:
            return H5T_STD_U8LE;
        case ColumnType::u16:
            return H5T_STD_U16LE;
        case ColumnType::u32:
            return H5T_STD_U32LE;
        case ColumnType::u64:
            return H5T_STD_U64LE;
        case ColumnType::i32:
            return H5T_STD_I32LE;
        case ColumnType::i64:
            return H5T_STD_I64LE;
        case ColumnType::f32:
            return H5T_IEEE_F32LE;
        case ColumnType::f64:
            return H5T_IEEE_F64LE;
    }
    return H5I_INVALID_HID;
}

ColumnTree read_column_tree(PosixFile& file) {
    const Hdf5Session session;
    TreeReader reader(file.path(), file.size());
    const Hdf5Calls& calls = reader.calls();
    Hdf5Storage storage(file);
    try {
        const Hdf5Properties access = file_access_properties(storage, calls);
        Hdf5File hdf5(calls.checked(H5Fopen(file.path().c_str(), H5F_ACC_RDONLY, access.id()), "open"));
        {
            const Hdf5Group root(calls.checked(H5Gopen2(hdf5.id(), "/", H5P_DEFAULT), "open", "/"));
            reader.read_group(root.id(), "/", 0);
        }
        hdf5.close(calls);
    } catch (const Error&) {
        storage.rethrow();  // The disk's own words, if it was the disk.
        throw;
    }
    return reader.finish();
}

}  // namespace lockstep
