#include <fcntl.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/ordered_work.h"
#include "io/columns/block_digester.h"
#include "io/columns/column_file.h"
#include "io/columns/column_file_format.h"
#include "io/columns/early_column.h"
#include "io/files/directory.h"
#include "io/files/file_system.h"
#include "io/files/posix_file.h"
#include "io/hdf5/attributes.h"
#include "io/hdf5/column_tree.h"
#include "io/hdf5/handle.h"
#include "io/hdf5/storage.h"

namespace lockstep {

namespace {

/// What is written and read back at a time: several columns' worth of it stays in a core's cache.
constexpr std::size_t transfer_bytes = std::size_t{1} << 18U;
/// A smaller part, but for a column's end, is left to the system: to have the disk begin on it would cost
/// more than it saves.
constexpr std::size_t begin_sync_bytes = digest_block_bytes / 2;

/// One dataset while it is being written. Bytes are gathered, so that many small appends cost few writes and
/// the memory in use does not depend on the column.
class OpenColumn {
  public:
    /// @param disk  of the HDF5 file; outlives this.
    OpenColumn(hid_t parent, const std::string& leaf, TreeColumn shape, const Hdf5Calls& calls,
               PosixFile& disk)
        : disk_(disk), shape_(std::move(shape)), row_bytes_(shape_.width * column_type_bytes(shape_.type)) {
        shape_.bytes = shape_.rows * row_bytes_;
        const hsize_t extent[2] = {shape_.rows, shape_.width};
        const Hdf5Dataspace space(
            calls.checked(H5Screate_simple(dimensions(), extent, nullptr), "describe", shape_.name));
        const Hdf5Properties creation(calls.checked(H5Pcreate(H5P_DATASET_CREATE), "describe", shape_.name));
        calls.checked(H5Pset_layout(creation.id(), H5D_CONTIGUOUS), "describe", shape_.name);
        calls.checked(H5Pset_alloc_time(creation.id(), H5D_ALLOC_TIME_EARLY), "describe", shape_.name);
        calls.checked(H5Pset_fill_time(creation.id(), H5D_FILL_TIME_NEVER), "describe", shape_.name);
        calls.checked(H5Pset_obj_track_times(creation.id(), false), "describe", shape_.name);
        dataset_ = Hdf5Dataset(calls.checked(H5Dcreate2(parent, leaf.c_str(), hdf5_type_of(shape_.type),
                                                        space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT),
                                             "create column", shape_.name));
        if (shape_.bytes == 0) return;
        const haddr_t offset = H5Dget_offset(dataset_.id());
        if (offset == HADDR_UNDEF) calls.fail("find the place of column", shape_.name);
        shape_.offset = offset;
    }

    const TreeColumn& shape() const { return shape_; }
    bool complete() const { return bytes_given_ == shape_.bytes; }
    std::uint64_t bytes_missing() const { return shape_.bytes - bytes_given_; }

    void append(std::span<const std::byte> bytes, const Hdf5Calls& calls) {
        bytes_given_ += bytes.size();
        if (wants_block_digests(shape_.bytes)) digester_.update(bytes);
        // Much at once is written from where it is, after what was gathered.
        if (bytes.size() >= transfer_bytes / 4) {
            const std::size_t row_begun = gathered_.size() % row_bytes_;
            if (row_begun != 0) gather(bytes, std::min(row_bytes_ - row_begun, bytes.size()));
            flush(calls);
            const std::size_t whole = bytes.size() / row_bytes_ * row_bytes_;
            if (whole != 0) write(bytes.first(whole), calls);
            bytes = bytes.subspan(whole);
        }
        gather(bytes, bytes.size());
        if (complete() || gathered_.size() >= transfer_bytes) flush(calls);
    }

    /// All of its bytes are in their place already.
    void adopt(BlockDigester digester) {
        bytes_given_ = shape_.bytes;
        digester_ = std::move(digester);
    }

    /// Close the dataset. @return the block digests.
    std::vector<std::uint64_t> finish(const Hdf5Calls& calls) {
        dataset_.close(calls, shape_.name);
        return digester_.take();
    }

  private:
    int dimensions() const { return shape_.width == 1 ? 1 : 2; }

    void gather(std::span<const std::byte>& bytes, std::size_t size) {
        if (size == 0) return;
        // At once, not little by little: the most there is before it is written, and one piece more.
        gathered_.reserve(std::min<std::uint64_t>(transfer_bytes + transfer_bytes / 4, shape_.bytes));
        gathered_.insert(gathered_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
        bytes = bytes.subspan(size);
    }

    /// What was gathered, but for a row that is not complete.
    void flush(const Hdf5Calls& calls) {
        const std::size_t whole = gathered_.size() / row_bytes_ * row_bytes_;
        if (whole == 0) return;
        write(std::span(gathered_).first(whole), calls);
        gathered_.erase(gathered_.begin(), gathered_.begin() + static_cast<std::ptrdiff_t>(whole));
    }

    /// Whole rows after those already written.
    void write(std::span<const std::byte> bytes, const Hdf5Calls& calls) {
        const hsize_t start[2] = {rows_written_, 0};
        const hsize_t count[2] = {bytes.size() / row_bytes_, shape_.width};
        const Hdf5Dataspace memory(
            calls.checked(H5Screate_simple(dimensions(), count, nullptr), "write column", shape_.name));
        const Hdf5Dataspace file(calls.checked(H5Dget_space(dataset_.id()), "write column", shape_.name));
        calls.checked(H5Sselect_hyperslab(file.id(), H5S_SELECT_SET, start, nullptr, count, nullptr),
                      "write column", shape_.name);
        calls.checked(H5Dwrite(dataset_.id(), hdf5_type_of(shape_.type), memory.id(), file.id(), H5P_DEFAULT,
                               bytes.data()),
                      "write column", shape_.name);
        rows_written_ += count[0];
        const std::uint64_t end = rows_written_ * row_bytes_;
        // A column's end too, so that the disk is at it while the file is sealed.
        if (end - sync_begun_ >= (end == shape_.bytes ? transfer_bytes : begin_sync_bytes)) {
            disk_.begin_sync(shape_.offset + sync_begun_, end - sync_begun_);
            sync_begun_ = end;
        }
    }

    PosixFile& disk_;
    TreeColumn shape_;
    std::size_t row_bytes_;
    Hdf5Dataset dataset_;
    std::uint64_t bytes_given_ = 0;
    std::uint64_t rows_written_ = 0;
    std::uint64_t sync_begun_ = 0;  ///< The disk was told of the bytes before this.
    std::vector<std::byte> gathered_;
    BlockDigester digester_;
};

/// "/cursor/pending" -> {"/cursor", "pending"}; "/tokens" -> {"/", "tokens"}.
std::pair<std::string, std::string> split_name(std::string_view name) {
    const std::size_t slash = name.rfind('/');
    return {std::string(slash == 0 ? "/" : name.substr(0, slash)), std::string(name.substr(slash + 1))};
}

[[maybe_unused]] bool is_column_name(std::string_view name) {
    return name.size() > 1 && name.front() == '/' && name.back() != '/' &&
           name.find("//") == std::string_view::npos && !name.ends_with(block_digest_suffix);
}

Hdf5File create_hdf5_file(Hdf5Storage& storage, const Hdf5Calls& calls) {
    constexpr std::string_view action = "set properties of";
    const Hdf5Properties creation(calls.checked(H5Pcreate(H5P_FILE_CREATE), action));
    calls.checked(H5Pset_userblock(creation.id(), user_block_bytes), action);
    calls.checked(H5Pset_obj_track_times(creation.id(), false), action);
    const Hdf5Properties access = file_access_properties(storage, calls);
    storage.look_empty(true);
    Hdf5File file(
        calls.checked(H5Fcreate(calls.file().c_str(), H5F_ACC_TRUNC, creation.id(), access.id()), "create"));
    storage.look_empty(false);
    return file;
}

void feed_from_file(const PosixFile& file, FileRegion piece,
                    const std::function<void(std::span<const std::byte>)>& sink) {
    std::vector<std::byte> buffer(
        static_cast<std::size_t>(std::min<std::uint64_t>(piece.bytes, transfer_bytes)));
    while (piece.bytes != 0) {
        const auto part = std::span(buffer).first(
            static_cast<std::size_t>(std::min<std::uint64_t>(piece.bytes, buffer.size())));
        file.read_at(piece.offset, part);
        sink(part);
        piece.offset += part.size();
        piece.bytes -= part.size();
    }
}

}  // namespace

struct ColumnFileWriter::State {
    /// A block-digested column and what its digests must be.
    struct DigestedColumn {
        std::string name;
        FileRegion region;
        std::vector<std::uint64_t> digests;
    };

    std::filesystem::path path;
    std::filesystem::path temporary;
    Overwrite overwrite;
    Hdf5Calls calls;
    PosixFile disk;
    Hdf5Storage storage{disk};
    Hdf5File file;
    std::optional<Published> sealed;  ///< Complete under its temporary name.
    bool published = false;
    bool adopted = false;  ///< The temporary is somebody else's, who may go on with it.
    bool sound = true;     ///< False from the start of every change to its end: a failed one stays.
    std::map<std::string, std::unique_ptr<OpenColumn>, std::less<>> open_columns;
    ColumnTree written;
    std::vector<DigestedColumn> digested;

    State(std::filesystem::path file_path, Overwrite mode)
        : path(std::move(file_path)),
          temporary(temporary_path(path)),
          overwrite(mode),
          calls(temporary, ErrorCode::io_failure),
          disk(temporary, O_RDWR | O_CREAT | O_TRUNC) {}
    State(std::filesystem::path file_path, Overwrite mode, PosixFile begun)
        : path(std::move(file_path)),
          temporary(begun.path()),
          overwrite(mode),
          calls(temporary, ErrorCode::io_failure),
          disk(std::move(begun)),
          adopted(true) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    ~State() {
        discard_hdf5();
        if (!published && !adopted) file_system().remove_file(temporary.c_str());
    }

    void create(std::string_view format, std::uint64_t version) {
        change([&] { file = create_hdf5_file(storage, calls); });
        set_attribute("/", "format", std::string(format));
        set_attribute("/", "format_version", version);
    }

    /// Let go of the file without asking whether all of it arrived.
    void discard_hdf5() {
        const Hdf5Session session;
        storage.abandon();
        open_columns.clear();
        file = Hdf5File();
    }

    /// HDF5 is told that every write succeeds (storage.h), so each change ends with a look at the truth.
    template <class Change>
    void change(Change make) {
        LOCKSTEP_EXPECTS(sound);
        sound = false;
        const Hdf5Session session;
        make();
        storage.rethrow();
        sound = true;
    }

    Hdf5Group open_group(std::string_view name) {
        Hdf5Group group(calls.checked(H5Gopen2(file.id(), "/", H5P_DEFAULT), "open group", "/"));
        for (std::size_t begin = 1; begin < name.size();) {
            const std::size_t end = std::min(name.find('/', begin), name.size());
            const std::string part(name.substr(begin, end - begin));
            group = open_or_create(group.id(), part, name);
            begin = end + 1;
        }
        return group;
    }

    Hdf5Group open_or_create(hid_t parent, const std::string& part, std::string_view name) {
        if (calls.checked(H5Lexists(parent, part.c_str(), H5P_DEFAULT), "look for group", name) > 0) {
            return Hdf5Group(calls.checked(H5Gopen2(parent, part.c_str(), H5P_DEFAULT), "open group", name));
        }
        const Hdf5Properties creation(calls.checked(H5Pcreate(H5P_GROUP_CREATE), "create group", name));
        calls.checked(H5Pset_obj_track_times(creation.id(), false), "create group", name);
        return Hdf5Group(calls.checked(
            H5Gcreate2(parent, part.c_str(), H5P_DEFAULT, creation.id(), H5P_DEFAULT), "create group", name));
    }

    void set_attribute(std::string_view group, std::string_view name, AttributeValue value) {
        LOCKSTEP_EXPECTS(!group.empty() && group.front() == '/' && !name.empty());
        change([&] {
            Hdf5Group object = open_group(group);
            write_attribute(object.id(), name, value, calls);
            object.close(calls, group);
            written.attributes.push_back({std::string(group), std::string(name), std::move(value)});
        });
    }

    std::unique_ptr<OpenColumn> create_column(const std::string& name, ColumnType type, std::uint64_t rows,
                                              std::size_t width) {
        const auto [group_name, leaf] = split_name(name);
        Hdf5Group group = open_group(group_name);
        auto column = std::make_unique<OpenColumn>(group.id(), leaf,
                                                   TreeColumn{name, type, rows, width, 0, 0}, calls, disk);
        group.close(calls, group_name);
        return column;
    }

    void finish_column(const std::string& column_name) {
        const auto open = open_columns.find(column_name);
        const TreeColumn shape = open->second->shape();
        std::vector<std::uint64_t> digests = open->second->finish(calls);
        written.columns.push_back(shape);
        open_columns.erase(open);
        // A file with more large columns than the user block has room for covers the others as a whole.
        if (digests.empty() || digested.size() == UserBlock::regions_max) return;
        const std::string name = shape.name + std::string(block_digest_suffix);
        const auto sibling = create_column(name, ColumnType::u64, digests.size() / 2, 2);
        sibling->append(std::as_bytes(std::span(digests)), calls);
        sibling->finish(calls);
        written.columns.push_back(sibling->shape());
        digested.push_back({shape.name, {shape.offset, shape.bytes}, std::move(digests)});
    }

    Published close_and_seal(int threads) {
        // Checked in every build: a file that lacks something must never appear.
        if (!sound || !open_columns.empty() || !file.is_open()) {
            throw Error(ErrorCode::bug, "'" + path.string() +
                                            "' cannot be published: it was published before, a write failed "
                                            "or a column is incomplete");
        }
        close_hdf5();
        return seal(threads);
    }

    void close_hdf5() {
        change([&] {
            calls.checked(H5Fflush(file.id(), H5F_SCOPE_GLOBAL), "write");
            file.close(calls);
        });
    }

    /// Read the temporary back, so that what the disk holds is what was given, and complete the user block.
    Published seal(int threads) {
        for (const DigestedColumn& column : digested) require_block_digests(column, threads);
        require_tree();

        UserBlock block;
        block.file_bytes = disk.size();
        for (const DigestedColumn& column : digested) block.regions.push_back(column.region);
        std::ranges::sort(block.regions, {}, &FileRegion::offset);
        block.covered =
            covered_digest(block.file_bytes, block.regions, [&](FileRegion piece, DigestStream& stream) {
                feed_from_file(disk, piece, [&](std::span<const std::byte> bytes) { stream.update(bytes); });
            });
        const auto bytes = block.encode();
        disk.write_at(0, bytes);
        disk.close();
        return {block.file_bytes, digest_of(bytes).hex()};
    }

    void require_block_digests(const DigestedColumn& column, int threads) const {
        constexpr std::uint64_t run_bytes = 4 * digest_block_bytes;
        OrderedWork<FileRegion, std::vector<std::uint64_t>> work(
            column.region.bytes > run_bytes ? threads : 1, [this](const FileRegion& run, int) {
                BlockDigester digester;
                feed_from_file(disk, run, [&](std::span<const std::byte> bytes) { digester.update(bytes); });
                return digester.take();
            });
        std::vector<std::uint64_t> found;
        const auto take = [&] {
            const std::vector<std::uint64_t> digests = work.take();
            found.insert(found.end(), digests.begin(), digests.end());
        };
        for (std::uint64_t begin = 0; begin < column.region.bytes; begin += run_bytes) {
            if (work.full()) take();
            work.give({column.region.offset + begin, std::min(run_bytes, column.region.bytes - begin)});
        }
        while (!work.empty()) take();
        if (found != column.digests) lost("column '" + column.name + "'");
    }

    void require_tree() {
        std::ranges::sort(written.columns, {}, &TreeColumn::name);
        std::ranges::sort(written.attributes, [](const auto& a, const auto& b) {
            return std::tie(a.group, a.name) < std::tie(b.group, b.name);
        });
        if (!reads_as_written()) lost("its list of columns and attributes");
    }

    bool reads_as_written() {
        try {
            return read_column_tree(disk) == written;
        } catch (const Error& error) {
            if (error.code() != ErrorCode::corrupt_data) throw;
            return false;  // HDF5's own checksums do not hold.
        }
    }

    [[noreturn]] void lost(const std::string& what) const {
        throw Error(ErrorCode::io_failure, "'" + temporary.string() +
                                               "' reads back different from what was written (" + what +
                                               "); check free space and the health of the disk");
    }
};

ColumnFileWriter::ColumnFileWriter(std::filesystem::path path, std::string format, std::uint64_t version,
                                   Overwrite overwrite) {
    require_writable_output(path, overwrite);
    state_ = std::make_unique<State>(std::move(path), overwrite);
    state_->create(format, version);
}

ColumnFileWriter::ColumnFileWriter(std::filesystem::path path, EarlyColumn early, Overwrite overwrite) {
    require_writable_output(path, overwrite);
    EarlyColumn::Ended column = early.end();
    const auto& place = column.place;
    const std::uint64_t rows = column.bytes / column_type_bytes(place.type);
    state_ = std::make_unique<State>(std::move(path), overwrite, std::move(column.file));
    state_->create(place.format, place.format_version);
    begin_column(place.column, place.type, rows);
    if (!column.in_memory.empty()) {
        append_bytes(place.column, place.type, column.in_memory);
    } else if (rows != 0) {
        OpenColumn& open = *state_->open_columns.at(place.column);
        if (open.shape().offset != column.file_offset) {
            throw Error(ErrorCode::bug, "'" + state_->temporary.string() + "': column '" + place.column +
                                            "' begins at byte " + std::to_string(open.shape().offset) +
                                            ", expected " + std::to_string(column.file_offset));
        }
        open.adopt(std::move(column.digester));
        state_->change([&] { state_->finish_column(place.column); });
    }
}

std::uint64_t ColumnFileWriter::offset_of_first_column(PosixFile file, const FirstColumn& first) {
    constexpr std::uint64_t rows = std::uint64_t{1} << 40U;
    State trial({}, Overwrite::no, std::move(file));
    trial.storage.abandon();
    trial.create(first.format, first.format_version);
    std::uint64_t offset = 0;
    trial.change([&] { offset = trial.create_column(first.column, first.type, rows, 1)->shape().offset; });
    return offset;
}

ColumnFileWriter::~ColumnFileWriter() = default;

const std::filesystem::path& ColumnFileWriter::temporary() const {
    return state_->temporary;
}

void ColumnFileWriter::attribute(std::string_view group, std::string_view name, std::uint64_t value) {
    state_->set_attribute(group, name, value);
}

void ColumnFileWriter::attribute(std::string_view group, std::string_view name, std::int64_t value) {
    state_->set_attribute(group, name, value);
}

void ColumnFileWriter::attribute(std::string_view group, std::string_view name, double value) {
    state_->set_attribute(group, name, value);
}

void ColumnFileWriter::attribute(std::string_view group, std::string_view name, std::string_view text) {
    state_->set_attribute(group, name, std::string(text));
}

void ColumnFileWriter::begin_column(std::string_view name, ColumnType type, std::uint64_t rows,
                                    std::size_t width) {
    LOCKSTEP_EXPECTS(is_column_name(name));
    LOCKSTEP_EXPECTS(width >= 1);
    const std::string column_name(name);
    LOCKSTEP_EXPECTS(!state_->open_columns.contains(column_name));
    state_->change([&] {
        auto& column = state_->open_columns[column_name];
        column = state_->create_column(column_name, type, rows, width);
        if (column->complete()) state_->finish_column(column_name);
    });
}

void ColumnFileWriter::append_bytes(std::string_view name, ColumnType type,
                                    std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    const auto open = state_->open_columns.find(name);
    LOCKSTEP_EXPECTS(open != state_->open_columns.end());
    OpenColumn& column = *open->second;
    LOCKSTEP_EXPECTS(type == column.shape().type);
    LOCKSTEP_EXPECTS(bytes.size() <= column.bytes_missing());
    state_->change([&] {
        column.append(bytes, state_->calls);
        if (column.complete()) state_->finish_column(std::string(name));
    });
}

void ColumnFileWriter::write_column(std::string_view name, ColumnType type, std::span<const std::byte> bytes,
                                    std::size_t width) {
    const std::size_t row_bytes = width * column_type_bytes(type);
    LOCKSTEP_EXPECTS(width >= 1 && bytes.size() % row_bytes == 0);
    begin_column(name, type, bytes.size() / row_bytes, width);
    append_bytes(name, type, bytes);
}

ColumnFileWriter::Published ColumnFileWriter::seal(int threads) {
    state_->sealed = state_->close_and_seal(threads);
    return *state_->sealed;
}

ColumnFileWriter::Published ColumnFileWriter::publish() {
    if (!state_->sealed) seal();
    const Published published = *std::exchange(state_->sealed, std::nullopt);
    publish_file(state_->temporary, state_->path, state_->overwrite);
    state_->published = true;
    return published;
}

ColumnFileWriter::Published ColumnFileWriter::finish() {
    const Published published = state_->close_and_seal(1);
    rename_path(state_->temporary, state_->path);
    state_->published = true;
    return published;
}

}  // namespace lockstep
