// io/hdf5/column_type.h

#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep {

/// Element types a column can have.
enum class ColumnType : std::uint8_t { u8, u16, u32, u64, i32, i64, f32, f64 };

constexpr std::size_t column_type_bytes(ColumnType type) {
    switch (type) {
        case ColumnType::u8:
            return 1;
        case ColumnType::u16:
            return 2;
        case ColumnType::u32:
        case ColumnType::i32:
        case ColumnType::f32:
            return 4;
        case ColumnType::u64:
        case ColumnType::i64:
        case ColumnType::f64:
            return 8;
    }
    return 0;
}

template <class T>
constexpr ColumnType column_type_of();

template <>
constexpr ColumnType column_type_of<std::uint8_t>() {
    return ColumnType::u8;
}
template <>
constexpr ColumnType column_type_of<std::uint16_t>() {
    return ColumnType::u16;
}
template <>
constexpr ColumnType column_type_of<std::uint32_t>() {
    return ColumnType::u32;
}
template <>
constexpr ColumnType column_type_of<std::uint64_t>() {
    return ColumnType::u64;
}
template <>
constexpr ColumnType column_type_of<std::int32_t>() {
    return ColumnType::i32;
}
template <>
constexpr ColumnType column_type_of<std::int64_t>() {
    return ColumnType::i64;
}
template <>
constexpr ColumnType column_type_of<float>() {
    return ColumnType::f32;
}
template <>
constexpr ColumnType column_type_of<double>() {
    return ColumnType::f64;
}

}  // namespace lockstep
