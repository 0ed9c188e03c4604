#include <algorithm>
#include <cstring>
#include <map>
#include <variant>

#include "io/base/error.h"
#include "launch/chaos/column_copy.h"
#include "tests/fuzz/support/fuzz_target.h"

namespace lockstep::fuzz {

namespace {

constexpr std::size_t edit_bytes = 12;
constexpr std::size_t edits_max = 16;
constexpr std::size_t rows_max = 4096;

struct Edit {
    std::uint8_t what = 0, where = 0;
    std::uint16_t index = 0;
    std::uint64_t value = 0;
};

Edit edit_at(std::string_view script, std::size_t at) {
    Edit edit;
    const char* bytes = script.data() + at;
    edit.what = static_cast<std::uint8_t>(bytes[0]);
    edit.where = static_cast<std::uint8_t>(bytes[1]);
    std::memcpy(&edit.index, bytes + 2, 2);
    std::memcpy(&edit.value, bytes + 4, 8);
    return edit;
}

/// Little-endian, as the bytes of a column are.
void change_element(ColumnCopy::Column& column, const Edit& edit, bool relative) {
    const std::size_t element = column_type_bytes(column.type);
    const std::size_t elements = column.bytes.size() / element;
    if (elements == 0) return;
    std::byte* const place = column.bytes.data() + element * (edit.index % elements);
    std::uint64_t value = 0;
    std::memcpy(&value, place, element);
    value = relative ? value + edit.value % 7 - 3 : edit.value;
    std::memcpy(place, &value, element);
}

void apply_to_column(ColumnCopy::Column& column, const Edit& edit) {
    const std::size_t row = column_type_bytes(column.type) * column.width;
    switch (edit.what % 8) {
        case 0:
            return change_element(column, edit, false);
        case 1:
        case 2:
            return change_element(column, edit, true);
        case 3:
            return column.bytes.resize(row * (edit.value % rows_max));
        case 4: {
            const std::size_t rows = column.bytes.size() / row;
            column.bytes.resize(row *
                                (edit.value % 2 == 0 ? rows + 1 : rows - std::min<std::size_t>(rows, 1)));
            return;
        }
        case 5:
            column.type = static_cast<ColumnType>(edit.value % 8);
            break;
        case 6:
            column.width = 1 + edit.value % 3;
            break;
        default:
            std::reverse(column.bytes.begin(), column.bytes.end());
            return;
    }
    const std::size_t other_row = column_type_bytes(column.type) * column.width;
    column.bytes.resize(column.bytes.size() / other_row * other_row);
}

void apply_to_attribute(ColumnCopy::Attribute& attribute, const Edit& edit) {
    if (auto* text = std::get_if<std::string>(&attribute.value)) {
        if (edit.what % 4 == 0) {
            text->resize(text->empty() ? 0 : edit.index % text->size());
        } else if (edit.what % 4 == 1) {
            text->insert(edit.index % (text->size() + 1), std::to_string(edit.value));
        } else if (!text->empty()) {
            (*text)[edit.index % text->size()] = static_cast<char>(1 + edit.value % 255);
        }
    } else if (auto* number = std::get_if<std::uint64_t>(&attribute.value)) {
        *number = edit.what % 2 == 0 ? edit.value : *number + edit.value % 7 - 3;
    } else if (auto* integer = std::get_if<std::int64_t>(&attribute.value)) {
        *integer = static_cast<std::int64_t>(edit.value);
    } else {
        attribute.value = static_cast<double>(edit.value);
    }
}

void apply(ColumnCopy& copy, const Edit& edit) {
    const std::size_t columns = copy.columns.size(), attributes = copy.attributes.size();
    if (columns + attributes == 0) return;
    const std::size_t at = edit.where % (columns + attributes);
    const bool removes = edit.what >= 240;
    if (at < columns) {
        if (removes) copy.columns.erase(copy.columns.begin() + static_cast<std::ptrdiff_t>(at));
        if (!removes) apply_to_column(copy.columns[at], edit);
        return;
    }
    const auto attribute = copy.attributes.begin() + static_cast<std::ptrdiff_t>(at - columns);
    if (removes) copy.attributes.erase(attribute);
    if (!removes) apply_to_attribute(*attribute, edit);
}

}  // namespace

bool columns_from(std::string_view input, const std::filesystem::path& sound,
                  const std::filesystem::path& file) {
    if (!input.starts_with('E')) {
        memory_file(std::filesystem::relative(file, memory_folder()), input);
        return true;
    }
    static std::map<std::filesystem::path, ColumnCopy> taken;
    if (!taken.contains(sound)) taken[sound] = take_apart(sound);
    ColumnCopy copy = taken[sound];
    const std::size_t end = std::min(input.size(), 1 + edits_max * edit_bytes);
    for (std::size_t at = 1; at + edit_bytes <= end; at += edit_bytes) apply(copy, edit_at(input, at));
    try {
        put_together(copy, file);
        return true;
    } catch (const Error&) {
        return false;  // The writer will have none of it; there is no such file.
    }
}

}  // namespace lockstep::fuzz
