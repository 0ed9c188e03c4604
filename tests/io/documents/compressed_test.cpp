// Sources that are compressed, cut short, damaged, or grow beyond reason.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <fstream>
#include <string>
#include <vector>

#include "io/base/digest.h"
#include "io/base/error.h"
#include "io/base/process_memory.h"
#include "io/documents/byte_stream.h"
#include "io/documents/document_reader.h"
#include "io/documents/source_kind.h"
#include "io/documents/source_list.h"
#include "tests/support/error_of.h"
#include "tests/support/gzip.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

std::string zstd(const std::string& plain) {
    std::string out(ZSTD_compressBound(plain.size()), '\0');
    ZSTD_CCtx* const context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // As the zstd program does.
    const std::size_t bytes = ZSTD_compress2(context, out.data(), out.size(), plain.data(), plain.size());
    ZSTD_freeCCtx(context);
    EXPECT_FALSE(ZSTD_isError(bytes));
    out.resize(bytes);
    return out;
}

#ifdef LOCKSTEP_ADDRESS_SANITIZER
constexpr std::uint64_t peak_growth_max = std::uint64_t{512} << 20U;  // What was freed stays for a while.
#else
constexpr std::uint64_t peak_growth_max = std::uint64_t{32} << 20U;
#endif

struct Codec {
    const char* extension;
    std::string (*compress)(const std::string&);
};

class CompressedTest : public testing::TestWithParam<Codec> {
  protected:
    SourceSummary read(const std::filesystem::path& path) {
        texts_.clear();
        std::uint64_t bad = 0;
        return read_documents(path, 0, options_, bad, [&](const Document& document) {
            texts_.emplace_back(document.text);
            offsets_.push_back(document.source_offset);
        });
    }
    std::filesystem::path write(const std::string& bytes, const std::string& stem = "texts.jsonl") {
        return directory_.write(stem + GetParam().extension, bytes);
    }
    Error refusal_of(const std::filesystem::path& path) {
        return error_of([&] { read(path); });
    }
    static std::string lines(int count) {
        std::string text;
        for (int i = 0; i < count; ++i) text += R"({"text": "document )" + std::to_string(i * 7919) + "\"}\n";
        return text;
    }

    TemporaryDirectory directory_;
    DocumentOptions options_;
    std::vector<std::string> texts_;
    std::vector<std::uint64_t> offsets_;
};

TEST_P(CompressedTest, IsDigestedAsTheFileStands) {
    const std::string packed = GetParam().compress(lines(20'000)) + GetParam().compress(lines(3));
    const auto path = write(packed);
    DigestStream digest;
    const auto stream = open_stream(path, source_kind_of(path).compression, 0, 1000, &digest);
    std::vector<char> buffer(100'000);
    while (stream->read(buffer) == buffer.size()) continue;
    EXPECT_EQ(digest.value(), digest_of(std::as_bytes(std::span(packed))));
}

TEST_P(CompressedTest, GivesTheDocumentsOfThePlainFile) {
    const std::string plain = lines(20'000);
    read(directory_.write("plain.jsonl", plain));
    const auto texts = texts_;
    const auto offsets = std::exchange(offsets_, {});
    const std::string packed = GetParam().compress(plain);
    const SourceSummary summary = read(write(packed));
    EXPECT_EQ(texts_, texts);
    EXPECT_EQ(offsets_, offsets);
    EXPECT_EQ(summary.bytes, packed.size());
    EXPECT_EQ(summary.digest, digest_of(std::as_bytes(std::span(packed))));
}

TEST_P(CompressedTest, ItsFirstBytesCountWhereItsNameSaysNothing) {
    read(directory_.write("texts.jsonl", GetParam().compress(lines(3))));
    EXPECT_EQ(texts_.size(), 3U);
}

TEST_P(CompressedTest, PartsMayStandEndToEnd) {
    const std::string packed = GetParam().compress(lines(3));
    read(write(packed + packed));
    EXPECT_EQ(texts_.size(), 6U);
}

TEST_P(CompressedTest, CutAnywhereIsRefusedWithItsPosition) {
    const std::string packed = GetParam().compress(lines(200));
    for (std::size_t bytes = 1; bytes < packed.size(); bytes += 1 + bytes / 40) {
        const Error error = refusal_of(write(packed.substr(0, bytes)));
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << bytes;
        EXPECT_THAT(error.what(), HasSubstr("at byte ")) << bytes;
    }
    EXPECT_THAT(refusal_of(write("")).what(), HasSubstr("is empty"));
}

TEST_P(CompressedTest, ABitFlippedNeverPassesUnseen) {
    const std::string plain = lines(300);
    const std::string packed = GetParam().compress(plain);
    read(directory_.write("plain.jsonl", plain));
    const auto texts = texts_;
    for (std::size_t at = 0; at < packed.size(); at += 1 + packed.size() / 200) {
        std::string damaged = packed;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        try {
            read(write(damaged));
            // A flip in a header field that says nothing of the content (time, name) may pass.
            EXPECT_TRUE(texts_ == texts) << at;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << at << error.what();
        }
    }
}

TEST_P(CompressedTest, OtherBytesUnderItsNameAreRefused) {
    EXPECT_EQ(refusal_of(write("{\"text\": \"plain\"}\n")).code(), ErrorCode::corrupt_data);
}

TEST_P(CompressedTest, ABombIsRefusedAndNeverHeldInMemory) {
    std::string bomb;
    const std::string empty_lines(std::size_t{1} << 20U, '\n');
    const std::string packed = GetParam().compress(empty_lines);
    for (int i = 0; i < 200; ++i) bomb += packed;
    const auto path = write(bomb);
    bomb = {};
    std::ofstream("/proc/self/clear_refs") << 5;  // The peak begins again.
    const std::uint64_t before = peak_resident_bytes();
    const Error error = refusal_of(path);
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("--expansion-max"));
    // It is refused once more than 64 MiB came out.
    EXPECT_LT(peak_resident_bytes() - before, peak_growth_max);
}

TEST_P(CompressedTest, ALineWithoutEndIsRefusedAtTheLimit) {
    options_.document_bytes_max = 100'000;
    options_.rule = DocumentRule::line;
    const std::string packed = GetParam().compress(std::string(std::size_t{30} << 20U, 'x'));
    const Error error = refusal_of(write(packed, "texts.txt"));
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("--document-bytes-max"));
}

TEST_P(CompressedTest, ABadLineIsNamedByItsNumberInside) {
    EXPECT_THAT(refusal_of(write(GetParam().compress(lines(5) + "{}\n"))).what(), HasSubstr(":6: no field"));
}

TEST_P(CompressedTest, InAFolderCompressedBinariesAreLeftOut) {
    write(GetParam().compress(lines(3)));
    write(GetParam().compress(std::string("\0\1\0\0font", 8)), "font.ttf");
    std::vector<std::string> left_out;
    const auto sources = expand_sources({directory_.path().string()}, left_out);
    EXPECT_EQ(sources.size(), 1U);
    ASSERT_EQ(left_out.size(), 1U);
    EXPECT_THAT(left_out.front(), HasSubstr("binary"));
}

INSTANTIATE_TEST_SUITE_P(Codecs, CompressedTest, testing::Values(Codec{".gz", gzip}, Codec{".zst", zstd}),
                         [](const auto& test) { return std::string(test.param.extension + 1); });

}  // namespace
}  // namespace lockstep
