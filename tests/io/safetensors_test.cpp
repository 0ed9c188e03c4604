#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string with_length(const std::string& header, const std::string& data = "") {
    const std::uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

std::string bytes_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<float> read_all(const SafetensorsFile& file, std::size_t index) {
    const TensorEntry& tensor = file.tensors()[index];
    std::vector<float> values(tensor.elements);
    file.read(tensor, 0, values);
    return values;
}

class SafetensorsTest : public testing::Test {
  protected:
    void expect_refused(const std::string& bytes, const std::string& noun) {
        const auto path = directory_.write("file.safetensors", bytes);
        const Error error = error_of([&] { SafetensorsFile::open(path); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << error.what();
        EXPECT_THAT(error.what(), HasSubstr("file.safetensors"));
        EXPECT_THAT(error.what(), HasSubstr(noun));
        EXPECT_THAT(error.what(), Not(HasSubstr("\n"))) << "an error is one line";
    }
    /// One tensor of these numbers.
    template <class T>
    SafetensorsFile one_tensor(const std::string& dtype, const std::vector<T>& values) {
        const auto data = bytes_of(std::as_bytes(std::span(values)));
        const std::string header = R"({"a":{"dtype":")" + dtype + R"(","shape":[)" +
                                   std::to_string(values.size()) + R"(],"data_offsets":[0,)" +
                                   std::to_string(data.size()) + "]}}";
        return SafetensorsFile::open(directory_.write(dtype + ".safetensors", with_length(header, data)));
    }

    TemporaryDirectory directory_;
};

TEST_F(SafetensorsTest, ReadsTensorsInTheOrderOfTheirBytes) {
    const float numbers[] = {1.5F, -2.0F, 3.0F, 4.0F, 5.0F};
    const auto path = directory_.write(
        "a.safetensors", with_length(R"({"b":{"dtype":"F32","shape":[2,2],"data_offsets":[4,20]},)"
                                     R"("__metadata__":{"format":"pt","note":"x"},)"
                                     R"("none":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]},)"
                                     R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  )",
                                     bytes_of(std::as_bytes(std::span(numbers)))));
    const SafetensorsFile file = SafetensorsFile::open(path);
    ASSERT_EQ(file.tensors().size(), 3U);
    EXPECT_EQ(file.tensors()[0].name, "a");
    EXPECT_THAT(file.tensors()[0].shape, IsEmpty());
    EXPECT_EQ(file.tensors()[1].name, "none");
    EXPECT_EQ(file.tensors()[1].elements, 0U);
    EXPECT_EQ(file.tensors()[2].name, "b");
    EXPECT_THAT(file.tensors()[2].shape, ElementsAre(2, 2));
    EXPECT_THAT(read_all(file, 0), ElementsAre(1.5F));
    EXPECT_THAT(read_all(file, 2), ElementsAre(-2.0F, 3.0F, 4.0F, 5.0F));
    float middle[2];
    file.read(file.tensors()[2], 1, middle);
    EXPECT_THAT(middle, ElementsAre(3.0F, 4.0F));
    EXPECT_EQ(file.metadata().at("note"), "x");
}

TEST_F(SafetensorsTest, EveryFloatingPointTypeBecomesFloat) {
    EXPECT_THAT(read_all(one_tensor<float>("F32", {1.0F, -0.0F, 3e-45F}), 0),
                ElementsAre(1.0F, -0.0F, 3e-45F));
    EXPECT_THAT(read_all(one_tensor<double>("F64", {0.1, -1e-60, 16777217.0}), 0),
                ElementsAre(0.1F, -0.0F, 16777216.0F));
    const float infinity = std::numeric_limits<float>::infinity();
    EXPECT_THAT(read_all(one_tensor<std::uint16_t>("BF16", {0x3F80, 0xC049, 0x0001, 0x7F80}), 0),
                ElementsAre(1.0F, -3.140625F, std::bit_cast<float>(0x00010000U), infinity));
    // One, the largest, the least normal, the largest and the least below it, both zeros.
    EXPECT_THAT(read_all(one_tensor<std::uint16_t>(
                             "F16", {0x3C00, 0x7BFF, 0x0400, 0x83FF, 0x0001, 0x0000, 0x8000, 0xFC00}),
                         0),
                ElementsAre(1.0F, 65504.0F, 0x1p-14F, -1023.0F * 0x1p-24F, 0x1p-24F, 0.0F, -0.0F, -infinity));
    EXPECT_TRUE(std::isnan(read_all(one_tensor<std::uint16_t>("F16", {0x7E01}), 0)[0]));
}

TEST_F(SafetensorsTest, HalvesAgreeWithTheirDefinition) {
    std::vector<std::uint16_t> all(65536);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
    const std::vector<float> floats = read_all(one_tensor<std::uint16_t>("F16", all), 0);
    for (std::size_t i = 0; i < all.size(); ++i) {
        const int exponent = static_cast<int>((i >> 10U) & 31U);
        const int fraction = static_cast<int>(i & 1023U);
        if (exponent == 31) {
            EXPECT_EQ(std::isnan(floats[i]), fraction != 0) << i;
            continue;
        }
        const double size =
            exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
        EXPECT_EQ(floats[i], static_cast<float>((i & 0x8000U) != 0 ? -size : size)) << i;
    }
}

TEST_F(SafetensorsTest, WhatIsNoFloatIsRefusedWhenRead) {
    const SafetensorsFile whole = one_tensor<std::uint8_t>("U8", {1, 2});
    EXPECT_EQ(error_of([&] { read_all(whole, 0); }).code(), ErrorCode::invalid_argument);
    const SafetensorsFile large = one_tensor<double>("F64", {1.0, 1e300});
    const Error error = error_of([&] { read_all(large, 0); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("'a'"));
}

TEST_F(SafetensorsTest, MalformedFilesAreRefusedInOneLine) {
    const std::string ok = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
    const std::string four(4, 'x');
    SafetensorsFile::open(directory_.write("ok.safetensors", with_length(R"({"a":)" + ok + "}", four)));

    expect_refused("", "cut short");
    expect_refused("1234567", "cut short");
    expect_refused(with_length(R"({"a":401e999})"), "no double can hold");
    expect_refused(std::string(8, '\0'), "'{'");
    expect_refused(std::string(8, '\xFF'), "18446744073709551615");
    expect_refused(with_length("{}").substr(0, 9), "cut short");
    const std::uint64_t too_long = 100'000'001;
    expect_refused(std::string(reinterpret_cast<const char*>(&too_long), 8) + "{}", "100000001");

    const std::pair<std::string, std::string> headers[] = {
        {" {}", "'{'"},
        {"[]", "'{'"},
        {"{", "not JSON"},
        {"{} x", "not JSON"},
        {"{\"a\xFF\":" + ok + "}", "not JSON"},
        {R"({"a":)" + ok + R"(,"a":)" + ok + "}", "'a' twice"},
        {R"({"a\nb":)" + ok + R"(,"a\nb":)" + ok + "}", "'a\\nb' twice"},
        {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "'dtype' twice"},
        {R"({"__metadata__":{"x":1},"a":)" + ok + "}", "__metadata__"},
        {R"({"__metadata__":["x"],"a":)" + ok + "}", "__metadata__"},
        {R"({"a":[1]})", "'a' is not an object"},
        {R"({"a":[[[[[[1]]]]]]})", "nested too deeply"},
        {R"({"a":{"dtype":"F32","shape":[1]}})", "'data_offsets'"},
        {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "'shape'"},
        {R"({"a":{"shape":[1],"data_offsets":[0,4]}})", "'dtype'"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0}})", "'x'"},
        {R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", "'F4'"},
        {R"({"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}})", "dtype"},
        {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", "shape"},
        {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "shape"},
        {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "shape"},
        {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", "elements"},
        {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}})", "bytes"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "data_offsets"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}})", "data_offsets"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "ends before it begins"},
        {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "needs 8 bytes"},
        {R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}})", "needs 2 bytes"},
        {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "'a' ends at byte 8"},
        {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", "a hole"},
        {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
         "overlap"},
        {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
         "a hole"},
        {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", "1 bytes after"},
        {"{}", "4 bytes after"},
        {R"({"a":)" + ok + R"(,"b":)" + ok + "}", "overlap"},
    };
    for (const auto& [header, noun] : headers) {
        SCOPED_TRACE(header);
        expect_refused(with_length(header, four), noun);
    }
}

TEST_F(SafetensorsTest, ACutAfterAnyByteIsAnError) {
    const std::vector<SafetensorsWriter::Tensor> tensors = {{"a", TensorType::f32, {2, 3}},
                                                            {"b", TensorType::f64, {}}};
    const float a[6] = {1, 2, 3, 4, 5, 6};
    const double b = 0.1;
    SafetensorsWriter writer(directory_ / "whole", tensors, {{"format", "pt"}}, Overwrite::no);
    writer.append_array(std::span(a));
    writer.append_array(std::span(&b, 1));
    writer.publish();
    const std::string whole = directory_.read("whole");
    for (std::size_t length = 0; length < whole.size(); ++length) {
        const auto path = directory_.write("cut", whole.substr(0, length));
        EXPECT_EQ(error_of([&] { SafetensorsFile::open(path); }).code(), ErrorCode::corrupt_data) << length;
    }
    EXPECT_EQ(error_of([&] { SafetensorsFile::open(directory_.write("longer", whole + "x")); }).code(),
              ErrorCode::corrupt_data);
}

// A flipped bit may still be a sound file (of another name, say); it must never be another kind of error.
TEST_F(SafetensorsTest, AFlippedBitOfTheHeaderIsReadOrRefused) {
    const std::string whole = with_length(
        R"({"__metadata__":{"a":"b"},"a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}})", "1234");
    std::size_t refused = 0;
    for (std::size_t bit = 0; bit < 8 * (whole.size() - 4); ++bit) {
        std::string flipped = whole;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
        const auto path = directory_.write("flipped", flipped);
        try {
            const SafetensorsFile file = SafetensorsFile::open(path);
            for (std::size_t i = 0; i < file.tensors().size(); ++i) {
                if (converts_to_float(file.tensors()[i].type)) read_all(file, i);
            }
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << bit << error.what();
            EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
            ++refused;
        }
    }
    EXPECT_GT(refused, 8 * (whole.size() - 4) / 2);
}

TEST_F(SafetensorsTest, WhatIsNoFileIsAnErrorAndNoHang) {
    EXPECT_EQ(error_of([&] { SafetensorsFile::open(directory_ / "none"); }).code(), ErrorCode::not_found);
    EXPECT_EQ(error_of([&] { SafetensorsFile::open(directory_.path()); }).code(), ErrorCode::corrupt_data);
    ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
    EXPECT_EQ(error_of([&] { SafetensorsFile::open(directory_ / "pipe"); }).code(), ErrorCode::corrupt_data);
}

// ----------------------------------------------------------- writing

TEST_F(SafetensorsTest, WhatIsWrittenIsReadBackAndEqualIsEqual) {
    const std::vector<SafetensorsWriter::Tensor> tensors = {
        {"z", TensorType::f32, {3}}, {"odd \"name\"", TensorType::u8, {5}}, {"a", TensorType::f32, {2, 1}}};
    const std::vector<float> z = {1, 2, 3};
    const std::vector<std::uint8_t> odd = {1, 2, 3, 4, 5};
    const std::vector<float> a = {0.1F, -0.0F};
    for (const char* name : {"one", "two"}) {
        SafetensorsWriter writer(directory_ / name, tensors, {{"format", "pt"}}, Overwrite::no);
        writer.append_array(std::span(z).first(1));
        writer.append_array(std::span(z).subspan(1));
        writer.append_array(std::span(odd));
        writer.append_array(std::span(a));
        writer.publish();
    }
    EXPECT_EQ(directory_.read("one"), directory_.read("two"));
    EXPECT_EQ((directory_.read("one").size() - 3 * 4 - 5 - 2 * 4) % 8, 0U) << "data begins aligned";
    const SafetensorsFile file = SafetensorsFile::open(directory_ / "one");
    ASSERT_EQ(file.tensors().size(), 3U);
    EXPECT_EQ(file.tensors()[1].name, "odd \"name\"");
    EXPECT_EQ(read_all(file, 0), z);
    EXPECT_THAT(read_all(file, 2), ElementsAre(0.1F, -0.0F));
    EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST_F(SafetensorsTest, AnUnfinishedFileLeavesNothing) {
    const std::vector<SafetensorsWriter::Tensor> tensors = {{"a", TensorType::f32, {2}}};
    {
        SafetensorsWriter writer(directory_ / "file", tensors, {}, Overwrite::no);
        const float half = 1;
        writer.append_array(std::span(&half, 1));
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
    directory_.write("file", "mine");
    EXPECT_EQ(error_of([&] { SafetensorsWriter(directory_ / "file", tensors, {}, Overwrite::no); }).code(),
              ErrorCode::output_exists);
    EXPECT_EQ(directory_.read("file"), "mine");
}

// ----------------------------------------------------------- folders

class SafetensorsFolderTest : public SafetensorsTest {
  protected:
    void write(const std::string& file, const std::vector<std::string>& names) {
        std::vector<SafetensorsWriter::Tensor> tensors;
        for (const std::string& name : names) tensors.push_back({name, TensorType::f32, {1}});
        SafetensorsWriter writer(directory_ / file, tensors, {}, Overwrite::yes);
        for (const std::string& name : names) {
            const auto value = static_cast<float>(name.back());
            writer.append_array(std::span(&value, 1));
        }
        writer.publish();
    }
    void write_index(const std::string& weight_map) {
        directory_.write("model.safetensors.index.json",
                         R"({"metadata":{"total_size":12},"weight_map":)" + weight_map + "}");
    }
    Error refused() {
        return error_of([&] { SafetensorsFolder::open(directory_.path()); });
    }
};

TEST_F(SafetensorsFolderTest, AFolderIsOneFileOrItsShards) {
    EXPECT_EQ(refused().code(), ErrorCode::not_found);
    write("model-00001-of-00002.safetensors", {"a", "b"});
    write("model-00002-of-00002.safetensors", {"c"});
    write_index(R"({"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors",
        "c":"model-00002-of-00002.safetensors"})");
    const SafetensorsFolder shards = SafetensorsFolder::open(directory_.path());
    ASSERT_EQ(shards.tensors().size(), 3U);
    for (const auto& [name, place] : shards.tensors()) {
        float value = 0;
        place.file->read(*place.tensor, 0, std::span(&value, 1));
        EXPECT_EQ(value, static_cast<float>(name.back()));
    }
    write("model.safetensors", {"x"});
    EXPECT_EQ(SafetensorsFolder::open(directory_.path()).tensors().size(), 1U)
        << "the whole file goes before shards";
}

TEST_F(SafetensorsFolderTest, IndexAndShardsMustAgree) {
    const auto expect = [&](const std::string& map, const std::string& noun, ErrorCode code) {
        write_index(map);
        const Error error = refused();
        EXPECT_EQ(error.code(), code) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(noun));
    };
    write("s1.safetensors", {"a", "b"});
    write("s2.safetensors", {"c"});
    expect(R"({"a":"s1.safetensors"})", "'b'", ErrorCode::corrupt_data);
    expect(R"({"a":"s1.safetensors","b":"s2.safetensors","c":"s2.safetensors"})", "'b'",
           ErrorCode::corrupt_data);
    expect(R"({"a":"s1.safetensors","b":"s1.safetensors","d":"s1.safetensors"})", "'d'",
           ErrorCode::corrupt_data);
    expect(R"({"a":"s1.safetensors","b":"s1.safetensors","d":"s3.safetensors"})", "s3.safetensors",
           ErrorCode::not_found);
    expect(R"({"a":"../s1.safetensors"})", "../s1.safetensors", ErrorCode::corrupt_data);
    expect(R"({"a":"/etc/passwd"})", "/etc/passwd", ErrorCode::corrupt_data);
    expect(R"({"a":1})", "'a'", ErrorCode::corrupt_data);
    expect(R"({"a":"s1.safetensors\u0000.safetensors"})", "plain name", ErrorCode::corrupt_data);
    expect("{\"a\":\"" + std::string(300, 's') + ".safetensors\"}", "plain name", ErrorCode::corrupt_data);
    expect(R"({"a":"s1.safetensors","a":"s2.safetensors"})", "'a' twice", ErrorCode::corrupt_data);
    expect("{}", "weight_map", ErrorCode::corrupt_data);
    expect("[]", "weight_map", ErrorCode::corrupt_data);
    directory_.write("model.safetensors.index.json", "[]");
    EXPECT_THAT(refused().what(), HasSubstr("not a JSON object"));
}

}  // namespace
}  // namespace lockstep
