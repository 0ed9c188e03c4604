// io/documents/text_blocks.h
//
// Blocks of JSONL and plain text, from any stream of bytes.

#pragma once

#include <filesystem>
#include <memory>

#include "io/documents/byte_stream.h"
#include "io/documents/document.h"
#include "io/documents/document_block.h"

namespace lockstep {

struct TextBlocksOptions {
    SourceContent content = SourceContent::text;
    DocumentOptions document;
    std::size_t block_bytes = std::size_t{1} << 20U;  ///< About; a longer document makes a longer block.
    /// The stream of a span from 0 on begins the source, with a byte order mark perhaps, rather than a
    /// document further on.
    bool begins_source = true;
};

/// @param stream  positioned at `first_byte_of_stream(span)`.
std::unique_ptr<BlockReader> read_text_blocks(const std::filesystem::path& path,
                                              std::unique_ptr<ByteStream> stream, const SourceSpan& span,
                                              const TextBlocksOptions& options);

/// Where a stream for a span begins: a little before it, to see whether a document begins with it.
std::uint64_t first_byte_of_stream(const SourceSpan& span, const TextBlocksOptions& options);

/// @throws Error{corrupt_data}: a document that does not fit the limit.
[[noreturn]] void refuse_long_document(const std::string& source, std::uint64_t offset,
                                       std::uint64_t document_bytes_max);

}  // namespace lockstep
