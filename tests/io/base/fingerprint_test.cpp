#include "io/base/fingerprint.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/base/hex.h"

namespace lockstep {
namespace {

Fingerprint sha256_of(std::string_view text) {
    return sha256(std::as_bytes(std::span(text.data(), text.size())));
}

TEST(FingerprintTest, Sha256KnownAnswers) {
    // FIPS 180-2 and its examples.
    EXPECT_EQ(sha256_of("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256_of("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(sha256_of(std::string(1'000'000, 'a')).hex(),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(FingerprintTest, HexGoesThereAndBack) {
    const Fingerprint value = sha256_of("abc");
    EXPECT_EQ(Fingerprint::from_hex(value.hex()), value);
    EXPECT_EQ(Fingerprint::from_hex("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"),
              value);
    EXPECT_EQ(value.brief(), "ba7816bf8f01");
    for (const std::string& wrong :
         {std::string(), value.hex().substr(1), value.hex() + "0", std::string(64, 'g')}) {
        EXPECT_THROW(Fingerprint::from_hex(wrong), Error) << wrong;
    }
}

TEST(FingerprintTest, OnlyAllZeroIsEmpty) {
    EXPECT_TRUE(Fingerprint{}.empty());
    EXPECT_FALSE(sha256_of("").empty());
}

TEST(FingerprintBuilderTest, FieldsAreLengthPrefixedLittleEndian) {
    const auto expected = [](std::string_view hex_digits) {
        std::vector<std::byte> bytes(hex_digits.size() / 2);
        EXPECT_TRUE(from_hex(hex_digits, bytes));
        return sha256(bytes);
    };
    FingerprintBuilder builder("tag");
    builder.add(std::uint64_t{258}).add("xy");
    const std::vector<std::uint16_t> values{1, 0x0203};
    builder.add_array(std::span<const std::uint16_t>(values));
    EXPECT_EQ(builder.finish(), expected("0300000000000000"
                                         "746167"
                                         "0201000000000000"
                                         "0200000000000000"
                                         "7879"
                                         "0200000000000000"
                                         "01000302"));
}

TEST(FingerprintBuilderTest, WhereAFieldEndsMatters) {
    std::set<Fingerprint> seen;
    for (const auto& [first, second] : std::vector<std::pair<std::string, std::string>>{
             {"", "abc"}, {"a", "bc"}, {"ab", "c"}, {"abc", ""}}) {
        FingerprintBuilder builder("test");
        seen.insert(builder.add(first).add(second).finish());
    }
    EXPECT_EQ(seen.size(), 4U);
}

TEST(FingerprintBuilderTest, TheTagMatters) {
    EXPECT_NE(FingerprintBuilder("a").add("x").finish(), FingerprintBuilder("b").add("x").finish());
}

TEST(HexTest, RefusesWhatIsNotHex) {
    std::byte byte{};
    EXPECT_TRUE(from_hex("fF", std::span(&byte, 1)));
    EXPECT_EQ(byte, std::byte{255});
    for (const std::string_view wrong : {"", "f", "fff", "0x", "g0", "0g", " 0"}) {
        EXPECT_FALSE(from_hex(wrong, std::span(&byte, 1))) << wrong;
    }
}

}  // namespace
}  // namespace lockstep
