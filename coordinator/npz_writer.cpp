#include "coordinator/npz_writer.h"

#include <array>
#include <limits>

#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr std::array<std::array<std::uint32_t, 256>, 4> crc_tables() {
    std::array<std::array<std::uint32_t, 256>, 4> tables{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1U) ^ ((value & 1U) != 0 ? 0xEDB88320U : 0U);
        tables[0][i] = value;
    }
    for (std::size_t t = 1; t < tables.size(); ++t) {
        for (std::size_t i = 0; i < 256; ++i) {
            const std::uint32_t before = tables[t - 1][i];
            tables[t][i] = (before >> 8U) ^ tables[0][before & 0xFFU];
        }
    }
    return tables;
}

constexpr auto tables = crc_tables();

void put16(std::string& out, std::uint32_t value) {
    out.push_back(static_cast<char>(value & 0xFFU));
    out.push_back(static_cast<char>((value >> 8U) & 0xFFU));
}
void put32(std::string& out, std::uint32_t value) {
    put16(out, value & 0xFFFFU);
    put16(out, value >> 16U);
}

constexpr std::uint32_t zip_version = 20;
constexpr std::uint32_t dos_date = 0x21;  // 1 January 1980, the first day zip knows.

/// The fields that local and central headers share, from "version needed" to "extra length".
void put_entry(std::string& out, std::uint32_t crc, std::uint32_t bytes, std::size_t name_bytes) {
    put16(out, zip_version);
    put16(out, 0);  // Flags.
    put16(out, 0);  // Stored.
    put16(out, 0);  // Time.
    put16(out, dos_date);
    put32(out, crc);
    put32(out, bytes);
    put32(out, bytes);
    put16(out, static_cast<std::uint32_t>(name_bytes));
    put16(out, 0);  // No extra field.
}

}  // namespace

std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t crc) {
    std::uint32_t state = ~crc;
    const auto byte = [&](std::size_t i) { return std::to_integer<std::uint32_t>(bytes[i]); };
    std::size_t i = 0;
    for (; i + 4 <= bytes.size(); i += 4) {
        state ^= byte(i) | byte(i + 1) << 8U | byte(i + 2) << 16U | byte(i + 3) << 24U;
        state = tables[3][state & 0xFFU] ^ tables[2][(state >> 8U) & 0xFFU] ^
                tables[1][(state >> 16U) & 0xFFU] ^ tables[0][state >> 24U];
    }
    for (; i < bytes.size(); ++i) state = (state >> 8U) ^ tables[0][(state ^ byte(i)) & 0xFFU];
    return ~state;
}

std::string npy_header(std::string_view type, std::span<const std::uint64_t> shape) {
    std::string dimensions;
    for (const std::uint64_t size : shape) dimensions += std::to_string(size) + ", ";
    if (shape.size() > 1) dimensions.resize(dimensions.size() - 2);
    if (shape.size() == 1) dimensions.pop_back();  // "(5,)"
    std::string text =
        "{'descr': '" + std::string(type) + "', 'fortran_order': False, 'shape': (" + dimensions + "), }";
    constexpr std::size_t preamble = 10;
    constexpr std::size_t alignment = 64;
    while ((preamble + text.size() + 1) % alignment != 0) text.push_back(' ');
    text.push_back('\n');
    std::string header("\x93NUMPY\x01\x00", 8);
    put16(header, static_cast<std::uint32_t>(text.size()));
    return header + text;
}

void NpzWriter::add_entry(const std::string& name, const std::string& header,
                          std::span<const std::byte> data) {
    const std::uint64_t size = header.size() + data.size();
    const std::uint64_t at = bytes_.size();
    if (at + size + name.size() + 1024 > std::numeric_limits<std::uint32_t>::max()) {
        throw Error(ErrorCode::invalid_argument,
                    "a step's arrays are 4 GiB or more, which a .npz cannot hold; plan fewer packs a step");
    }
    const std::uint32_t crc = crc32(data, crc32(std::as_bytes(std::span(header.data(), header.size()))));
    const auto bytes = static_cast<std::uint32_t>(size);
    put32(bytes_, 0x04034B50);
    put_entry(bytes_, crc, bytes, name.size());
    bytes_ += name;
    bytes_ += header;
    bytes_.append(reinterpret_cast<const char*>(data.data()), data.size());

    put32(directory_, 0x02014B50);
    put16(directory_, zip_version);
    put_entry(directory_, crc, bytes, name.size());
    put16(directory_, 0);  // No comment.
    put16(directory_, 0);  // Disk 0.
    put16(directory_, 0);
    put32(directory_, 0);  // No attributes.
    put32(directory_, static_cast<std::uint32_t>(at));
    directory_ += name;
    ++entries_;
}

std::string NpzWriter::finish() && {
    const auto at = static_cast<std::uint32_t>(bytes_.size());
    const auto size = static_cast<std::uint32_t>(directory_.size());
    std::string out = std::move(bytes_);
    out += directory_;
    put32(out, 0x06054B50);
    put32(out, 0);  // One disk.
    put16(out, entries_);
    put16(out, entries_);
    put32(out, size);
    put32(out, at);
    put16(out, 0);  // No comment.
    return out;
}

}  // namespace lockstep
