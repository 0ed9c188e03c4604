// tests/io/columns/small_columns.h
//
// Column files with known content: a small one of everything, a large one of blocks.

#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "io/base/philox.h"
#include "io/columns/column_file.h"

namespace lockstep {

template <class T>
std::span<const T> view(const std::vector<T>& values) {
    return values;
}

inline std::vector<std::uint32_t> random_words(std::size_t count, std::uint64_t stream) {
    const Philox random(7, "column-file-test", stream);
    std::vector<std::uint32_t> words(count);
    for (std::size_t i = 0; i < count; ++i) words[i] = static_cast<std::uint32_t>(random.word64(i));
    return words;
}

/// A little of everything, in about 12 kB.
inline ColumnFileWriter::Published write_small_file(const std::filesystem::path& path) {
    ColumnFileWriter writer(path, "lockstep-test", 3);
    writer.attribute("/", "count", std::uint64_t{12});
    writer.attribute("/cursor", "scale", std::int64_t{-5});
    writer.attribute("/cursor", "loss", 0.1);
    writer.attribute("/cursor", "plan", std::string_view("9c41"));
    writer.attribute("/cursor", "note", std::string_view(""));
    writer.column<std::uint8_t>("/bytes", std::array<std::uint8_t, 3>{1, 2, 255});
    writer.column<std::uint64_t>("/offsets",
                                 std::array<std::uint64_t, 2>{0, std::numeric_limits<std::uint64_t>::max()});
    writer.column<std::uint32_t>("/cursor/pairs", std::array<std::uint32_t, 6>{1, 2, 3, 4, 5, 6}, 2);
    writer.column<float>("/weights", std::vector<float>(900, -0.5F));
    writer.column<double>("/nothing", {});
    return writer.publish();
}

inline ColumnFile open_small_file(const std::filesystem::path& path) {
    return ColumnFile::open(path, "lockstep-test", 3);
}

/// Large enough for block digests: three whole blocks and a bit, and a two-dimensional one with odd rows.
inline constexpr std::size_t large_words = 3 * 262144 + 5;

inline void write_large_file(const std::filesystem::path& path) {
    ColumnFileWriter writer(path, "lockstep-test", 1);
    writer.column("/large", view(random_words(large_words, 0)));
    writer.column("/rows", view(random_words(3 * 100000, 1)), 3);
    writer.column("/small", view(random_words(10, 2)));
    writer.publish();
}

}  // namespace lockstep
