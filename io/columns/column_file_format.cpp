#include "io/columns/column_file_format.h"

#include <cstring>

#include "io/base/contract.h"
#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr std::size_t version_at = 8;
constexpr std::size_t file_bytes_at = 16;
constexpr std::size_t covered_at = 24;
constexpr std::size_t num_regions_at = 40;
constexpr std::size_t regions_at = 48;
constexpr std::size_t self_digest_at = 496;
static_assert(regions_at + UserBlock::regions_max * 16 == self_digest_at);
static_assert(self_digest_at + 16 == user_block_bytes);

void put(std::span<std::byte> block, std::size_t at, std::uint64_t value) {
    std::memcpy(block.data() + at, &value, sizeof value);
}

std::uint64_t get(std::span<const std::byte> block, std::size_t at) {
    std::uint64_t value = 0;
    std::memcpy(&value, block.data() + at, sizeof value);
    return value;
}

bool regions_lie_in_order(std::span<const FileRegion> regions, std::uint64_t file_bytes) {
    std::uint64_t end = user_block_bytes;
    for (const FileRegion& region : regions) {
        if (region.offset < end || region.offset > file_bytes || region.bytes > file_bytes - region.offset)
            return false;
        end = region.offset + region.bytes;
    }
    return true;
}

}  // namespace

std::array<std::byte, user_block_bytes> UserBlock::encode() const {
    LOCKSTEP_EXPECTS(regions.size() <= regions_max && regions_lie_in_order(regions, file_bytes));
    std::array<std::byte, user_block_bytes> block{};
    std::memcpy(block.data(), column_file_mark.data(), column_file_mark.size());
    put(block, version_at, user_block_version);
    put(block, file_bytes_at, file_bytes);
    put(block, covered_at, covered.low);
    put(block, covered_at + 8, covered.high);
    put(block, num_regions_at, regions.size());
    for (std::size_t i = 0; i < regions.size(); ++i) {
        put(block, regions_at + 16 * i, regions[i].offset);
        put(block, regions_at + 16 * i + 8, regions[i].bytes);
    }
    const Digest self = digest_of(std::span(block).first(self_digest_at));
    put(block, self_digest_at, self.low);
    put(block, self_digest_at + 8, self.high);
    return block;
}

UserBlock UserBlock::decode(std::span<const std::byte, user_block_bytes> bytes, std::uint64_t file_bytes,
                            const std::string& file) {
    if (std::memcmp(bytes.data(), column_file_mark.data(), column_file_mark.size()) != 0) {
        std::string found(reinterpret_cast<const char*>(bytes.data()), column_file_mark.size());
        for (char& c : found) c = c < ' ' || c > '~' ? '?' : c;
        throw Error(ErrorCode::corrupt_data, "'" + file + "' begins with '" + found + "', expected '" +
                                                 std::string(column_file_mark) +
                                                 "', the mark of a Lockstep column file; it is another kind "
                                                 "of file or was altered");
    }
    const Digest expected{get(bytes, self_digest_at), get(bytes, self_digest_at + 8)};
    const Digest found = digest_of(bytes.first(self_digest_at));
    if (found != expected) {
        throw Error(ErrorCode::corrupt_data, "the user block of '" + file + "' has digest " + found.hex() +
                                                 ", expected " + expected.hex() +
                                                 "; the file was altered, restore it or make it again");
    }
    // Only a sound block is asked for its version, so that an altered one is never taken for a newer one.
    const std::uint64_t version = get(bytes, version_at);
    if (version != user_block_version) {
        throw Error(ErrorCode::incompatible_version,
                    "'" + file + "' has a user block of version " + std::to_string(version) +
                        ", this program reads version " + std::to_string(user_block_version) +
                        "; use a newer lockstep");
    }
    UserBlock block;
    block.file_bytes = get(bytes, file_bytes_at);
    if (block.file_bytes != file_bytes) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + file + "' has " + std::to_string(file_bytes) + " bytes, expected " +
                        std::to_string(block.file_bytes) +
                        "; it was cut short or added to, restore it or make it again");
    }
    block.covered = Digest{get(bytes, covered_at), get(bytes, covered_at + 8)};
    const std::uint64_t num_regions = get(bytes, num_regions_at);
    if (num_regions > regions_max) {
        throw Error(ErrorCode::corrupt_data,
                    "the user block of '" + file + "' names " + std::to_string(num_regions) +
                        " block-digested columns, expected at most " + std::to_string(regions_max));
    }
    for (std::size_t i = 0; i < num_regions; ++i) {
        block.regions.push_back({get(bytes, regions_at + 16 * i), get(bytes, regions_at + 16 * i + 8)});
    }
    if (!regions_lie_in_order(block.regions, file_bytes)) {
        throw Error(ErrorCode::corrupt_data,
                    "the user block of '" + file +
                        "' names columns that overlap or lie outside the file, expected "
                        "them in order within its " +
                        std::to_string(file_bytes) + " bytes");
    }
    return block;
}

Digest covered_digest(std::uint64_t file_bytes, std::span<const FileRegion> regions,
                      const std::function<void(FileRegion piece, DigestStream& into)>& feed) {
    DigestStream stream;
    std::uint64_t begin = user_block_bytes;
    for (const FileRegion& region : regions) {
        if (region.offset > begin) feed({begin, region.offset - begin}, stream);
        begin = region.offset + region.bytes;
    }
    if (file_bytes > begin) feed({begin, file_bytes - begin}, stream);
    return stream.value();
}

}  // namespace lockstep
