#include "io/files/json_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <string>

#include "io/base/error.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

class JsonFileTest : public testing::Test {
  protected:
    Error error_in(const std::string& text) const {
        const auto path = folder_.write("a.json", text);
        return error_of([&] { read_json_object(path, "model config"); });
    }
    TemporaryDirectory folder_;
};

TEST_F(JsonFileTest, AnObjectIsRead) {
    EXPECT_EQ(read_json_object(folder_.write("a.json", R"( {"a": [1]} )"
                                                       "\n"),
                               "config")["a"][0],
              1);
}

TEST_F(JsonFileTest, WhatIsWrongIsSaidWithItsByte) {
    for (const auto& [text, said] : {std::pair<std::string, const char*>{"{\"a\": 1,}", "at byte 9 of 9"},
                                     {"", "at byte 1 of 0"},
                                     {std::string("{}\0{", 4), "at byte 3 of 4"},
                                     {"[]", "is not a JSON object"},
                                     {"{\"a\": 1e999}", "no double can hold"}}) {
        const Error error = error_in(text);
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << text;
        EXPECT_THAT(error.what(), HasSubstr(said)) << text;
        EXPECT_THAT(error.what(), HasSubstr("model config '" + (folder_ / "a.json").string())) << text;
    }
    EXPECT_EQ(error_of([&] { read_json_object(folder_ / "none.json", "it"); }).code(), ErrorCode::not_found);
}

// Opening it would wait for somebody who writes.
TEST_F(JsonFileTest, APipeIsRefused) {
    const auto path = folder_ / "pipe.json";
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_THAT(error_of([&] { read_json_object(path, "model config"); }).what(),
                HasSubstr("is no regular file"));
}

}  // namespace
}  // namespace lockstep
