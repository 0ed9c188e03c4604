// coordinator/npz_writer.h
//
// NumPy's .npy arrays, alone and together in an uncompressed zip (.npz). No pickles,
// no time stamps: equal arrays give equal bytes.
//
// Source: NEP 1, "A Simple File Format for NumPy Arrays" (version 1.0); PKWARE,
// "APPNOTE.TXT - .ZIP File Format Specification" 6.3.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

/// CRC-32 as zip files use it (polynomial 0xEDB88320), continued from `crc`.
std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t crc = 0);

/// What stands before the elements of a C-ordered array. @param type  "<u4", "<i8", "|u1", …
std::string npy_header(std::string_view type, std::span<const std::uint64_t> shape);

/// "<u8" and its like.
template <class T>
std::string npy_type() {
    static_assert(std::is_integral_v<T>);
    const std::string kind = std::is_signed_v<T> ? "i" : "u";
    return (sizeof(T) == 1 ? "|" : "<") + kind + std::to_string(sizeof(T));
}

/// Collects arrays into the bytes of a .npz.
class NpzWriter {
  public:
    /// @param shape  its product is values.size().
    template <class T>
    void add(std::string_view name, std::span<const T> values, std::span<const std::uint64_t> shape) {
        add_entry(std::string(name) + ".npy", npy_header(npy_type<T>(), shape), std::as_bytes(values));
    }
    template <class T>
    void add(std::string_view name, const std::vector<T>& values) {
        const std::uint64_t rows = values.size();
        add(name, std::span<const T>(values), std::span(&rows, 1));
    }
    /// The whole file. @throws Error{invalid_argument} at 4 GiB, which this form cannot hold.
    std::string finish() &&;

  private:
    void add_entry(const std::string& name, const std::string& header, std::span<const std::byte> data);

    std::string bytes_, directory_;
    std::uint16_t entries_ = 0;
};

}  // namespace lockstep
