#include "io/base/digest.h"

#include <xxhash.h>

#include <new>

#include "io/base/error.h"
#include "io/base/hex.h"

namespace lockstep {

namespace {

Digest from_xxh(const XXH128_hash_t& hash) {
    return Digest{hash.low64, hash.high64};
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

struct DigestStream::State {
    XXH3_state_t* xxh = XXH3_createState();

    State() {
        if (xxh == nullptr) throw std::bad_alloc();
        XXH3_128bits_reset(xxh);
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { XXH3_freeState(xxh); }
};

DigestStream::DigestStream() : state_(std::make_unique<State>()) {}
DigestStream::~DigestStream() = default;
DigestStream::DigestStream(DigestStream&&) noexcept = default;
DigestStream& DigestStream::operator=(DigestStream&&) noexcept = default;

void DigestStream::update(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

Digest DigestStream::value() const {
    return from_xxh(XXH3_128bits_digest(state_->xxh));
}

}  // namespace lockstep
