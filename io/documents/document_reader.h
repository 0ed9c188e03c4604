// io/documents/document_reader.h
//
// Source files to documents, one at a time and in order, each with the place it
// came from. What reads in parallel uses document_block.h and block_parser.h.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/documents/document.h"
#include "io/documents/source_kind.h"

namespace lockstep {

struct SourceSummary {
    std::string name;
    std::uint64_t bytes = 0;  ///< As of SourceIdentity.
    Digest digest;
    std::uint64_t documents = 0;
    std::uint64_t bad_lines = 0;
    std::uint64_t empty = 0;     ///< Empty documents: not delivered, counted.
    std::uint64_t repaired = 0;  ///< As of BlockCounts.
};

/// Read one file, calling `deliver` for each document in order. `bad_so_far` is carried over files.
/// @param progress  called now and then with bytes read of this file; may be empty.
/// @throws Error{not_found} missing or unreadable; Error{corrupt_data} "file:line: …" for the first bad line
///         (invalid JSON, missing field, wrong type, invalid UTF-8, NUL) beyond skip_bad_max.
SourceSummary read_documents(const std::filesystem::path& file, std::uint32_t source_index,
                             const DocumentOptions& options, std::uint64_t& bad_so_far,
                             const std::function<void(const Document&)>& deliver,
                             const std::function<void(std::uint64_t)>& progress = {});

/// "texts.jsonl:17: problem", or "table.parquet: row 17: problem". Counts lines from the file's start.
std::string bad_document_message(const std::filesystem::path& file, const SourceKind& kind,
                                 std::uint64_t offset, const std::string& problem,
                                 const DocumentOptions& options);

/// The file of a source; of Megatron's the index, then the tokens.
std::vector<std::filesystem::path> files_of_source(const std::filesystem::path& path, const SourceKind& kind);

/// Bytes of its files as they are now; those that are gone count for nothing.
std::uint64_t bytes_of_source(const std::filesystem::path& path);

/// Size and digest of the bytes of all its files.
struct SourceIdentity {
    std::uint64_t bytes = 0;
    Digest digest;
};
SourceIdentity identify_source(const std::filesystem::path& path, const SourceKind& kind);

}  // namespace lockstep
