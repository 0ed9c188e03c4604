// io/documents/parquet/parquet_blocks.h
//
// A Parquet file as blocks of documents: one a row, from plain columns or lists of
// strings. Read are data pages of version 1 and 2, PLAIN and dictionary encoding,
// and pages without compression or with snappy, gzip or zstd. Source: the Apache
// Parquet format specification, version 2.

#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "io/documents/document_block.h"

namespace lockstep {

/// @param span  in row groups.
/// @throws Error{corrupt_data, incompatible_version}; Error{invalid_argument} if there is neither the text
///         field nor `prompt` and `response`.
std::unique_ptr<BlockReader> read_parquet_blocks(const std::filesystem::path& path, const SourceSpan& span,
                                                 const DocumentOptions& options);

/// Spans in row groups, of about `span_bytes` of the file.
std::vector<SourceSpan> divide_parquet(const std::filesystem::path& path, std::uint32_t source_index,
                                       std::uint64_t span_bytes);

}  // namespace lockstep
