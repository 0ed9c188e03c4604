#include "io/documents/parquet/parquet_page.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "io/base/error.h"
#include "io/documents/parquet/parquet_codec.h"
#include "io/documents/parquet/parquet_levels.h"
#include "io/documents/parquet/thrift_compact.h"

namespace lockstep {

namespace {

constexpr std::uint64_t first_header_bytes = 4096;
/// Statistics in a header may hold a value of any length.
constexpr std::uint64_t header_bytes_max = std::uint64_t{64} << 20U;

/// The format counts them in 32 bits, but a varint holds more.
constexpr std::int64_t page_values_max = std::numeric_limits<std::int32_t>::max();

constexpr std::int64_t data_page = 0;
constexpr std::int64_t index_page = 1;
constexpr std::int64_t dictionary_page = 2;
constexpr std::int64_t data_page_v2 = 3;

std::string encoding_name(std::int64_t encoding) {
    constexpr const char* names[] = {
        "PLAIN",          "GROUP_VAR_INT",       "PLAIN_DICTIONARY",        "RLE",
        "BIT_PACKED",     "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY",
        "RLE_DICTIONARY", "BYTE_STREAM_SPLIT"};
    if (encoding < 0 || encoding > 9) return "number " + std::to_string(encoding);
    return names[encoding];
}

/// Levels of version 1 pages: four bytes of length, then the levels.
std::span<const std::byte> take_levels(std::span<const std::byte>& rest, unsigned level_max) {
    if (level_max == 0) return {};
    std::uint32_t bytes = 0;
    if (rest.size() < sizeof bytes) throw PageFailure{"levels that end too early"};
    std::memcpy(&bytes, rest.data(), sizeof bytes);
    rest = rest.subspan(sizeof bytes);
    if (bytes > rest.size()) throw PageFailure{"levels that end too early"};
    const auto levels = rest.first(bytes);
    rest = rest.subspan(bytes);
    return levels;
}

}  // namespace

struct ParquetPages::Header {
    std::int64_t type = -1;
    std::int64_t plain_bytes = -1, stored_bytes = -1;
    std::optional<std::int64_t> crc;
    std::int64_t num_values = -1;
    std::int64_t encoding = 0, definition_encoding = 3, repetition_encoding = 3;
    std::int64_t definition_bytes = 0, repetition_bytes = 0;
    bool is_compressed = true;
    std::size_t header_bytes = 0;

    static Header parse(std::span<const std::byte> bytes) {
        Header header;
        ThriftReader in(bytes);
        in.structure([&](int id, ThriftType field) {
            switch (id) {
                case 1:
                    header.type = in.integer(field);
                    break;
                case 2:
                    header.plain_bytes = in.integer(field);
                    break;
                case 3:
                    header.stored_bytes = in.integer(field);
                    break;
                case 4:
                    header.crc = in.integer(field);
                    break;
                case 5:
                case 7:
                case 8:
                    if (field != ThriftType::structure)
                        throw ThriftFailure{"a header without its fields", false};
                    header.parse_kind(in, id == 8);
                    break;
                default:
                    in.skip(field);
            }
        });
        header.header_bytes = in.position();
        return header;
    }

  private:
    void parse_kind(ThriftReader& in, bool version_2) {
        in.structure([&](int id, ThriftType field) {
            if (id == 1) {
                num_values = in.integer(field);
            } else if (id == (version_2 ? 4 : 2)) {
                encoding = in.integer(field);
            } else if (version_2 && id == 5) {
                definition_bytes = in.integer(field);
            } else if (version_2 && id == 6) {
                repetition_bytes = in.integer(field);
            } else if (version_2 && id == 7) {
                is_compressed = in.boolean(field);
            } else if (!version_2 && id == 3 && field == ThriftType::i32) {
                definition_encoding = in.integer(field);
            } else if (!version_2 && id == 4) {
                repetition_encoding = in.integer(field);
            } else {
                in.skip(field);
            }
        });
    }
};

ParquetPages::ParquetPages(const PosixFile& file, const ParquetColumn& column, const ParquetChunk& chunk,
                           std::uint64_t page_bytes_max, ParquetGrowth& growth)
    : file_(file),
      column_(column),
      chunk_(chunk),
      growth_(growth),
      page_bytes_max_(page_bytes_max),
      position_(chunk.begin) {
    if (!parquet_codec_is_read(chunk.codec)) {
        throw Error(ErrorCode::incompatible_version,
                    "'" + file.path().string() + "': column '" + *column.field + "' is compressed with " +
                        parquet_codec_name(chunk.codec) +
                        "; write it with none, snappy, gzip or zstd instead");
    }
}

void ParquetPages::corrupt(const char* problem) const {
    throw Error(ErrorCode::corrupt_data, "'" + file_.path().string() + "': column '" + *column_.field +
                                             "' has a damaged page at byte " + std::to_string(page_begin_) +
                                             ": " + problem);
}

ParquetPages::Header ParquetPages::read_header() {
    for (std::uint64_t wanted = first_header_bytes;; wanted *= 8) {
        const std::uint64_t bytes = std::min(wanted, chunk_.end - position_);
        stored_.resize(bytes);
        file_.read_at(position_, stored_);
        try {
            return Header::parse(stored_);
        } catch (const ThriftFailure& failure) {
            const bool more = bytes < chunk_.end - position_ && bytes < header_bytes_max;
            if (!failure.ended || !more) corrupt(failure.problem);
        }
    }
}

bool ParquetPages::next(ParquetPage& page) {
    for (;;) {
        page_begin_ = position_;
        if (position_ >= chunk_.end) return false;
        const Header header = read_header();
        position_ += header.header_bytes;
        if (header.stored_bytes < 0 ||
            static_cast<std::uint64_t>(header.stored_bytes) > chunk_.end - position_)
            corrupt("it is cut short or its length is wrong");
        if (header.type == index_page) {
            position_ += static_cast<std::uint64_t>(header.stored_bytes);
            continue;
        }
        if (header.type != data_page && header.type != dictionary_page && header.type != data_page_v2)
            corrupt("its type is unknown");
        if (header.num_values < 0 || header.plain_bytes < 0) corrupt("a negative count");
        if (header.num_values > page_values_max) corrupt("it claims 2^31 values or more");
        if (static_cast<std::uint64_t>(header.plain_bytes) > page_bytes_max_)
            corrupt("it claims more bytes than --document-bytes-max allows");
        growth_.add_page(static_cast<std::uint64_t>(header.plain_bytes));
        try {
            read_body(header, page);
        } catch (const PageFailure& failure) {
            corrupt(failure.problem);
        }
        return true;
    }
}

void ParquetPages::read_body(const Header& header, ParquetPage& page) {
    const auto stored_bytes = static_cast<std::size_t>(header.stored_bytes);
    const auto plain_bytes = static_cast<std::size_t>(header.plain_bytes);
    stored_.resize(stored_bytes);
    file_.read_at(position_, stored_);
    position_ += stored_bytes;
    if (header.crc) {
        const auto found = static_cast<std::uint32_t>(
            ::crc32_z(0, reinterpret_cast<const Bytef*>(stored_.data()), stored_bytes));
        if (found != static_cast<std::uint32_t>(*header.crc)) corrupt("its checksum is wrong");
    }
    page = {};
    page.is_dictionary = header.type == dictionary_page;
    page.num_values = static_cast<std::uint64_t>(header.num_values);
    require_encoding(header.encoding, page);
    if (header.type == data_page_v2) {
        std::span<const std::byte> rest = stored_;
        if (header.repetition_bytes < 0 || header.definition_bytes < 0 ||
            static_cast<std::uint64_t>(header.repetition_bytes) > rest.size() ||
            static_cast<std::uint64_t>(header.definition_bytes) >
                rest.size() - static_cast<std::uint64_t>(header.repetition_bytes)) {
            throw PageFailure{"levels that end too early"};
        }
        page.repetition = rest.first(static_cast<std::size_t>(header.repetition_bytes));
        rest = rest.subspan(page.repetition.size());
        page.definition = rest.first(static_cast<std::size_t>(header.definition_bytes));
        rest = rest.subspan(page.definition.size());
        const std::size_t level_bytes = page.repetition.size() + page.definition.size();
        if (plain_bytes < level_bytes) throw PageFailure{"levels longer than the page"};
        page.values = header.is_compressed ? decompressed(rest, plain_bytes - level_bytes) : rest;
        return;
    }
    std::span<const std::byte> rest = decompressed(stored_, plain_bytes);
    if (!page.is_dictionary) {
        if ((column_.repetition_max != 0 && header.repetition_encoding != 3) ||
            (column_.definition_max != 0 && header.definition_encoding != 3)) {
            throw PageFailure{"levels in another encoding than RLE, which is all that is read"};
        }
        page.repetition = take_levels(rest, column_.repetition_max);
        page.definition = take_levels(rest, column_.definition_max);
    }
    page.values = rest;
}

void ParquetPages::require_encoding(std::int64_t encoding, ParquetPage& page) const {
    const bool dictionary = encoding == 2 || encoding == 8;
    if (encoding == 0 || dictionary) {
        page.encoding =
            dictionary && !page.is_dictionary ? ParquetEncoding::rle_dictionary : ParquetEncoding::plain;
        return;
    }
    throw Error(ErrorCode::incompatible_version,
                "'" + file_.path().string() + "': column '" + *column_.field + "' is encoded as " +
                    encoding_name(encoding) + "; write it with PLAIN or dictionary encoding instead");
}

std::span<const std::byte> ParquetPages::decompressed(std::span<const std::byte> stored,
                                                      std::uint64_t bytes) {
    const auto codec = static_cast<ParquetCodec>(chunk_.codec);
    // A page of nulls alone may hold no compressed bytes at all.
    if (stored.empty() && bytes == 0) return {};
    if (codec == ParquetCodec::none && stored.size() == bytes) return stored;
    plain_.resize(bytes);
    if (!decompress_page(codec, stored, plain_)) throw PageFailure{"it does not decompress to its length"};
    return plain_;
}

}  // namespace lockstep
