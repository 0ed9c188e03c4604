// io/base/digest.h
//
// Digest: XXH3-128, a checksum. Finds every accident; it is no identity against
// an adversary, that is fingerprint.h.

#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

struct Digest {
    std::uint64_t low = 0;
    std::uint64_t high = 0;

    /// 32 lower-case hexadecimal digits, high half first.
    std::string hex() const;
    /// @throws Error{corrupt_data} unless `text` is 32 hexadecimal digits.
    static Digest from_hex(std::string_view text);

    friend auto operator<=>(const Digest&, const Digest&) = default;
};

Digest digest_of(std::span<const std::byte> bytes);

template <class T>
Digest digest_of_array(std::span<const T> values) {
    return digest_of(std::as_bytes(values));
}

/// The same digest, fed in pieces.
class DigestStream {
  public:
    DigestStream();

    void update(std::span<const std::byte> bytes);
    /// Digest of everything so far; more may follow.
    Digest value() const;

  private:
    // In place, not allocated: a digest is taken of every pack, and a step allocates nothing.
    alignas(64) std::array<std::byte, 576> state_;
};

}  // namespace lockstep
