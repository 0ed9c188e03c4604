// io/documents/document.h
//
// What a document is, and how sources are cut into documents. Every reader of
// this room gives these; nothing here opens a file.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "io/base/digest.h"
#include "io/documents/chat_format.h"

namespace lockstep {

/// How a plain-text file is cut into documents.
enum class DocumentRule : std::uint8_t {
    file,       ///< The whole file is one document.
    line,       ///< One a line.
    blank,      ///< Separated by blank lines.
    separator,  ///< Separated by lines equal to `separator` (after stripping a trailing CR).
};

/// What becomes of bytes that are no UTF-8.
enum class InvalidUtf8 : std::uint8_t {
    refuse,   ///< The document is a bad one.
    replace,  ///< U+FFFD stands for them, as lossy_utf8 has it.
};

struct DocumentOptions {
    DocumentRule rule = DocumentRule::file;  ///< For plain text.
    std::string separator;
    std::string text_field = "text";  ///< JSONL and Parquet: field of the text.
    std::string key_field = "id";     ///< The user's id (string or integer); absent: no key.
    std::string score_field;          ///< JSONL and Parquet: a number of every document; empty: none is read.
    std::string chat;                 ///< JSONL: `messages` are written in this chat format; empty: none are.
    InvalidUtf8 invalid_utf8 = InvalidUtf8::refuse;
    std::uint64_t skip_bad_max = 0;  ///< --skip-bad N: bad documents tolerated over all files.
    /// Longest document, for JSONL longest line [bytes]: what bounds memory.
    std::uint64_t document_bytes_max = std::uint64_t{256} << 20U;
    /// A compressed source that grows more than this many times is taken for a decompression bomb.
    std::uint64_t expansion_max = 500;
};

/// Parse "file", "line", "blank" or "separator:STR". @throws Error{invalid_argument}.
void parse_document_rule(std::string_view text, DocumentOptions& options);
/// The inverse.
std::string document_rule_text(const DocumentOptions& options);

struct Document {
    std::string_view text;           ///< Valid UTF-8. With prompt/response: prompt + response.
    bool has_prompt = false;         ///< "prompt" and "response" were given: only the response is trained.
    std::string_view prompt;         ///< Prefix of `text`.
    std::span<const ChatPart> chat;  ///< Of `text`, if it is a conversation; empty: it is none.
    std::string_view key;            ///< Empty: none.
    std::optional<double> score;     ///< Finite; there with DocumentOptions::score_field.
    bool has_tokens = false;         ///< From a tokenized source: `tokens` instead of `text`.
    std::span<const std::uint32_t> tokens;
    std::uint32_t source_index = 0;
    /// Where the document (for JSONL its line) begins: byte of the file, after decompression; for Parquet the
    /// row, for Megatron files the document's number.
    std::uint64_t source_offset = 0;
    Digest digest;  ///< Of the document's (for JSONL its line's) bytes in the source.
};

}  // namespace lockstep
