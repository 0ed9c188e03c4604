#include "launch/chaos/column_copy.h"

#include <cstring>
#include <span>
#include <utility>

#include "io/base/error.h"

namespace lockstep {

namespace {

ColumnCopy::Attribute attribute_of(const ColumnFile& file, const ColumnFile::Attribute& a) {
    ColumnCopy::Attribute copy{a.group, a.name, {}};
    // The file knows the type; asking for another one is an error.
    const auto fits = [&](const auto& read) {
        try {
            copy.value = read();
            return true;
        } catch (const Error&) {
            return false;
        }
    };
    if (fits([&] { return file.attribute_u64(a.group, a.name); })) return copy;
    if (fits([&] { return file.attribute_i64(a.group, a.name); })) return copy;
    if (fits([&] { return file.attribute_f64(a.group, a.name); })) return copy;
    copy.value = file.attribute_text(a.group, a.name);
    return copy;
}

/// `use` is given a value of the element type.
template <class Use>
void with_type(ColumnType type, const Use& use) {
    switch (type) {
        case ColumnType::u8:
            return use(std::uint8_t{});
        case ColumnType::u16:
            return use(std::uint16_t{});
        case ColumnType::u32:
            return use(std::uint32_t{});
        case ColumnType::u64:
            return use(std::uint64_t{});
        case ColumnType::i32:
            return use(std::int32_t{});
        case ColumnType::i64:
            return use(std::int64_t{});
        case ColumnType::f32:
            return use(float{});
        case ColumnType::f64:
            return use(double{});
    }
}

}  // namespace

ColumnCopy take_apart(const std::filesystem::path& path) {
    const ColumnFile file = ColumnFile::open_any(path);
    ColumnCopy copy;
    copy.format = file.format();
    copy.version = file.format_version();
    for (const ColumnFile::Attribute& attribute : file.attributes()) {
        const bool of_writer = attribute.name == "format" || attribute.name == "format_version";
        if (attribute.group != "/" || !of_writer) copy.attributes.push_back(attribute_of(file, attribute));
    }
    for (const ColumnFile::Info& info : file.columns()) {
        if (info.name.ends_with("_block_digest")) continue;
        with_type(info.type, [&]<class T>(T) {
            const auto bytes = std::as_bytes(file.column<T>(info.name));
            copy.columns.push_back({info.name, info.type, info.width, {bytes.begin(), bytes.end()}});
        });
    }
    return copy;
}

void put_together(const ColumnCopy& copy, const std::filesystem::path& path) {
    ColumnFileWriter writer(path, copy.format, copy.version, Overwrite::yes);
    for (const ColumnCopy::Attribute& a : copy.attributes) {
        std::visit(
            [&]<class T>(const T& value) {
                if constexpr (std::is_same_v<T, std::string>) {
                    writer.attribute(a.group, a.name, std::string_view(value));
                } else {
                    writer.attribute(a.group, a.name, value);
                }
            },
            a.value);
    }
    for (const ColumnCopy::Column& column : copy.columns) {
        with_type(column.type, [&]<class T>(T) {
            std::vector<T> values(column.bytes.size() / sizeof(T));
            if (!values.empty()) std::memcpy(values.data(), column.bytes.data(), values.size() * sizeof(T));
            writer.column<T>(column.name, values, column.width);
        });
    }
    writer.finish();
}

}  // namespace lockstep
