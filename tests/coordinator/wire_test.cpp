#include "coordinator/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "tests/support/error_of.h"

namespace lockstep {
namespace {

std::vector<std::byte> some_payload(std::size_t bytes) {
    std::vector<std::byte> payload(bytes);
    for (std::size_t i = 0; i < bytes; ++i) payload[i] = static_cast<std::byte>(i * 37 % 251);
    return payload;
}

void expect_refused(const std::vector<std::byte>& message) {
    const Error error = error_of([&] { unframe_message(message, "the slice of step 7"); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), testing::HasSubstr("the slice of step 7"));
}

TEST(WireTest, AMessageComesBack) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{33}, std::size_t{100000}}) {
        const std::vector<std::byte> payload = some_payload(bytes);
        const std::vector<std::byte> message = frame_message(payload);
        const auto found = unframe_message(message, "it");
        EXPECT_TRUE(std::ranges::equal(found, payload)) << bytes;
    }
}

TEST(WireTest, EveryFlippedBitIsDetected) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{50}}) {
        const std::vector<std::byte> message = frame_message(some_payload(bytes));
        for (std::size_t position = 0; position < message.size(); ++position) {
            for (unsigned bit = 0; bit < 8; ++bit) {
                std::vector<std::byte> altered = message;
                altered[position] ^= static_cast<std::byte>(1U << bit);
                expect_refused(altered);
            }
        }
    }
}

TEST(WireTest, EveryOtherLengthIsDetected) {
    const std::vector<std::byte> message = frame_message(some_payload(50));
    for (std::size_t length = 0; length < message.size(); ++length) {
        expect_refused({message.begin(), message.begin() + static_cast<std::ptrdiff_t>(length)});
    }
    std::vector<std::byte> longer = message;
    longer.push_back(std::byte{0});
    expect_refused(longer);
}

}  // namespace
}  // namespace lockstep
