#include "io/columns/column_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <thread>

#include "io/base/digest.h"
#include "io/base/philox.h"
#include "io/columns/column_file_format.h"
#include "tests/io/columns/small_columns.h"
#include "tests/support/error_of.h"
#include "tests/support/forwarding_files.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(ColumnFileTest, GivesBackWhatWasWritten) {
    const TemporaryDirectory directory;
    const auto published = write_small_file(directory / "a.h5");
    const ColumnFile file = open_small_file(directory / "a.h5");

    EXPECT_EQ(file.format(), "lockstep-test");
    EXPECT_EQ(file.format_version(), 3U);
    EXPECT_EQ(file.file_bytes(), published.file_bytes);
    EXPECT_EQ(file.file_bytes(), std::filesystem::file_size(directory / "a.h5"));
    EXPECT_EQ(file.digest_hex(), published.digest_hex);
    EXPECT_THAT(file.column<std::uint8_t>("/bytes"), ElementsAre(1, 2, 255));
    EXPECT_THAT(file.column<std::uint64_t>("/offsets"),
                ElementsAre(0, std::numeric_limits<std::uint64_t>::max()));
    EXPECT_THAT(file.column<std::uint32_t>("/cursor/pairs"), ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_THAT(file.column_range<std::uint32_t>("/cursor/pairs", 1, 2), ElementsAre(3, 4));
    EXPECT_EQ(file.column<float>("/weights").size(), 900U);
    EXPECT_THAT(file.column<double>("/nothing"), IsEmpty());
    EXPECT_EQ(file.attribute_u64("/", "count"), 12U);
    EXPECT_EQ(file.attribute_i64("/cursor", "scale"), -5);
    EXPECT_EQ(file.attribute_f64("/cursor", "loss"), 0.1);
    EXPECT_EQ(file.attribute_text("/cursor", "plan"), "9c41");
    EXPECT_EQ(file.attribute_text("/cursor", "note"), "");
    EXPECT_FALSE(std::filesystem::exists(directory / "a.h5.tmp"));
}

TEST(ColumnFileTest, ListsColumnsAndAttributesByName) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const ColumnFile file = ColumnFile::open_any(directory / "a.h5");

    std::vector<std::string> names;
    for (const auto& info : file.columns()) names.push_back(info.name);
    EXPECT_THAT(names, ElementsAre("/bytes", "/cursor/pairs", "/nothing", "/offsets", "/weights"));
    EXPECT_EQ(file.info("/cursor/pairs").rows, 3U);
    EXPECT_EQ(file.info("/cursor/pairs").width, 2U);
    EXPECT_EQ(file.info("/nothing").type, ColumnType::f64);

    std::vector<std::string> lines;
    for (const auto& a : file.attributes()) lines.push_back(a.group + " " + a.name + "=" + a.text);
    EXPECT_THAT(lines,
                ElementsAre("/ count=12", "/ format=lockstep-test", "/ format_version=3", "/cursor loss=0.1",
                            "/cursor note=", "/cursor plan=9c41", "/cursor scale=-5"));
    EXPECT_TRUE(file.has_attribute("/cursor", "plan"));
    EXPECT_FALSE(file.has_attribute("/", "plan"));
    EXPECT_FALSE(file.has_column("/byte"));
}

TEST(ColumnFileTest, HoldsEveryElementType) {
    const TemporaryDirectory directory;
    {
        ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1);
        writer.column<std::uint16_t>("/u16", std::array<std::uint16_t, 2>{1, 65535});
        writer.column<std::int32_t>("/i32", std::array<std::int32_t, 2>{-1, 7});
        writer.column<std::int64_t>("/i64",
                                    std::array<std::int64_t, 1>{std::numeric_limits<std::int64_t>::min()});
        writer.column<double>("/f64", std::array<double, 1>{-0.0});
        writer.publish();
    }
    const ColumnFile file = ColumnFile::open_any(directory / "a.h5");
    EXPECT_THAT(file.column<std::uint16_t>("/u16"), ElementsAre(1, 65535));
    EXPECT_THAT(file.column<std::int32_t>("/i32"), ElementsAre(-1, 7));
    EXPECT_THAT(file.column<std::int64_t>("/i64"), ElementsAre(std::numeric_limits<std::int64_t>::min()));
    EXPECT_TRUE(std::signbit(file.column<double>("/f64")[0]));
}

TEST(ColumnFileTest, ColumnsStartOnCacheLines) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const ColumnFile file = open_small_file(directory / "a.h5");
    for (const void* data : {static_cast<const void*>(file.column<std::uint8_t>("/bytes").data()),
                             static_cast<const void*>(file.column<std::uint64_t>("/offsets").data()),
                             static_cast<const void*>(file.column<float>("/weights").data())}) {
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 64, 0U);
    }
}

TEST(ColumnFileTest, EqualContentGivesEqualFiles) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    write_large_file(directory / "c.h5");
    ::sleep(1);  // Any time stamp in the file would differ.
    write_small_file(directory / "b.h5");
    write_large_file(directory / "d.h5");
    EXPECT_EQ(directory.read("a.h5"), directory.read("b.h5"));
    EXPECT_EQ(directory.read("c.h5"), directory.read("d.h5"));
}

TEST(ColumnFileTest, PiecesGiveTheSameFileAsTheWhole) {
    const TemporaryDirectory directory;
    write_large_file(directory / "whole.h5");
    const auto large = random_words(large_words, 0);
    const auto rows = random_words(3 * 100000, 1);
    {
        ColumnFileWriter writer(directory / "pieces.h5", "lockstep-test", 1);
        writer.begin_column("/large", ColumnType::u32, large.size());
        std::size_t piece = 1;
        for (std::size_t begin = 0; begin < large.size(); begin += piece, piece = piece * 3 % 500000 + 1) {
            writer.append("/large", view(large).subspan(begin, std::min(piece, large.size() - begin)));
        }
        writer.begin_column("/rows", ColumnType::u32, rows.size() / 3, 3);
        for (std::size_t begin = 0; begin < rows.size(); begin += 70001) {
            writer.append("/rows",
                          view(rows).subspan(begin, std::min<std::size_t>(70001, rows.size() - begin)));
        }
        writer.column("/small", view(random_words(10, 2)));
        writer.publish();
    }
    EXPECT_EQ(directory.read("whole.h5"), directory.read("pieces.h5"));
    const ColumnFile file = ColumnFile::open_any(directory / "pieces.h5");
    EXPECT_THAT(file.column<std::uint32_t>("/large"), ElementsAreArray(large));
    EXPECT_THAT(file.column<std::uint32_t>("/rows"), ElementsAreArray(rows));
}

// Rows of 280 kB, more than is gathered: their parts come in pieces of all sizes, beside another column's.
TEST(ColumnFileTest, RowsLargerThanATransferMayComeInPieces) {
    const TemporaryDirectory directory;
    constexpr std::size_t width = 70'001;
    const auto wide = random_words(5 * width, 3);
    const auto beside = random_words(5 * width, 4);
    {
        ColumnFileWriter writer(directory / "whole.h5", "lockstep-test", 1);
        writer.begin_column("/wide", ColumnType::u32, 5, width);
        writer.begin_column("/beside", ColumnType::u32, beside.size());
        writer.append("/wide", view(wide));
        writer.append("/beside", view(beside));
        writer.publish();
    }
    {
        ColumnFileWriter writer(directory / "pieces.h5", "lockstep-test", 1);
        writer.begin_column("/wide", ColumnType::u32, 5, width);
        writer.begin_column("/beside", ColumnType::u32, beside.size());
        const std::array<std::size_t, 7> pieces = {1, 16'383, 16'384, 16'385, 100, 65'536, width};
        for (std::size_t begin = 0, turn = 0; begin < wide.size(); ++turn) {
            const std::size_t piece = std::min(pieces[turn % pieces.size()], wide.size() - begin);
            writer.append("/wide", view(wide).subspan(begin, piece));
            writer.append("/beside", view(beside).subspan(begin, piece));
            begin += piece;
        }
        writer.publish();
    }
    EXPECT_EQ(directory.read("whole.h5"), directory.read("pieces.h5"));
    EXPECT_THAT(ColumnFile::open_any(directory / "pieces.h5").column<std::uint32_t>("/wide"),
                ElementsAreArray(wide));
}

/// Ranges that the disk is told to begin on.
class BegunSyncs : public ForwardingFiles {
  public:
    void begin_sync(int descriptor, std::uint64_t offset, std::uint64_t bytes) noexcept override {
        ranges.emplace_back(offset, bytes);
        ForwardingFiles::begin_sync(descriptor, offset, bytes);
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
};

TEST(ColumnFileTest, TheDiskBeginsOnAColumnsEndUnlessItIsSmall) {
    const TemporaryDirectory directory;
    for (const std::size_t bytes : {262'143U, 262'144U, 1'000'000U}) {
        const std::vector<std::uint8_t> values(bytes, 7);
        BegunSyncs files;
        ColumnFileWriter writer(directory / (std::to_string(bytes) + ".h5"), "lockstep-test", 1);
        writer.begin_column("/values", ColumnType::u8, values.size());
        for (std::size_t begin = 0; begin < bytes; begin += 30'000)
            writer.append("/values",
                          view(values).subspan(begin, std::min<std::size_t>(30'000, bytes - begin)));
        writer.publish();
        std::uint64_t begun = 0;
        for (std::size_t i = 0; i < files.ranges.size(); ++i) {
            begun += files.ranges[i].second;
            if (i == 0) continue;
            EXPECT_EQ(files.ranges[i].first, files.ranges[i - 1].first + files.ranges[i - 1].second);
        }
        EXPECT_EQ(begun, bytes < 262'144 ? 0 : bytes);
    }
}

TEST(ColumnFileTest, MoreLargeColumnsThanTheUserBlockNamesAreStillCovered) {
    const TemporaryDirectory directory;
    const std::vector<std::uint8_t> large(1U << 20U, 7);
    {
        ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1);
        for (int i = 0; i < 30; ++i) writer.column("/c" + std::to_string(i), view(large));
        writer.publish();
    }
    ColumnFile::open_any(directory / "a.h5").verify_everything();
    std::string bytes = directory.read("a.h5");
    bytes[bytes.size() - bytes.size() / 60] ^= 1;  // In the last of the thirty.
    directory.write("b.h5", bytes);
    EXPECT_EQ(error_of([&] { ColumnFile::open_any(directory / "b.h5"); }).code(), ErrorCode::corrupt_data);
}

TEST(ColumnFileTest, LongTextComesBack) {
    const TemporaryDirectory directory;
    const std::string text(3'000'000, 'x');
    for (const char* name : {"a.h5", "b.h5"}) {
        ColumnFileWriter writer(directory / name, "lockstep-test", 1);
        writer.attribute("/", "description", text);
        for (int i = 0; i < 20; ++i) writer.attribute("/", "n" + std::to_string(i), std::uint64_t{1});
        writer.publish();
    }
    EXPECT_EQ(ColumnFile::open_any(directory / "a.h5").attribute_text("/", "description"), text);
    EXPECT_EQ(directory.read("a.h5"), directory.read("b.h5"));
}

/// Flips one bit of a file and, at scope end, flips it back.
class FlippedBit {
  public:
    FlippedBit(const std::filesystem::path& file, std::size_t byte, unsigned bit)
        : descriptor_(::open(file.c_str(), O_RDWR)), byte_(static_cast<off_t>(byte)), mask_(1U << bit) {
        flip();
    }
    ~FlippedBit() {
        flip();
        ::close(descriptor_);
    }
    FlippedBit(const FlippedBit&) = delete;
    FlippedBit& operator=(const FlippedBit&) = delete;

  private:
    void flip() {
        unsigned char value = 0;
        EXPECT_EQ(::pread(descriptor_, &value, 1, byte_), 1);
        value = static_cast<unsigned char>(value ^ mask_);
        EXPECT_EQ(::pwrite(descriptor_, &value, 1, byte_), 1);
    }

    int descriptor_;
    off_t byte_;
    unsigned mask_;
};

TEST(ColumnFileTest, AFlippedBitInAnyByteIsNoticed) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const std::size_t file_bytes = std::filesystem::file_size(directory / "a.h5");
    ASSERT_GT(file_bytes, 4000U);
    const Philox random(1, "bit");
    for (std::size_t byte = 0; byte < file_bytes; ++byte) {
        const auto bit = static_cast<unsigned>(random.below(byte, 8));
        const FlippedBit flipped(directory / "a.h5", byte, bit);
        const Error error = error_of([&] { open_small_file(directory / "a.h5"); });
        ASSERT_EQ(error.code(), ErrorCode::corrupt_data) << "byte " << byte << ": " << error.what();
        ASSERT_THAT(error.what(), HasSubstr("a.h5"));
    }
    open_small_file(directory / "a.h5");
}

TEST(ColumnFileTest, EveryBitOfTheUserBlockIsNoticed) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    for (std::size_t bit = 0; bit < 512 * 8; ++bit) {
        const FlippedBit flipped(directory / "a.h5", bit / 8, bit % 8);
        ASSERT_EQ(error_of([&] { open_small_file(directory / "a.h5"); }).code(), ErrorCode::corrupt_data)
            << bit;
    }
}

TEST(ColumnFileTest, AFlippedBitInALargeFileIsNoticed) {
    const TemporaryDirectory directory;
    write_large_file(directory / "a.h5");
    const std::size_t file_bytes = std::filesystem::file_size(directory / "a.h5");
    for (std::size_t byte = 3; byte < file_bytes; byte += 60001) {
        const FlippedBit flipped(directory / "a.h5", byte, byte % 8);
        ASSERT_EQ(error_of([&] { ColumnFile::open_any(directory / "a.h5"); }).code(), ErrorCode::corrupt_data)
            << byte;
    }
}

TEST(ColumnFileTest, AFileCutAnywhereIsNoticed) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const std::string sound = directory.read("a.h5");
    for (std::size_t length = 0; length < sound.size(); length += length < 600 ? 1 : 37) {
        directory.write("b.h5", std::string_view(sound).substr(0, length));
        const Error error = error_of([&] { open_small_file(directory / "b.h5"); });
        ASSERT_EQ(error.code(), ErrorCode::corrupt_data) << length;
        ASSERT_THAT(error.what(), HasSubstr(std::to_string(length) + " bytes, expected")) << length;
    }
    directory.write("b.h5", sound + '\0');
    EXPECT_EQ(error_of([&] { open_small_file(directory / "b.h5"); }).code(), ErrorCode::corrupt_data);
}

TEST(ColumnFileTest, NamesTheAlteredMebibyte) {
    const TemporaryDirectory directory;
    write_large_file(directory / "a.h5");
    std::string bytes = directory.read("a.h5");
    const auto large = random_words(large_words, 0);
    // The last word of the third block.
    const std::string needle(reinterpret_cast<const char*>(large.data() + 3 * 262144 - 4), 16);
    const std::size_t place = bytes.find(needle);
    ASSERT_NE(place, std::string::npos);
    bytes[place + 15] = static_cast<char>(bytes[place + 15] ^ 64);
    directory.write("b.h5", bytes);
    const Error error = error_of([&] { ColumnFile::open_any(directory / "b.h5"); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("column '/large'"));
    EXPECT_THAT(error.what(), HasSubstr("in MiB 2"));
}

/// Rewrite a little-endian word of the user block and the digest at its end, as another version of us would.
void patch_user_block(std::string& bytes, std::size_t at, std::uint64_t value) {
    std::memcpy(bytes.data() + at, &value, 8);
    const Digest digest = digest_of(std::as_bytes(std::span(bytes)).first(496));
    std::memcpy(bytes.data() + 496, &digest.low, 8);
    std::memcpy(bytes.data() + 504, &digest.high, 8);
}

TEST(ColumnFileTest, RefusesNewerVersionsByNumber) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const Error format = error_of([&] { ColumnFile::open(directory / "a.h5", "lockstep-test", 2); });
    EXPECT_EQ(format.code(), ErrorCode::incompatible_version);
    EXPECT_THAT(format.what(), HasSubstr("version 3"));
    EXPECT_THAT(format.what(), HasSubstr("up to version 2"));

    std::string bytes = directory.read("a.h5");
    patch_user_block(bytes, 8, 2);
    directory.write("b.h5", bytes);
    const Error block = error_of([&] { open_small_file(directory / "b.h5"); });
    EXPECT_EQ(block.code(), ErrorCode::incompatible_version);
    EXPECT_THAT(block.what(), HasSubstr("version 2"));
}

TEST(ColumnFileTest, RefusesRegionsThatAreNotColumns) {
    const TemporaryDirectory directory;
    write_large_file(directory / "a.h5");
    const std::string sound = directory.read("a.h5");
    std::uint64_t offset = 0;
    std::memcpy(&offset, sound.data() + 48, 8);
    // A count, an offset or a length that a writer with an error in it could leave behind.
    for (const auto& [at, value] :
         std::vector<std::pair<std::size_t, std::uint64_t>>{{40, 1},
                                                            {40, 29},
                                                            {40, ~0ULL},
                                                            {48, 64},
                                                            {48, offset + 64},
                                                            {48, ~0ULL},
                                                            {56, 64},
                                                            {56, ~0ULL},
                                                            {56, sound.size() - offset},
                                                            {16, 5}}) {
        std::string bytes = sound;
        patch_user_block(bytes, at, value);
        directory.write("b.h5", bytes);
        EXPECT_EQ(error_of([&] { ColumnFile::open_any(directory / "b.h5"); }).code(), ErrorCode::corrupt_data)
            << at << " " << value;
    }
}

/// What a command prints on standard output; it must succeed.
std::string output_of(const std::string& command) {
    std::string text;
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) {
        ADD_FAILURE() << "cannot run " << command;
        return text;
    }
    std::array<char, 4096> part{};
    for (std::size_t got = 0; (got = std::fread(part.data(), 1, part.size(), pipe)) != 0;)
        text.append(part.data(), got);
    EXPECT_EQ(::pclose(pipe), 0) << command << "\n" << text;
    return text;
}

/// The file with these regions left to block digests, its digests made to fit.
std::string with_regions(std::string bytes, std::vector<FileRegion> regions) {
    const auto all = std::as_bytes(std::span(bytes));
    UserBlock block;
    block.file_bytes = bytes.size();
    block.regions = std::move(regions);
    block.covered = covered_digest(bytes.size(), block.regions, [&](FileRegion piece, DigestStream& into) {
        into.update(all.subspan(piece.offset, piece.bytes));
    });
    const auto encoded = block.encode();
    std::memcpy(bytes.data(), encoded.data(), encoded.size());
    return bytes;
}

TEST(ColumnFileTest, RefusesARegionThatNoColumnFills) {
    const TemporaryDirectory directory;
    write_large_file(directory / "a.h5");
    const std::string sound = directory.read("a.h5");
    std::vector<FileRegion> regions =
        UserBlock::decode(std::as_bytes(std::span(sound)).first<user_block_bytes>(), sound.size(), "it")
            .regions;
    ASSERT_EQ(regions.size(), 2U);
    EXPECT_EQ(with_regions(sound, regions), sound);
    regions[0].offset += 64;
    regions[0].bytes -= 64;
    directory.write("b.h5", with_regions(sound, regions));
    const Error error = error_of([&] { ColumnFile::open_any(directory / "b.h5"); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("no column of"));
    EXPECT_THAT(error.what(), HasSubstr("bytes at " + std::to_string(regions[0].offset)));
}

TEST(ColumnFileTest, RefusesARegionWithoutDigestsOfItsOwn) {
    const TemporaryDirectory directory;
    const auto data = random_words(64, 5);
    directory.write("rename.py", R"(
import sys, h5py
with h5py.File(sys.argv[1], 'r+') as f:
    if 'digests' in f: f.move('digests', 'data_block_digest')
)");
    // Opened with '/data' left to what `sibling` writes, under a name that the writer keeps for itself.
    const auto open_with = [&](auto sibling) {
        {
            ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1, Overwrite::yes);
            writer.column("/data", view(data));
            sibling(writer);
            writer.publish();
        }
        output_of("/usr/bin/python3 '" + (directory / "rename.py").string() + "' '" +
                  (directory / "a.h5").string() + "'");
        const std::string bytes = directory.read("a.h5");
        const std::string needle(reinterpret_cast<const char*>(data.data()), 4 * data.size());
        directory.write("b.h5", with_regions(bytes, {{bytes.find(needle), needle.size()}}));
        return ColumnFile::open_any(directory / "b.h5");
    };
    const char* const name = "/digests";
    const Digest digest = digest_of(std::as_bytes(std::span(data)));
    const std::array<std::uint64_t, 4> words{digest.low, digest.high, 0, 0};
    const auto refused = [&](auto sibling) {
        const Error error = error_of([&] { open_with(sibling); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        EXPECT_THAT(error.what(), HasSubstr("'/data_block_digest'"));
        EXPECT_THAT(error.what(), HasSubstr("is missing or not u64[1, 2]"));
    };
    refused([](ColumnFileWriter&) {});
    refused([&](ColumnFileWriter& w) { w.column<std::uint32_t>(name, std::array<std::uint32_t, 2>{}, 2); });
    refused([&](ColumnFileWriter& w) { w.column<std::uint64_t>(name, std::span(words).first(1)); });
    refused([&](ColumnFileWriter& w) { w.column<std::uint64_t>(name, words, 2); });
    const ColumnFile file =
        open_with([&](ColumnFileWriter& w) { w.column<std::uint64_t>(name, std::span(words).first(2), 2); });
    EXPECT_THAT(file.column<std::uint32_t>("/data"), ElementsAreArray(data));
    EXPECT_THAT(error_of([&] {
                    open_with([&](ColumnFileWriter& w) {
                        w.column<std::uint64_t>(name, std::span(words).last(2), 2);
                    });
                }).what(),
                HasSubstr("is altered in MiB 0"));
}

TEST(ColumnFileTest, AnEmptyRangeOfAnAlteredColumnIsEmpty) {
    const TemporaryDirectory directory;
    write_large_file(directory / "a.h5");
    std::uint64_t offset = 0;
    std::memcpy(&offset, directory.read("a.h5").data() + 48, 8);
    const FlippedBit flipped(directory / "a.h5", offset, 0);
    const ColumnFile file = ColumnFile::open_any(directory / "a.h5", VerifyAtOpen::touched_blocks);
    EXPECT_THAT(file.column_range<std::uint32_t>("/large", 1, 1), IsEmpty());
    EXPECT_EQ(error_of([&] { file.column_range<std::uint32_t>("/large", 1, 2); }).code(),
              ErrorCode::corrupt_data);
}

/// No room to see a file in.
class UnmappableFiles : public ForwardingFiles {
  public:
    const std::byte* map(int, std::size_t) override {
        errno = ENOMEM;
        return nullptr;
    }
};

TEST(ColumnFileTest, AFileThatCannotBeMappedIsNamed) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const UnmappableFiles unmappable;
    const Error error = error_of([&] { open_small_file(directory / "a.h5"); });
    EXPECT_EQ(error.code(), ErrorCode::io_failure);
    EXPECT_THAT(error.what(), HasSubstr("cannot map '" + (directory / "a.h5").string()));
}

TEST(ColumnFileTest, RefusesWhatIsNoColumnFile) {
    const TemporaryDirectory directory;
    directory.write("text", std::string(4000, 'a'));
    directory.write("empty", "");
    EXPECT_EQ(error_of([&] { ColumnFile::open_any(directory / "text"); }).code(), ErrorCode::corrupt_data);
    EXPECT_EQ(error_of([&] { ColumnFile::open_any(directory / "empty"); }).code(), ErrorCode::corrupt_data);
    EXPECT_EQ(error_of([&] { ColumnFile::open_any(directory.path()); }).code(), ErrorCode::corrupt_data);
    EXPECT_EQ(error_of([&] { ColumnFile::open_any(directory / "absent"); }).code(), ErrorCode::not_found);
    write_small_file(directory / "a.h5");
    const Error other = error_of([&] { ColumnFile::open(directory / "a.h5", "lockstep-plan", 9); });
    EXPECT_EQ(other.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(other.what(), HasSubstr("'lockstep-test', expected 'lockstep-plan'"));
}

TEST(ColumnFileTest, FollowsASymbolicLink) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    std::filesystem::create_symlink("a.h5", directory / "link.h5");
    EXPECT_EQ(open_small_file(directory / "link.h5").column<float>("/weights").size(), 900U);
}

TEST(ColumnFileTest, NamesWhatIsMissingOrOfAnotherType) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const ColumnFile file = open_small_file(directory / "a.h5");
    EXPECT_THAT(error_of([&] { file.column<float>("/absent"); }).what(), HasSubstr("no column '/absent'"));
    EXPECT_THAT(error_of([&] { file.column<double>("/weights"); }).what(),
                HasSubstr("type f32, expected f64"));
    EXPECT_THAT(error_of([&] { static_cast<void>(file.attribute_u64("/", "absent")); }).what(),
                HasSubstr("'absent'"));
    EXPECT_EQ(error_of([&] { static_cast<void>(file.attribute_u64("/", "format")); }).code(),
              ErrorCode::corrupt_data);
    EXPECT_THAT(error_of([&] { file.info("/absent"); }).what(), HasSubstr("a.h5"));
}

TEST(ColumnFileTest, ReadsFromManyThreads) {
    const TemporaryDirectory directory;
    write_large_file(directory / "a.h5");
    const ColumnFile file = ColumnFile::open_any(directory / "a.h5");
    const auto large = random_words(large_words, 0);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (std::uint64_t row = 0; row + 1000 < large.size(); row += 100000) {
                const auto part = file.column_range<std::uint32_t>("/large", row, row + 1000);
                if (!std::equal(part.begin(), part.end(), large.begin() + static_cast<std::ptrdiff_t>(row)))
                    ++wrong;
            }
            const ColumnFile own = ColumnFile::open_any(directory / "a.h5");
            if (own.column<std::uint32_t>("/small").size() != 10) ++wrong;
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

/// A file beyond 1 GiB, of which nearly all is a column of zeros.
TEST(ColumnFileTest, ChecksBlocksOfHugeFilesAtFirstUse) {
    const TemporaryDirectory directory;
    constexpr std::uint64_t rows = (std::uint64_t{1} << 30U) + 1000;
    {
        const std::vector<std::uint8_t> zeros(1U << 24U);
        ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1);
        writer.begin_column("/huge", ColumnType::u8, rows);
        for (std::uint64_t done = 0; done < rows; done += zeros.size()) {
            writer.append("/huge", view(zeros).first(std::min<std::uint64_t>(zeros.size(), rows - done)));
        }
        writer.publish();
    }
    {
        const int descriptor = ::open((directory / "a.h5").c_str(), O_WRONLY);
        ASSERT_EQ(::pwrite(descriptor, "x", 1, 500 << 20), 1);
        ::close(descriptor);
    }
    const ColumnFile file = ColumnFile::open_any(directory / "a.h5");
    EXPECT_EQ(file.column_range<std::uint8_t>("/huge", 10, 20).size(), 10U);
    EXPECT_EQ(file.column_range<std::uint8_t>("/huge", rows - 5, rows).size(), 5U);
    EXPECT_EQ(error_of([&] { file.column_range<std::uint8_t>("/huge", 498 << 20, 502 << 20); }).code(),
              ErrorCode::corrupt_data);
    EXPECT_EQ(error_of([&] { file.verify_everything(); }).code(), ErrorCode::corrupt_data);
    EXPECT_EQ(error_of([&] { ColumnFile::open_any(directory / "a.h5", VerifyAtOpen::everything); }).code(),
              ErrorCode::corrupt_data);
}

// Nobody needs our code to read our files.

TEST(ColumnFileTest, H5dumpReadsEveryColumn) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const std::string text = output_of("h5dump '" + (directory / "a.h5").string() + "' 2>&1");
    EXPECT_THAT(text, HasSubstr("DATASET \"bytes\" {\n      DATATYPE  H5T_STD_U8LE"));
    EXPECT_THAT(text, HasSubstr("(0): 1, 2, 255"));
    EXPECT_THAT(text, HasSubstr("(0): 0, 18446744073709551615"));
    EXPECT_THAT(text, HasSubstr("(1,0): 3, 4,"));
    EXPECT_THAT(text, HasSubstr("(0): \"lockstep-test\""));
    EXPECT_THAT(text, Not(HasSubstr("unable")));
}

TEST(ColumnFileTest, H5pyReadsEveryColumn) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    write_large_file(directory / "b.h5");
    directory.write("read.py", R"(
import sys, h5py
f = h5py.File(sys.argv[1], 'r')
print(f['bytes'][:].tolist(), f['offsets'][:].tolist(), f['cursor/pairs'][:].tolist(), f['nothing'].shape)
print(f['weights'].dtype, float(f['weights'][899]), f.attrs['format'].decode(), int(f.attrs['format_version']))
print(int(f['cursor'].attrs['scale']), float(f['cursor'].attrs['loss']))
g = h5py.File(sys.argv[2], 'r')
print(g['large'].shape, g['large_block_digest'].shape, g['rows'].shape, int(g['large'][-1]))
)");
    EXPECT_EQ(output_of("/usr/bin/python3 '" + (directory / "read.py").string() + "' '" +
                        (directory / "a.h5").string() + "' '" + (directory / "b.h5").string() + "'"),
              "[1, 2, 255] [0, 18446744073709551615] [[1, 2], [3, 4], [5, 6]] (0,)\n"
              "float32 -0.5 lockstep-test 3\n"
              "-5 0.1\n"
              "(786437,) (4, 2) (100000, 3) " +
                  std::to_string(random_words(large_words, 0).back()) + "\n");
}

}  // namespace
}  // namespace lockstep
