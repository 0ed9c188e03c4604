#include "io/base/digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "io/base/error.h"

namespace lockstep {
namespace {

/// The buffer of xxHash's own sanity test.
std::vector<std::byte> sanity_buffer(std::size_t num_bytes) {
    std::uint64_t generator = 2654435761U;
    std::vector<std::byte> bytes(num_bytes);
    for (std::byte& b : bytes) {
        b = static_cast<std::byte>(generator >> 56U);
        generator *= 11400714785074694797ULL;
    }
    return bytes;
}

struct KnownAnswer {
    std::size_t num_bytes;
    Digest digest;
};

/// XXH3-128 with seed 0, from xxHash's sanity test: every length class of the algorithm.
const std::vector<KnownAnswer> known_answers{{0, {0x6001C324468D497FULL, 0x99AA06D3014798D8ULL}},
                                             {1, {0xC44BDFF4074EECDBULL, 0xA6CD5E9392000F6AULL}},
                                             {6, {0x3E7039BDDA43CFC6ULL, 0x082AFE0B8162D12AULL}},
                                             {12, {0x061A192713F69AD9ULL, 0x6E3EFD8FC7802B18ULL}},
                                             {24, {0x1E7044D28B1B901DULL, 0x0CE966E4678D3761ULL}},
                                             {48, {0xF942219AED80F67BULL, 0xA002AC4E5478227EULL}},
                                             {81, {0x5E8BAFB9F95FB803ULL, 0x4952F58181AB0042ULL}},
                                             {222, {0xF1AEBD597CEC6B3AULL, 0x337E09641B948717ULL}},
                                             {403, {0xCDEB804D65C6DEA4ULL, 0x1B6DE21E332DD73DULL}},
                                             {512, {0x617E49599013CB6BULL, 0x18D2D110DCC9BCA1ULL}},
                                             {2048, {0xDD59E2C3A5F038E0ULL, 0xF736557FD47073A5ULL}},
                                             {2240, {0x6E73A90539CF2948ULL, 0xCCB134FBFA7CE49DULL}},
                                             {2367, {0xCB37AEB9E5D361EDULL, 0xE89C0F6FF369B427ULL}}};

TEST(DigestTest, Xxh3KnownAnswers) {
    for (const KnownAnswer& known : known_answers) {
        EXPECT_EQ(digest_of(sanity_buffer(known.num_bytes)), known.digest) << known.num_bytes << " bytes";
    }
}

TEST(DigestTest, HexHasTheHighHalfFirst) {
    const Digest digest = digest_of({});
    EXPECT_EQ(digest.hex(), "99aa06d3014798d86001c324468d497f");
    EXPECT_EQ(Digest::from_hex(digest.hex()), digest);
    for (const std::string& wrong :
         {std::string(), std::string(31, '0'), std::string(33, '0'), std::string(32, 'x')}) {
        EXPECT_THROW(Digest::from_hex(wrong), Error) << wrong;
    }
}

TEST(DigestTest, ArraysAreTheirBytes) {
    const std::vector<std::uint32_t> values{1, 2, 3};
    EXPECT_EQ(digest_of_array(std::span<const std::uint32_t>(values)),
              digest_of(std::as_bytes(std::span(values))));
}

TEST(DigestStreamTest, PiecesGiveTheDigestOfTheWhole) {
    const std::vector<std::byte> bytes = sanity_buffer(5000);
    for (const std::size_t piece : {1U, 7U, 256U, 4999U, 5000U}) {
        DigestStream stream;
        for (std::size_t begin = 0; begin < bytes.size(); begin += piece) {
            stream.update(std::span(bytes).subspan(begin, std::min(piece, bytes.size() - begin)));
            ASSERT_EQ(stream.value(),
                      digest_of(std::span(bytes).first(std::min(begin + piece, bytes.size()))));
        }
    }
    EXPECT_EQ(DigestStream().value(), digest_of({}));
}

}  // namespace
}  // namespace lockstep
