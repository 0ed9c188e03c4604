#include "io/base/digest.h"

// The state's own type, which the library hides otherwise.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <new>

#include "io/base/error.h"
#include "io/base/hex.h"

namespace lockstep {

namespace {

Digest from_xxh(const XXH128_hash_t& hash) {
    return Digest{hash.low64, hash.high64};
}

XXH3_state_t* xxh_state(std::byte* bytes) {
    return std::launder(reinterpret_cast<XXH3_state_t*>(bytes));
}
const XXH3_state_t* xxh_state(const std::byte* bytes) {
    return std::launder(reinterpret_cast<const XXH3_state_t*>(bytes));
}

}  // namespace

std::string Digest::hex() const {
    const std::uint64_t parts[2] = {__builtin_bswap64(high), __builtin_bswap64(low)};
    return to_hex(std::as_bytes(std::span(parts)));
}

Digest Digest::from_hex(std::string_view text) {
    std::uint64_t parts[2] = {};
    if (!lockstep::from_hex(text, std::as_writable_bytes(std::span(parts)))) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + std::string(text) + "' is not a digest; expected 32 hexadecimal digits");
    }
    return Digest{__builtin_bswap64(parts[1]), __builtin_bswap64(parts[0])};
}

Digest digest_of(std::span<const std::byte> bytes) {
    return from_xxh(XXH3_128bits(bytes.data(), bytes.size()));
}

DigestStream::DigestStream() {
    static_assert(sizeof(XXH3_state_t) == sizeof state_ && alignof(XXH3_state_t) == alignof(DigestStream));
    XXH3_128bits_reset(new (state_.data()) XXH3_state_t{});
}

void DigestStream::update(std::span<const std::byte> bytes) {
    XXH3_128bits_update(xxh_state(state_.data()), bytes.data(), bytes.size());
}

Digest DigestStream::value() const {
    return from_xxh(XXH3_128bits_digest(xxh_state(state_.data())));
}

}  // namespace lockstep
