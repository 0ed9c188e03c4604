// io/document_reader.h
//
// Source files to documents: JSONL and plain text, one document at a time, each
// with the place it came from. A bad line is reported as file:line and counted,
// never guessed.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/digest.h"

namespace lockstep {

/// How a plain-text file is cut into documents.
enum class DocumentRule : std::uint8_t {
    file,       ///< The whole file is one document.
    line,       ///< One a line.
    blank,      ///< Separated by blank lines.
    separator,  ///< Separated by lines equal to `separator` (after stripping a trailing CR).
};

struct DocumentOptions {
    DocumentRule rule = DocumentRule::file;  ///< For plain text; *.jsonl and *.json are read as JSONL.
    std::string separator;
    std::string text_field = "text";  ///< JSONL: field of the text.
    std::string key_field = "id";     ///< JSONL: field of the user's id (string or integer); absent: no key.
    std::uint64_t skip_bad_max = 0;   ///< --skip-bad N: bad lines tolerated over all files.
};

/// Parse "file", "line", "blank" or "separator:STR". @throws Error{invalid_argument}.
void parse_document_rule(std::string_view text, DocumentOptions& options);

struct Document {
    std::string_view text;    ///< Valid UTF-8. With prompt/response: prompt + response.
    bool has_prompt = false;  ///< JSONL with "prompt" and "response": only the response is trained.
    std::string_view prompt;  ///< Prefix of `text`.
    std::string_view key;     ///< Empty: none.
    std::uint32_t source_index = 0;
    std::uint64_t source_offset = 0;  ///< Byte offset of the document (for JSONL its line) in the file.
    std::uint64_t line = 0;           ///< First line, from 1.
    Digest digest;                    ///< Of the document's (for JSONL its line's) bytes in the file.
};

struct SourceSummary {
    std::string name;
    std::uint64_t bytes = 0;
    Digest digest;
    std::uint64_t documents = 0;
    std::uint64_t bad_lines = 0;
    std::uint64_t empty = 0;  ///< Empty documents: not delivered, counted.
};

/// Read one file, calling `deliver` for each document in order. `bad_so_far` is carried over files.
/// @param progress  called now and then with bytes read of this file; may be empty.
/// @throws Error{not_found} missing or unreadable; Error{corrupt_data} "file:line: …" for the first bad line
/// (invalid JSON,
///         missing field, wrong type, invalid UTF-8) beyond skip_bad_max.
SourceSummary read_documents(const std::filesystem::path& file, std::uint32_t source_index,
                             const DocumentOptions& options, std::uint64_t& bad_so_far,
                             const std::function<void(const Document&)>& deliver,
                             const std::function<void(std::uint64_t)>& progress = {});

/// Files named on a command line: a folder means every regular file in it (recursively, sorted by path;
/// hidden files, *.dat and other binary files by content are left out with a note in `left_out`).
std::vector<std::filesystem::path> expand_sources(const std::vector<std::string>& arguments,
                                                  std::vector<std::string>& left_out);

}  // namespace lockstep
