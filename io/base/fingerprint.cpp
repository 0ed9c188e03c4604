#include "io/base/fingerprint.h"

#include <openssl/evp.h>

#include <bit>
#include <utility>

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

namespace {

/// Looked up once: the search costs more than the digest of a short record.
const EVP_MD* sha256_method() {
    static EVP_MD* const method = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return method;
}

struct FreeContext {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

struct FingerprintBuilder::State {
    std::unique_ptr<EVP_MD_CTX, FreeContext> context{EVP_MD_CTX_new()};

    /// Of the builder that ended last in this thread: ledger roots take one after the other, and a step
    /// allocates nothing.
    static std::unique_ptr<State>& spare() {
        thread_local std::unique_ptr<State> state;
        return state;
    }
};

FingerprintBuilder::FingerprintBuilder(std::string_view tag)
    : state_(State::spare() ? std::move(State::spare()) : std::make_unique<State>()) {
    const EVP_MD* const method = sha256_method();
    if (state_->context == nullptr || method == nullptr ||
        EVP_DigestInit_ex(state_->context.get(), method, nullptr) != 1) {
        throw Error(ErrorCode::environment, "OpenSSL offers no SHA-256; check the OpenSSL installation");
    }
    if (!tag.empty()) add(tag);
}

FingerprintBuilder::~FingerprintBuilder() {
    if (state_) State::spare() = std::move(state_);
}
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
    EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size());
    return *this;
}

Fingerprint FingerprintBuilder::finish() {
    Fingerprint result;
    EVP_DigestFinal_ex(state_->context.get(), result.bytes.data(), nullptr);
    return result;
}

Fingerprint sha256(std::span<const std::byte> bytes) {
    FingerprintBuilder builder("");
    return builder.raw(bytes).finish();
}

}  // namespace lockstep
