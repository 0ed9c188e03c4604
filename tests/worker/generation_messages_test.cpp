#include "worker/generation_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tests/support/error_of.h"

namespace lockstep {
namespace {

Fingerprint print_of(std::uint8_t byte) {
    Fingerprint print;
    print.bytes.fill(byte);
    return print;
}

std::vector<LedgerRow> some_rows() {
    LedgerRow first;
    first.step = 3;
    first.pack = 7;
    first.tokens = 100;
    first.targets = 90;
    first.token_digest = {.low = 1, .high = 2};
    first.loss = 1.25;
    first.event = PackEvent::skipped_non_finite;
    first.rank = 4;
    first.seconds = 0.5F;
    LedgerRow second;
    second.step = 4;
    second.pack = 8;
    return {first, second};
}

ShardReport some_report() {
    ShardReport report;
    report.shard = {.file = "shard-00001-of-00002.h5",
                    .slice_begin = 4096,
                    .slice_end = 8192,
                    .file_bytes = 123456789012,
                    .digest_hex = "00112233445566778899aabbccddeeff"};
    report.leaves = {std::vector{print_of(1), print_of(2)}, {}, std::vector{print_of(3)}};
    report.rows = some_rows();
    return report;
}

void expect_shorter(const std::function<void()>& decode) {
    const Error error = error_of(decode);
    EXPECT_EQ(error.code(), ErrorCode::bug);
    EXPECT_THAT(error.what(), testing::HasSubstr("shorter record than agreed"));
}

TEST(GenerationMessagesTest, AReportComesBack) {
    const ShardReport report = some_report();
    const ShardReport found = decode_report(encode_report(report));
    EXPECT_EQ(found.shard.file, report.shard.file);
    EXPECT_EQ(found.shard.slice_begin, report.shard.slice_begin);
    EXPECT_EQ(found.shard.slice_end, report.shard.slice_end);
    EXPECT_EQ(found.shard.file_bytes, report.shard.file_bytes);
    EXPECT_EQ(found.shard.digest_hex, report.shard.digest_hex);
    EXPECT_EQ(found.leaves, report.leaves);
    ASSERT_EQ(found.rows.size(), 2U);
    const LedgerRow& row = found.rows[0];
    EXPECT_EQ(row.step, 3U);
    EXPECT_EQ(row.pack, 7U);
    EXPECT_EQ(row.tokens, 100U);
    EXPECT_EQ(row.targets, 90U);
    EXPECT_EQ(row.token_digest, report.rows[0].token_digest);
    EXPECT_EQ(row.loss, 1.25);
    EXPECT_EQ(row.event, PackEvent::skipped_non_finite);
    EXPECT_EQ(row.rank, 4U);
    EXPECT_EQ(row.seconds, 0.5F);
    EXPECT_EQ(found.rows[1].pack, 8U);
    // Of a rank that wrote nothing.
    EXPECT_EQ(decode_report(encode_report({})).shard.file, "");
}

TEST(GenerationMessagesTest, WhatIsCutAnywhereIsNotTakenForLess) {
    const std::vector<std::byte> report = encode_report(some_report());
    for (std::size_t bytes = 0; bytes < report.size(); ++bytes) {
        expect_shorter([&] { decode_report(std::span(report).first(bytes)); });
    }
}

}  // namespace
}  // namespace lockstep
