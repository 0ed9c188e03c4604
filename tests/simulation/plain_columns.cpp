// io/columns/column_file.h without HDF5, for the simulation, which writes and reads some
// ten million of them a night: all attributes and columns end to end behind their
// digest. It takes the place of io/columns/column_file.cpp at link time; the files are
// published by the same publish_file, and every bit of them is covered as well.

#include "io/columns/column_file.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "io/base/digest.h"
#include "io/base/error.h"
#include "io/columns/early_column.h"
#include "io/files/directory.h"
#include "io/files/file_system.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

using Value = std::variant<std::uint64_t, std::int64_t, double, std::string>;
using Attributes = std::map<std::pair<std::string, std::string>, Value>;

constexpr std::size_t head_bytes = sizeof(Digest);
static_assert(sizeof(Digest) == 16);

void put_bytes(std::string& out, const void* data, std::size_t bytes) {
    out.append(static_cast<const char*>(data), bytes);
}
void put_u64(std::string& out, std::uint64_t value) {
    put_bytes(out, &value, sizeof value);
}
void put_text(std::string& out, std::string_view text) {
    put_u64(out, text.size());
    out += text;
}
void pad(std::string& out) {
    out.resize((out.size() + 7) / 8 * 8, '\0');
}

class Reader {
  public:
    Reader(const char* data, std::size_t bytes) : begin_(data), at_(head_bytes), bytes_(bytes) {}
    std::uint64_t u64() {
        std::uint64_t value = 0;
        std::memcpy(&value, begin_ + take(sizeof value), sizeof value);
        return value;
    }
    std::string text() {
        const std::uint64_t size = u64();
        return {begin_ + take(size), size};
    }
    const std::byte* raw(std::uint64_t size) {
        at_ = (at_ + 7) / 8 * 8;
        return reinterpret_cast<const std::byte*>(begin_ + take(size));
    }
    bool done() const { return at_ == bytes_; }

  private:
    std::size_t take(std::uint64_t size) {
        if (size > bytes_ - at_) throw Error(ErrorCode::corrupt_data, "a column file ends too early");
        return std::exchange(at_, at_ + size);
    }
    const char* begin_;
    std::size_t at_, bytes_;
};

void put_attributes(std::string& out, const Attributes& attributes) {
    put_u64(out, attributes.size());
    for (const auto& [key, value] : attributes) {
        put_text(out, key.first);
        put_text(out, key.second);
        put_u64(out, value.index());
        if (const auto* text = std::get_if<std::string>(&value)) {
            put_text(out, *text);
        } else {
            std::visit(
                [&](const auto& v) {
                    if constexpr (sizeof v == sizeof(std::uint64_t)) put_bytes(out, &v, sizeof v);
                },
                value);
        }
    }
}

Value take_value(Reader& in) {
    const auto as = [&]<class T>(T value) {
        const std::uint64_t bits = in.u64();
        std::memcpy(&value, &bits, sizeof value);
        return Value(value);
    };
    switch (in.u64()) {
        case 0:
            return as(std::uint64_t{});
        case 1:
            return as(std::int64_t{});
        case 2:
            return as(double{});
        default:
            return in.text();
    }
}

}  // namespace

struct ColumnFileWriter::State {
    struct Column {
        std::string name;
        ColumnType type;
        std::uint64_t rows;
        std::size_t width;
        std::string bytes;
    };
    std::filesystem::path path, temporary;
    Overwrite overwrite;
    PosixFile disk;
    Attributes attributes;
    std::vector<Column> columns;
    std::optional<Published> sealed;  ///< Complete under its temporary name.
    bool published = false;

    State(std::filesystem::path file, Overwrite mode)
        : path(std::move(file)),
          temporary(temporary_path(path)),
          overwrite(mode),
          disk(temporary, O_RDWR | O_CREAT | O_TRUNC) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
        if (!published) file_system().remove_file(temporary.c_str());
    }

    Published write() {
        std::string out(head_bytes, '\0');
        put_attributes(out, attributes);
        put_u64(out, columns.size());
        for (const Column& column : columns) {
            put_text(out, column.name);
            put_u64(out, static_cast<std::uint64_t>(column.type));
            put_u64(out, column.rows);
            put_u64(out, column.width);
            pad(out);
            out += column.bytes;
        }
        const Digest digest = digest_of(std::as_bytes(std::span(out)).subspan(head_bytes));
        std::memcpy(out.data(), &digest, head_bytes);
        disk.write(std::as_bytes(std::span(out)));
        disk.close();
        return {out.size(), digest.hex()};
    }
};

ColumnFileWriter::ColumnFileWriter(std::filesystem::path path, std::string format, std::uint64_t version,
                                   Overwrite overwrite) {
    require_writable_output(path, overwrite);
    state_ = std::make_unique<State>(std::move(path), overwrite);
    attribute("/", "format", std::string_view(format));
    attribute("/", "format_version", version);
}
// Columns are written early by ingest alone, which is not simulated.
ColumnFileWriter::ColumnFileWriter(std::filesystem::path, EarlyColumn, Overwrite) {
    throw Error(ErrorCode::bug, "the simulation's column files have no early columns");
}
std::uint64_t ColumnFileWriter::offset_of_first_column(PosixFile, const FirstColumn&) {
    throw Error(ErrorCode::bug, "the simulation's column files have no early columns");
}

ColumnFileWriter::~ColumnFileWriter() = default;

const std::filesystem::path& ColumnFileWriter::temporary() const {
    return state_->temporary;
}

void ColumnFileWriter::attribute(std::string_view group, std::string_view name, std::uint64_t value) {
    state_->attributes[{std::string(group), std::string(name)}] = value;
}
void ColumnFileWriter::attribute(std::string_view group, std::string_view name, std::int64_t value) {
    state_->attributes[{std::string(group), std::string(name)}] = value;
}
void ColumnFileWriter::attribute(std::string_view group, std::string_view name, double value) {
    state_->attributes[{std::string(group), std::string(name)}] = value;
}
void ColumnFileWriter::attribute(std::string_view group, std::string_view name, std::string_view text) {
    state_->attributes[{std::string(group), std::string(name)}] = std::string(text);
}

void ColumnFileWriter::begin_column(std::string_view name, ColumnType type, std::uint64_t rows,
                                    std::size_t width) {
    state_->columns.push_back({std::string(name), type, rows, width, {}});
}

void ColumnFileWriter::append_bytes(std::string_view name, ColumnType, std::span<const std::byte> bytes) {
    const auto column = std::ranges::find_if(state_->columns,
                                             [&](const auto& c) { return std::string_view(c.name) == name; });
    put_bytes(column->bytes, bytes.data(), bytes.size());
}

void ColumnFileWriter::write_column(std::string_view name, ColumnType type, std::span<const std::byte> bytes,
                                    std::size_t width) {
    begin_column(name, type, bytes.size() / (width * column_type_bytes(type)), width);
    append_bytes(name, type, bytes);
}

ColumnFileWriter::Published ColumnFileWriter::seal(int) {
    state_->sealed = state_->write();
    return *state_->sealed;
}
ColumnFileWriter::Published ColumnFileWriter::publish() {
    if (!state_->sealed) seal();
    const Published made = *std::exchange(state_->sealed, std::nullopt);
    publish_file(state_->temporary, state_->path, state_->overwrite);
    state_->published = true;
    return made;
}

ColumnFileWriter::Published ColumnFileWriter::finish() {
    const Published made = state_->write();
    rename_path(state_->temporary, state_->path);
    state_->published = true;
    return made;
}

struct ColumnFile::State {
    struct Column {
        Info info;
        std::span<const std::byte> bytes;
    };
    std::filesystem::path path;
    std::string content;
    Attributes attributes;
    std::map<std::string, Column, std::less<>> columns;

    [[noreturn]] void fail(const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' " + problem);
    }

    explicit State(const std::filesystem::path& file) : path(file), content(read_file(file)) {
        if (content.size() < head_bytes) fail("is cut short");
        const Digest found = digest_of(std::as_bytes(std::span(content)).subspan(head_bytes));
        if (std::memcmp(&found, content.data(), head_bytes) != 0) fail("was altered");
        Reader in(content.data(), content.size());
        for (auto count = in.u64(); count > 0; --count) {
            std::string group = in.text(), name = in.text();
            attributes[{std::move(group), std::move(name)}] = take_value(in);
        }
        for (auto count = in.u64(); count > 0; --count) {
            Column column;
            column.info.name = in.text();
            column.info.type = static_cast<ColumnType>(in.u64());
            column.info.rows = in.u64();
            column.info.width = in.u64();
            const std::uint64_t bytes =
                column.info.rows * column.info.width * column_type_bytes(column.info.type);
            column.bytes = {in.raw(bytes), bytes};
            columns.emplace(column.info.name, column);
        }
        if (!in.done()) fail("is too long");
    }

    const Column& column(std::string_view name) const {
        const auto found = columns.find(name);
        if (found == columns.end()) fail("has no column '" + std::string(name) + "'");
        return found->second;
    }
    template <class T>
    const T& attribute(std::string_view group, std::string_view name) const {
        const auto found = attributes.find({std::string(group), std::string(name)});
        if (found == attributes.end() || !std::holds_alternative<T>(found->second)) {
            fail("has no attribute '" + std::string(name) + "'");
        }
        return std::get<T>(found->second);
    }
};

ColumnFile::ColumnFile() = default;
ColumnFile::~ColumnFile() = default;
ColumnFile::ColumnFile(ColumnFile&&) noexcept = default;
ColumnFile& ColumnFile::operator=(ColumnFile&&) noexcept = default;

ColumnFile ColumnFile::open_any(const std::filesystem::path& path, VerifyAtOpen) {
    ColumnFile result;
    result.state_ = std::make_unique<State>(path);
    return result;
}
std::string ColumnFile::format_of(const std::filesystem::path& path) {
    return open_any(path).format();
}
ColumnFile ColumnFile::open(const std::filesystem::path& path, std::string_view format,
                            std::uint64_t newest_version, VerifyAtOpen verify) {
    ColumnFile result = open_any(path, verify);
    if (result.format() != format || result.format_version() > newest_version) {
        result.state_->fail("is of format '" + result.format() + "'");
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
    return state_->content.size();
}
std::string ColumnFile::digest_hex() const {
    Digest digest;
    std::memcpy(&digest, state_->content.data(), head_bytes);
    return digest.hex();
}
std::vector<ColumnFile::Info> ColumnFile::columns() const {
    std::vector<Info> result;
    for (const auto& [name, column] : state_->columns) result.push_back(column.info);
    return result;
}
bool ColumnFile::has_column(std::string_view name) const {
    return state_->columns.contains(name);
}
ColumnFile::Info ColumnFile::info(std::string_view name) const {
    return state_->column(name).info;
}
std::vector<ColumnFile::Attribute> ColumnFile::attributes() const {
    std::vector<Attribute> result;
    for (const auto& [key, value] : state_->attributes) result.push_back({key.first, key.second, ""});
    return result;
}
bool ColumnFile::has_attribute(std::string_view group, std::string_view name) const {
    return state_->attributes.contains({std::string(group), std::string(name)});
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
void ColumnFile::verify_everything() const {}

std::span<const std::byte> ColumnFile::column_bytes(std::string_view name, ColumnType type) const {
    const auto& column = state_->column(name);
    if (column.info.type != type) state_->fail("has '" + std::string(name) + "' of another type");
    return column.bytes;
}
std::span<const std::byte> ColumnFile::column_range_bytes(std::string_view name, ColumnType type,
                                                          std::uint64_t row_begin,
                                                          std::uint64_t row_end) const {
    const std::uint64_t row_bytes = state_->column(name).info.width * column_type_bytes(type);
    return column_bytes(name, type).subspan(row_begin * row_bytes, (row_end - row_begin) * row_bytes);
}

}  // namespace lockstep
