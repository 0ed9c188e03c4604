// io/documents/document_block.h
//
// A run of whole documents of one source, a few MiB: what one thread reads and
// another turns into documents.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "io/documents/source_kind.h"

namespace lockstep {

/// Bytes [begin, end) of a block.
struct BlockSlice {
    std::size_t begin = 0, end = 0;
    std::size_t size() const { return end - begin; }
};

/// One row of a table in a block's bytes.
struct BlockRow {
    std::uint64_t number = 0;  ///< Of the row in its source.
    BlockSlice text;           ///< Or, of a tokenized source, u32 tokens at a multiple of 4.
    std::size_t prompt_bytes = 0;
    bool has_prompt = false;
    BlockSlice key;
    std::optional<double> score;    ///< Finite.
    const char* problem = nullptr;  ///< What makes the row a bad one; nullptr: nothing.
};

struct DocumentBlock {
    /// Bytes that may be read after the last one, as JSON parsing in place wants it.
    static constexpr std::size_t padding = 64;

    SourceContent content = SourceContent::text;
    std::uint32_t source_index = 0;
    std::uint64_t offset = 0;         ///< Of the first byte in the source, after decompression.
    std::vector<char> bytes;          ///< The documents, then `padding` bytes.
    std::vector<BlockRow> rows;       ///< Of tables only.
    std::uint64_t file_position = 0;  ///< How far the file was read with this block [bytes].

    std::string_view text() const { return {bytes.data(), bytes.size() - padding}; }
};

/// Reads one span of a source as blocks, in order.
class BlockReader {
  public:
    virtual ~BlockReader() = default;
    /// @return false at the end, with the block as it was.
    /// @throws Error{corrupt_data} for a document beyond the limit and for whatever the stream refuses.
    virtual bool next(DocumentBlock& block) = 0;
};

/// A part of one source that can be read by itself. Positions are bytes of a plain file; a compressed file
/// and a pipe have only the whole [0, 2^64 - 1); tables count row groups or documents.
struct SourceSpan {
    std::uint32_t source_index = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = ~std::uint64_t{0};
    friend bool operator==(const SourceSpan&, const SourceSpan&) = default;
};

struct DocumentOptions;

/// A reader of the documents that begin in a span. The spans that partition a source give each of its
/// documents exactly once.
/// @param whole_digest  fed with the bytes of the file if it can be read only once (a pipe); may be nullptr.
std::unique_ptr<BlockReader> open_blocks(const std::filesystem::path& path, const SourceKind& kind,
                                         const SourceSpan& span, const DocumentOptions& options,
                                         DigestStream* whole_digest = nullptr);

/// Spans of about `span_bytes` that partition a source, in order.
std::vector<SourceSpan> divide_source(const std::filesystem::path& path, const SourceKind& kind,
                                      std::uint32_t source_index, const DocumentOptions& options,
                                      std::uint64_t span_bytes);

}  // namespace lockstep
