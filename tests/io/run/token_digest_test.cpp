#include "io/run/token_digest.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <vector>

namespace lockstep {
namespace {

struct Buffers {
    std::vector<std::uint32_t> ids{10, 11, 12, 20, 21};
    std::vector<std::uint32_t> positions{0, 1, 2, 0, 1};
    std::vector<std::int32_t> targets{11, 12, -1, 21, -1};
    std::vector<std::int32_t> boundaries{0, 3, 5};

    Digest digest() const { return token_digest(ids, positions, targets, boundaries); }
};

TEST(TokenDigestTest, EveryElementOfEveryBufferCounts) {
    std::set<Digest> seen = {Buffers().digest()};
    const auto expect_new = [&](const std::function<void(Buffers&)>& change) {
        Buffers buffers;
        change(buffers);
        EXPECT_TRUE(seen.insert(buffers.digest()).second);
    };
    for (std::size_t i = 0; i < 5; ++i) {
        expect_new([&](Buffers& b) { b.ids[i] ^= 1U << 31U; });
        expect_new([&](Buffers& b) { ++b.positions[i]; });
        expect_new([&](Buffers& b) { b.targets[i] = 99; });
    }
    for (std::size_t i = 0; i < 3; ++i) expect_new([&](Buffers& b) { ++b.boundaries[i]; });
    expect_new([](Buffers& b) { std::swap(b.ids, b.positions); });
    EXPECT_EQ(Buffers().digest(), Buffers().digest());
}

TEST(TokenDigestTest, BytesMovedFromOneBufferToAnotherCount) {
    // The counts in front tell apart what the bytes alone would not.
    const std::vector<std::uint32_t> none;
    const std::vector<std::int32_t> no_targets;
    const std::vector<std::int32_t> empty{0};
    const std::vector<std::int32_t> two_empty{0, 0};
    EXPECT_NE(token_digest(none, none, no_targets, empty), token_digest(none, none, no_targets, two_empty));
}

TEST(TokenDigestTest, IsTheDocumentedBytes) {
    const Buffers b;
    std::vector<std::uint32_t> words = {5, 0, 2, 0};  // T and S as little-endian u64.
    words.insert(words.end(), b.ids.begin(), b.ids.end());
    words.insert(words.end(), b.positions.begin(), b.positions.end());
    for (const std::int32_t target : b.targets) words.push_back(static_cast<std::uint32_t>(target));
    for (const std::int32_t boundary : b.boundaries) words.push_back(static_cast<std::uint32_t>(boundary));
    EXPECT_EQ(b.digest(), digest_of_array(std::span<const std::uint32_t>(words)));
}

}  // namespace
}  // namespace lockstep
