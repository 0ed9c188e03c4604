// io/documents/parquet/parquet_codec.h
//
// Decompressing one page whose size is known.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "io/documents/parquet/parquet_footer.h"

namespace lockstep {

/// @return false unless `stored` decompresses to exactly `plain.size()` bytes.
bool decompress_page(ParquetCodec codec, std::span<const std::byte> stored, std::span<std::byte> plain);

/// "LZ4_RAW"; for the numbers that are not read too.
std::string parquet_codec_name(std::int64_t codec);
bool parquet_codec_is_read(std::int64_t codec);

}  // namespace lockstep
