#include "io/documents/parquet/parquet_codec.h"

#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstring>
#include <limits>

namespace lockstep {

namespace {

constexpr int any_zlib_wrapper = 15 + 32;

bool inflate_page(std::span<const std::byte> stored, std::span<std::byte> plain) {
    constexpr std::size_t most = std::numeric_limits<uInt>::max();
    z_stream zlib{};
    if (stored.size() > most || plain.size() > most || ::inflateInit2(&zlib, any_zlib_wrapper) != Z_OK)
        return false;
    // zlib takes a pointer to what it never changes.
    zlib.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(stored.data()));
    zlib.avail_in = static_cast<uInt>(stored.size());
    zlib.next_out = reinterpret_cast<Bytef*>(plain.data());
    zlib.avail_out = static_cast<uInt>(plain.size());
    const int result = ::inflate(&zlib, Z_FINISH);
    const bool good = result == Z_STREAM_END && zlib.avail_out == 0;
    ::inflateEnd(&zlib);
    return good;
}

bool unsnap_page(std::span<const std::byte> stored, std::span<std::byte> plain) {
    const auto* const data = reinterpret_cast<const char*>(stored.data());
    std::size_t bytes = 0;
    return snappy::GetUncompressedLength(data, stored.size(), &bytes) && bytes == plain.size() &&
           snappy::RawUncompress(data, stored.size(), reinterpret_cast<char*>(plain.data()));
}

}  // namespace

bool decompress_page(ParquetCodec codec, std::span<const std::byte> stored, std::span<std::byte> plain) {
    switch (codec) {
        case ParquetCodec::none:
            if (stored.size() != plain.size()) return false;
            if (!plain.empty()) std::memcpy(plain.data(), stored.data(), plain.size());
            return true;
        case ParquetCodec::snappy:
            return unsnap_page(stored, plain);
        case ParquetCodec::gzip:
            return inflate_page(stored, plain);
        case ParquetCodec::zstd:
            return ::ZSTD_decompress(plain.data(), plain.size(), stored.data(), stored.size()) ==
                   plain.size();
    }
    return false;
}

std::string parquet_codec_name(std::int64_t codec) {
    constexpr std::array names{"UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW"};
    if (codec < 0 || codec >= static_cast<std::int64_t>(names.size()))
        return "number " + std::to_string(codec);
    return names[static_cast<std::size_t>(codec)];
}

bool parquet_codec_is_read(std::int64_t codec) {
    return codec == 0 || codec == 1 || codec == 2 || codec == 6;
}

}  // namespace lockstep
