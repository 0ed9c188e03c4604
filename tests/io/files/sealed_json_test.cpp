#include "io/files/sealed_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/error_of.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

void expect_corrupt(const std::string& text, const std::string& noun) {
    const Error error = error_of([&] { unseal_json(text, "here/it.json"); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << text;
    EXPECT_THAT(error.what(), HasSubstr("here/it.json"));
    EXPECT_THAT(error.what(), HasSubstr(noun));
}

TEST(SealedJsonTest, AnObjectComesBackInCanonicalForm) {
    EXPECT_EQ(unseal_json(seal_json(R"({ "b": [1, 2.5, null], "a": {"y": "ü", "x": true} })"), "it"),
              R"({"a":{"x":true,"y":"ü"},"b":[1,2.5,null]})");
    EXPECT_EQ(unseal_json(seal_json("{}"), "it"), "{}");
}

TEST(SealedJsonTest, OnlyTheContentCounts) {
    EXPECT_EQ(seal_json(R"({"b":1,"a":2})"), seal_json(R"({ "a" : 2, "b" : 1 })"));
    EXPECT_NE(seal_json(R"({"a":1})"), seal_json(R"({"a":"1"})"));
    // Written anew by another program.
    std::string text = seal_json(R"({"a":1,"b":2})");
    for (std::size_t at = 0; (at = text.find_first_of(" \n", at)) != std::string::npos;) text.erase(at, 1);
    EXPECT_EQ(unseal_json(text, "it"), R"({"a":1,"b":2})");
}

TEST(SealedJsonTest, EveryFlippedBitOfTheContentIsNoticed) {
    const std::string text = seal_json(R"({"steps":120,"name":"run","list":[1,2,3],"nothing":null})");
    const std::string content = unseal_json(text, "it");
    for (std::size_t position = 0; position < text.size(); ++position) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            std::string altered = text;
            altered[position] =
                static_cast<char>(static_cast<unsigned char>(altered[position]) ^ (1U << bit));
            try {
                // What is between the tokens may differ; what they say may not.
                EXPECT_EQ(unseal_json(altered, "it"), content) << "byte " << position << ", bit " << bit;
            } catch (const Error& error) {
                EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
            }
        }
    }
}

TEST(SealedJsonTest, EveryCutIsNoticed) {
    const std::string text = seal_json(R"({"steps":120})");
    for (std::size_t length = 0; length + 1 < text.size(); ++length)
        expect_corrupt(text.substr(0, length), "JSON object");
}

TEST(SealedJsonTest, WhatWasNeverSealedIsNamed) {
    expect_corrupt("[1]", "not a JSON object");
    expect_corrupt("text", "not a JSON object");
    expect_corrupt(R"({"a":1})", "no digest");
    expect_corrupt(R"({"a":1,"digest":7})", "no digest");
    expect_corrupt(R"({"a":1,"digest":"00000000000000000000000000000000"})", "altered");
}

}  // namespace
}  // namespace lockstep
