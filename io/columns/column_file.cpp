#include "io/columns/column_file.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <tuple>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/columns/column_file_format.h"
#include "io/files/file_system.h"
#include "io/files/posix_file.h"
#include "io/hdf5/column_tree.h"

namespace lockstep {

namespace {

constexpr std::uint64_t verify_at_open_bytes_max = std::uint64_t{1} << 30U;

/// A whole file, mapped for reading.
class FileMap {
  public:
    explicit FileMap(const PosixFile& file) : bytes_(static_cast<std::size_t>(file.size())) {
        if (bytes_ == 0) return;
        data_ = file_system().map(file.descriptor(), bytes_);
        if (data_ == nullptr) throw_errno("map", file.path().string(), errno);
    }
    ~FileMap() {
        if (data_ != nullptr) file_system().unmap(data_, bytes_);
    }
    FileMap(const FileMap&) = delete;
    FileMap& operator=(const FileMap&) = delete;

    std::span<const std::byte> bytes() const { return {data_, bytes_}; }

  private:
    const std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// A column with its block digests, if it has any, and which of them have been compared.
struct MappedColumn {
    TreeColumn place;
    std::span<const std::byte> bytes;
    const std::uint64_t* digests = nullptr;  ///< Two words a block, in the map; nullptr: covered as a whole.
    std::unique_ptr<std::atomic<bool>[]> checked;

    void check_blocks(std::uint64_t byte_begin, std::uint64_t byte_end, const std::string& file) const {
        if (digests == nullptr || byte_begin == byte_end) return;
        for (std::uint64_t block = byte_begin / digest_block_bytes; block * digest_block_bytes < byte_end;
             ++block) {
            // Two threads may both check a block; the answer is the same, and nothing else hangs on the flag.
            if (checked[block].load(std::memory_order_relaxed)) continue;
            check_block(block, file);
            checked[block].store(true, std::memory_order_relaxed);
        }
    }

  private:
    void check_block(std::uint64_t block, const std::string& file) const {
        const std::uint64_t begin = block * digest_block_bytes;
        const Digest found = digest_of(
            bytes.subspan(begin, std::min<std::uint64_t>(digest_block_bytes, bytes.size() - begin)));
        const Digest expected{digests[2 * block], digests[2 * block + 1]};
        if (found == expected) return;
        throw Error(ErrorCode::corrupt_data, "column '" + place.name + "' of '" + file +
                                                 "' is altered in MiB " + std::to_string(block) +
                                                 ": digest " + found.hex() + ", expected " + expected.hex() +
                                                 "; restore the file or make it again");
    }
};

/// Open, but without waiting for a writer should the name be a pipe.
PosixFile open_regular(const std::filesystem::path& path) {
    PosixFile file(path, O_RDONLY | O_NONBLOCK);
    if (!file.is_regular()) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + path.string() + "' is not a regular file, expected a column file");
    }
    return file;
}

UserBlock read_user_block(std::span<const std::byte> bytes, const std::string& file) {
    if (bytes.size() < user_block_bytes) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + file + "' has " + std::to_string(bytes.size()) + " bytes, expected at least " +
                        std::to_string(user_block_bytes) + "; it is not a column file or was cut short");
    }
    return UserBlock::decode(bytes.first<user_block_bytes>(), bytes.size(), file);
}

void check_covered_bytes(std::span<const std::byte> bytes, const UserBlock& block, const std::string& file) {
    const Digest found =
        covered_digest(bytes.size(), block.regions, [&](FileRegion piece, DigestStream& stream) {
            stream.update(bytes.subspan(piece.offset, piece.bytes));
        });
    if (found == block.covered) return;
    throw Error(ErrorCode::corrupt_data, "the structure and small columns of '" + file + "' have digest " +
                                             found.hex() + ", expected " + block.covered.hex() +
                                             "; the file was altered, restore it or make it again");
}

}  // namespace

struct ColumnFile::State {
    std::filesystem::path path;
    FileMap map;
    UserBlock user_block;
    std::vector<MappedColumn> columns;      ///< Sorted by name; digest siblings left out.
    std::vector<TreeAttribute> attributes;  ///< Sorted by group and name.

    /// The user block and everything it covers are checked before HDF5 parses a byte.
    State(const std::filesystem::path& file_path, PosixFile& file)
        : path(file_path), map(file), user_block(read_user_block(map.bytes(), path.string())) {
        check_covered_bytes(map.bytes(), user_block, path.string());
        ColumnTree tree = read_column_tree(file);
        attributes = std::move(tree.attributes);
        for (const TreeColumn& column : tree.columns) {
            if (!column.name.ends_with(block_digest_suffix)) columns.push_back(mapped(column));
        }
        for (const FileRegion& region : user_block.regions) attach_digests(region, tree.columns);
    }

    MappedColumn mapped(const TreeColumn& column) const {
        MappedColumn result;
        result.place = column;
        result.bytes = map.bytes().subspan(column.offset, column.bytes);
        return result;
    }

    void attach_digests(const FileRegion& region, const std::vector<TreeColumn>& tree) {
        const auto column = std::ranges::find_if(columns, [&](const MappedColumn& candidate) {
            return FileRegion{candidate.place.offset, candidate.place.bytes} == region;
        });
        if (column == columns.end()) {
            throw Error(ErrorCode::corrupt_data, "no column of '" + path.string() + "' fills the " +
                                                     std::to_string(region.bytes) + " bytes at " +
                                                     std::to_string(region.offset) +
                                                     " that its user block leaves to block digests");
        }
        const std::string name = column->place.name + std::string(block_digest_suffix);
        const auto sibling = std::ranges::find(tree, name, &TreeColumn::name);
        const std::uint64_t num_blocks = num_digest_blocks(region.bytes);
        if (sibling == tree.end() || sibling->type != ColumnType::u64 || sibling->width != 2 ||
            sibling->rows != num_blocks) {
            throw Error(ErrorCode::corrupt_data, "'" + name + "' in '" + path.string() +
                                                     "' is missing or not u64[" + std::to_string(num_blocks) +
                                                     ", 2]");
        }
        column->digests = reinterpret_cast<const std::uint64_t*>(map.bytes().data() + sibling->offset);
        column->checked = std::make_unique<std::atomic<bool>[]>(num_blocks);
    }

    const MappedColumn* find_column(std::string_view name) const {
        const auto found = std::ranges::lower_bound(columns, name, {}, [](const MappedColumn& column) {
            return std::string_view(column.place.name);
        });
        return found != columns.end() && found->place.name == name ? &*found : nullptr;
    }

    const MappedColumn& column(std::string_view name) const {
        if (const MappedColumn* found = find_column(name)) return *found;
        throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' has no column '" + std::string(name) +
                                                 "', expected in every file of its format");
    }

    const MappedColumn& column(std::string_view name, ColumnType type) const {
        const MappedColumn& found = column(name);
        if (found.place.type == type) return found;
        throw Error(ErrorCode::corrupt_data, "column '" + std::string(name) + "' of '" + path.string() +
                                                 "' has elements of type " + type_name(found.place.type) +
                                                 ", expected " + type_name(type));
    }

    const AttributeValue* find_attribute(std::string_view group, std::string_view name) const {
        const auto found = std::ranges::find_if(
            attributes, [&](const TreeAttribute& a) { return a.group == group && a.name == name; });
        return found == attributes.end() ? nullptr : &found->value;
    }

    template <class T>
    const T& attribute(std::string_view group, std::string_view name) const {
        const AttributeValue* value = find_attribute(group, name);
        if (value == nullptr) bad_attribute(group, name, "is missing, expected in every file of its format");
        const T* typed = std::get_if<T>(value);
        if (typed == nullptr) bad_attribute(group, name, "is of another type than expected");
        return *typed;
    }

    static std::string type_name(ColumnType type) {
        constexpr const char* names[] = {"u8", "u16", "u32", "u64", "i32", "i64", "f32", "f64"};
        return names[static_cast<std::size_t>(type)];
    }

    [[noreturn]] void bad_attribute(std::string_view group, std::string_view name,
                                    const char* problem) const {
        throw Error(ErrorCode::corrupt_data, "attribute '" + std::string(name) + "' of '" +
                                                 std::string(group) + "' in '" + path.string() + "' " +
                                                 problem);
    }
};

ColumnFile::ColumnFile() = default;
ColumnFile::~ColumnFile() = default;
ColumnFile::ColumnFile(ColumnFile&&) noexcept = default;
ColumnFile& ColumnFile::operator=(ColumnFile&&) noexcept = default;

ColumnFile ColumnFile::open_any(const std::filesystem::path& path, VerifyAtOpen verify) {
    PosixFile file = open_regular(path);
    ColumnFile result;
    result.state_ = std::make_unique<State>(path, file);
    static_cast<void>(result.format());
    static_cast<void>(result.format_version());
    const bool is_small = result.file_bytes() <= verify_at_open_bytes_max;
    if (verify == VerifyAtOpen::everything || (verify == VerifyAtOpen::automatic && is_small)) {
        result.verify_everything();
    }
    return result;
}

std::string ColumnFile::format_of(const std::filesystem::path& path) {
    PosixFile file = open_regular(path);
    ColumnFile result;
    result.state_ = std::make_unique<State>(path, file);
    return result.format();
}

ColumnFile ColumnFile::open(const std::filesystem::path& path, std::string_view format,
                            std::uint64_t newest_version, VerifyAtOpen verify) {
    ColumnFile result = open_any(path, verify);
    if (result.format() != format) {
        throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' is a file of format '" +
                                                 result.format() + "', expected '" + std::string(format) +
                                                 "'");
    }
    if (result.format_version() > newest_version) {
        throw Error(ErrorCode::incompatible_version,
                    "'" + path.string() + "' has " + std::string(format) + " version " +
                        std::to_string(result.format_version()) + ", this program reads up to version " +
                        std::to_string(newest_version) + "; use a newer lockstep");
    }
    return result;
}

const std::filesystem::path& ColumnFile::path() const {
    return state_->path;
}

std::string ColumnFile::format() const {
    return attribute_text("/", "format");
}

std::uint64_t ColumnFile::format_version() const {
    return attribute_u64("/", "format_version");
}

std::uint64_t ColumnFile::file_bytes() const {
    return state_->map.bytes().size();
}

std::string ColumnFile::digest_hex() const {
    return digest_of(state_->map.bytes().first(user_block_bytes)).hex();
}

std::vector<ColumnFile::Info> ColumnFile::columns() const {
    std::vector<Info> result;
    for (const MappedColumn& column : state_->columns) {
        result.push_back({column.place.name, column.place.type, column.place.rows, column.place.width});
    }
    return result;
}

bool ColumnFile::has_column(std::string_view name) const {
    return state_->find_column(name) != nullptr;
}

ColumnFile::Info ColumnFile::info(std::string_view name) const {
    const TreeColumn& place = state_->column(name).place;
    return {place.name, place.type, place.rows, place.width};
}

std::vector<ColumnFile::Attribute> ColumnFile::attributes() const {
    std::vector<Attribute> result;
    for (const TreeAttribute& attribute : state_->attributes) {
        result.push_back({attribute.group, attribute.name, to_text(attribute.value)});
    }
    return result;
}

bool ColumnFile::has_attribute(std::string_view group, std::string_view name) const {
    return state_->find_attribute(group, name) != nullptr;
}

std::uint64_t ColumnFile::attribute_u64(std::string_view group, std::string_view name) const {
    return state_->attribute<std::uint64_t>(group, name);
}

std::int64_t ColumnFile::attribute_i64(std::string_view group, std::string_view name) const {
    return state_->attribute<std::int64_t>(group, name);
}

double ColumnFile::attribute_f64(std::string_view group, std::string_view name) const {
    return state_->attribute<double>(group, name);
}

std::string ColumnFile::attribute_text(std::string_view group, std::string_view name) const {
    return state_->attribute<std::string>(group, name);
}

void ColumnFile::verify_everything() const {
    for (const MappedColumn& column : state_->columns) {
        column.check_blocks(0, column.place.bytes, state_->path.string());
    }
}

std::span<const std::byte> ColumnFile::column_bytes(std::string_view name, ColumnType type) const {
    const MappedColumn& column = state_->column(name, type);
    column.check_blocks(0, column.place.bytes, state_->path.string());
    return column.bytes;
}

std::span<const std::byte> ColumnFile::column_range_bytes(std::string_view name, ColumnType type,
                                                          std::uint64_t row_begin,
                                                          std::uint64_t row_end) const {
    const MappedColumn& column = state_->column(name, type);
    LOCKSTEP_EXPECTS(row_begin <= row_end && row_end <= column.place.rows);
    const std::uint64_t row_bytes = column.place.width * column_type_bytes(type);
    column.check_blocks(row_begin * row_bytes, row_end * row_bytes, state_->path.native());
    return column.bytes.subspan(row_begin * row_bytes, (row_end - row_begin) * row_bytes);
}

}  // namespace lockstep
