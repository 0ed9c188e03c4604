#include "io/base/fingerprint.h"

#include <openssl/evp.h>

#include <bit>

#include "io/base/error.h"
#include "io/base/hex.h"

namespace lockstep {

static_assert(std::endian::native == std::endian::little, "formats are little-endian");

std::string Fingerprint::hex() const {
    return to_hex(std::as_bytes(std::span(bytes)));
}

Fingerprint Fingerprint::from_hex(std::string_view text) {
    Fingerprint result;
    if (!lockstep::from_hex(text, std::as_writable_bytes(std::span(result.bytes)))) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + std::string(text) + "' is not a fingerprint; expected 64 hexadecimal digits");
    }
    return result;
}

struct FingerprintBuilder::State {
    EVP_MD_CTX* context = EVP_MD_CTX_new();

    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { EVP_MD_CTX_free(context); }
};

FingerprintBuilder::FingerprintBuilder(std::string_view tag) : state_(std::make_unique<State>()) {
    if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) {
        throw Error(ErrorCode::environment, "OpenSSL offers no SHA-256; check the OpenSSL installation");
    }
    if (!tag.empty()) add(tag);
}

FingerprintBuilder::~FingerprintBuilder() = default;
FingerprintBuilder::FingerprintBuilder(FingerprintBuilder&&) noexcept = default;
FingerprintBuilder& FingerprintBuilder::operator=(FingerprintBuilder&&) noexcept = default;

FingerprintBuilder& FingerprintBuilder::add(std::uint64_t value) {
    return raw(std::as_bytes(std::span(&value, 1)));
}

FingerprintBuilder& FingerprintBuilder::add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    return raw(std::as_bytes(std::span(text.data(), text.size())));
}

FingerprintBuilder& FingerprintBuilder::add(const Fingerprint& fingerprint) {
    return raw(std::as_bytes(std::span(fingerprint.bytes)));
}

FingerprintBuilder& FingerprintBuilder::raw(std::span<const std::byte> bytes) {
    EVP_DigestUpdate(state_->context, bytes.data(), bytes.size());
    return *this;
}

Fingerprint FingerprintBuilder::finish() {
    Fingerprint result;
    EVP_DigestFinal_ex(state_->context, result.bytes.data(), nullptr);
    return result;
}

Fingerprint sha256(std::span<const std::byte> bytes) {
    FingerprintBuilder builder("");
    return builder.raw(bytes).finish();
}

}  // namespace lockstep
