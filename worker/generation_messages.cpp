#include "worker/generation_messages.h"

#include <cstring>
#include <string>

#include "io/base/error.h"

namespace lockstep {

namespace {

void put_bytes(std::vector<std::byte>& bytes, std::span<const std::byte> raw) {
    const std::size_t at = bytes.size();
    bytes.resize(at + raw.size());
    if (!raw.empty()) std::memcpy(bytes.data() + at, raw.data(), raw.size());
}

/// Fixed-size records, field by field.
template <class T>
void put(std::vector<std::byte>& bytes, const T& value) {
    put_bytes(bytes, std::as_bytes(std::span(&value, 1)));
}

std::span<const std::byte> take_bytes(std::span<const std::byte>& bytes, std::uint64_t count) {
    if (bytes.size() < count) throw Error(ErrorCode::bug, "a rank sent a shorter record than agreed");
    const auto taken = bytes.first(count);
    bytes = bytes.subspan(count);
    return taken;
}

template <class T>
T take(std::span<const std::byte>& bytes) {
    T value;
    std::memcpy(&value, take_bytes(bytes, sizeof(T)).data(), sizeof(T));
    return value;
}

void put_text(std::vector<std::byte>& bytes, const std::string& text) {
    put(bytes, static_cast<std::uint64_t>(text.size()));
    put_bytes(bytes, std::as_bytes(std::span(text.data(), text.size())));
}

std::string take_text(std::span<const std::byte>& bytes) {
    const auto size = take<std::uint64_t>(bytes);
    const auto raw = take_bytes(bytes, size);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

void put_row(std::vector<std::byte>& bytes, const LedgerRow& row) {
    put(bytes, row.step);
    put(bytes, row.pack);
    put(bytes, row.tokens);
    put(bytes, row.targets);
    put(bytes, row.token_digest.low);
    put(bytes, row.token_digest.high);
    put(bytes, row.loss);
    put(bytes, row.event);
    put(bytes, row.rank);
    put(bytes, row.seconds);
}

LedgerRow take_row(std::span<const std::byte>& bytes) {
    LedgerRow row;
    row.step = take<std::uint64_t>(bytes);
    row.pack = take<std::uint64_t>(bytes);
    row.tokens = take<std::uint32_t>(bytes);
    row.targets = take<std::uint32_t>(bytes);
    row.token_digest.low = take<std::uint64_t>(bytes);
    row.token_digest.high = take<std::uint64_t>(bytes);
    row.loss = take<double>(bytes);
    row.event = take<PackEvent>(bytes);
    row.rank = take<std::uint32_t>(bytes);
    row.seconds = take<float>(bytes);
    return row;
}

}  // namespace

std::vector<std::byte> encode_report(const ShardReport& report) {
    std::vector<std::byte> bytes;
    put_text(bytes, report.shard.file);
    put(bytes, report.shard.slice_begin);
    put(bytes, report.shard.slice_end);
    put(bytes, report.shard.file_bytes);
    put_text(bytes, report.shard.digest_hex);
    for (const std::vector<Fingerprint>& leaves : report.leaves) {
        put(bytes, static_cast<std::uint64_t>(leaves.size()));
        for (const Fingerprint& leaf : leaves) put(bytes, leaf);
    }
    put(bytes, static_cast<std::uint64_t>(report.rows.size()));
    for (const LedgerRow& row : report.rows) put_row(bytes, row);
    return bytes;
}

ShardReport decode_report(std::span<const std::byte> bytes) {
    ShardReport report;
    report.shard.file = take_text(bytes);
    report.shard.slice_begin = take<std::uint64_t>(bytes);
    report.shard.slice_end = take<std::uint64_t>(bytes);
    report.shard.file_bytes = take<std::uint64_t>(bytes);
    report.shard.digest_hex = take_text(bytes);
    for (std::vector<Fingerprint>& leaves : report.leaves) {
        for (auto count = take<std::uint64_t>(bytes); count > 0; --count) {
            leaves.push_back(take<Fingerprint>(bytes));
        }
    }
    for (auto count = take<std::uint64_t>(bytes); count > 0; --count) report.rows.push_back(take_row(bytes));
    return report;
}

}  // namespace lockstep
