// tests/support/small_parquet.h
//
// Parquet files made byte by byte, with what no writer would write: runs of
// nothing, counts that cannot be true.

#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace lockstep {

/// Thrift's compact protocol, written.
class ThriftBytes {
  public:
    ThriftBytes& integer(int id, std::int64_t value) {
        head(id, 6);
        varint((static_cast<std::uint64_t>(value) << 1U) ^ static_cast<std::uint64_t>(value >> 63U));
        return *this;
    }
    ThriftBytes& text(int id, const std::string& value) {
        head(id, 8);
        varint(value.size());
        bytes_ += value;
        return *this;
    }
    ThriftBytes& structure(int id, const ThriftBytes& value) {
        head(id, 12);
        bytes_ += value.finished();
        return *this;
    }
    ThriftBytes& list(int id, const std::vector<ThriftBytes>& values) {
        head(id, 9);
        bytes_ += static_cast<char>(0xFC);
        varint(values.size());
        for (const ThriftBytes& value : values) bytes_ += value.finished();
        return *this;
    }
    /// A field of any type, its bytes given.
    ThriftBytes& field(int id, unsigned type, const std::string& bytes) {
        head(id, type);
        bytes_ += bytes;
        return *this;
    }
    std::string finished() const { return bytes_ + '\0'; }

    static std::string varint_bytes(std::uint64_t value) {
        std::string bytes;
        for (; value >= 0x80; value >>= 7U) bytes += static_cast<char>(0x80U | (value & 0x7FU));
        return bytes + static_cast<char>(value);
    }

  private:
    void head(int id, unsigned type) {
        bytes_ += static_cast<char>((static_cast<unsigned>(id - last_) << 4U) | type);
        last_ = id;
    }
    void varint(std::uint64_t value) { bytes_ += varint_bytes(value); }

    std::string bytes_;
    int last_ = 0;
};

/// One column `text`, one row group, one page of version 1 without compression.
struct SmallParquet {
    /// Elements of the schema below the root, depth first.
    std::vector<ThriftBytes> schema;
    std::uint64_t num_rows = 0;
    std::uint64_t num_values = 0;
    std::string page;  ///< Levels and values.
    /// Further fields of the footer.
    ThriftBytes footer_front;

    /// Rule: 0 required, 1 optional, 2 repeated.
    static ThriftBytes group(const std::string& name, int rule, int children) {
        return ThriftBytes().integer(3, rule).text(4, name).integer(5, children);
    }
    static ThriftBytes strings(const std::string& name, int rule) {
        return ThriftBytes().integer(1, 6).integer(3, rule).text(4, name);
    }
    /// Levels as a page of version 1 has them: their length, then runs of (count, value).
    static std::string levels(const std::vector<std::pair<std::uint64_t, char>>& runs) {
        std::string bytes;
        for (const auto& [count, value] : runs) bytes += ThriftBytes::varint_bytes(count << 1U) + value;
        const auto size = static_cast<std::uint32_t>(bytes.size());
        std::string length(sizeof size, '\0');
        std::memcpy(length.data(), &size, sizeof size);
        return length + bytes;
    }

    std::string bytes() const {
        const auto page_bytes = static_cast<std::int64_t>(page.size());
        const auto values = static_cast<std::int64_t>(num_values);
        const std::string header = ThriftBytes()
                                       .integer(1, 0)
                                       .integer(2, page_bytes)
                                       .integer(3, page_bytes)
                                       .structure(5, ThriftBytes().integer(1, values).integer(2, 0))
                                       .finished();
        const auto chunk_bytes = static_cast<std::int64_t>(header.size() + page.size());
        const ThriftBytes meta =
            ThriftBytes().integer(4, 0).integer(5, values).integer(7, chunk_bytes).integer(9, 4);
        std::vector<ThriftBytes> elements{ThriftBytes().text(4, "root").integer(5, 1)};
        elements.insert(elements.end(), schema.begin(), schema.end());
        const auto rows = static_cast<std::int64_t>(num_rows);
        const std::string footer =
            ThriftBytes(footer_front)
                .list(2, elements)
                .integer(3, rows)
                .list(4, {ThriftBytes().list(1, {ThriftBytes().structure(3, meta)}).integer(3, rows)})
                .finished();
        const auto footer_bytes = static_cast<std::uint32_t>(footer.size());
        std::string length(sizeof footer_bytes, '\0');
        std::memcpy(length.data(), &footer_bytes, sizeof footer_bytes);
        return "PAR1" + header + page + footer + length + "PAR1";
    }

    /// `rows` rows, each a list without elements that is not null.
    static SmallParquet empty_lists(std::uint64_t rows) {
        SmallParquet file;
        file.schema = {group("text", 0, 1), group("list", 2, 1), strings("element", 1)};
        file.num_rows = file.num_values = rows;
        file.page = levels({{rows, 0}}) + levels({{rows, 0}});
        return file;
    }
    /// One row: a list of so many null elements.
    static SmallParquet null_elements(std::uint64_t elements) {
        SmallParquet file = empty_lists(elements);
        file.num_rows = 1;
        file.page = levels({{1, 0}, {elements - 1, 1}}) + levels({{elements, 1}});
        return file;
    }
};

}  // namespace lockstep
