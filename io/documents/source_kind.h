// io/documents/source_kind.h
//
// What kind of file a source is: by its name, and by its first bytes where they
// are unmistakable.

#pragma once

#include <cstdint>
#include <filesystem>

#include "io/documents/byte_stream.h"

namespace lockstep {

enum class SourceContent : std::uint8_t {
    json_lines,  ///< *.jsonl, *.json, *.ndjson
    text,        ///< Anything else.
    parquet,     ///< Begins with PAR1, or is named *.parquet.
    megatron,    ///< *.idx of Megatron, with its *.bin beside it.
};

struct SourceKind {
    SourceContent content = SourceContent::text;
    Compression compression = Compression::none;  ///< Of lines and text: *.gz, *.zst or their first bytes.

    /// Documents come as rows with a number, not as bytes.
    bool is_table() const { return content == SourceContent::parquet || content == SourceContent::megatron; }
    friend bool operator==(const SourceKind&, const SourceKind&) = default;
};

/// A pipe is judged by its name alone. @throws Error{not_found}, also for a folder.
SourceKind source_kind_of(const std::filesystem::path& path);

}  // namespace lockstep
