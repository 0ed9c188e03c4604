// io/base/fingerprint.h
//
// Fingerprint: SHA-256 over content, an identity. Fields are written with their
// length in front and integers as little-endian u64, so that no two different
// sequences of fields give the same bytes.

#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

struct Fingerprint {
    std::array<std::uint8_t, 32> bytes{};

    /// 64 lower-case hexadecimal digits.
    std::string hex() const;
    /// The first 12 digits, for people.
    std::string brief() const { return hex().substr(0, 12); }
    /// All zero means "none".
    bool empty() const { return bytes == std::array<std::uint8_t, 32>{}; }
    /// @throws Error{corrupt_data} unless `text` is 64 hexadecimal digits.
    static Fingerprint from_hex(std::string_view text);

    friend auto operator<=>(const Fingerprint&, const Fingerprint&) = default;
};

/// Collects fields into a fingerprint. `tag` names what is being fingerprinted
/// ("lockstep-plan-v1"), so that equal fields of different things differ.
class FingerprintBuilder {
  public:
    explicit FingerprintBuilder(std::string_view tag);
    ~FingerprintBuilder();
    FingerprintBuilder(FingerprintBuilder&&) noexcept;
    FingerprintBuilder& operator=(FingerprintBuilder&&) noexcept;

    FingerprintBuilder& add(std::uint64_t value);
    FingerprintBuilder& add(std::string_view text);  ///< u64 length, then the bytes.
    FingerprintBuilder& add(const Fingerprint& fingerprint);
    /// u64 element count, then the elements, little-endian.
    template <class T>
    FingerprintBuilder& add_array(std::span<const T> values) {
        add(static_cast<std::uint64_t>(values.size()));
        return raw(std::as_bytes(values));
    }
    /// Bytes without a length in front: for a stream whose length was added before.
    FingerprintBuilder& raw(std::span<const std::byte> bytes);

    /// Ends the builder; it may not be used afterwards.
    Fingerprint finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// SHA-256 of plain bytes, as sha256sum prints it.
Fingerprint sha256(std::span<const std::byte> bytes);

}  // namespace lockstep
