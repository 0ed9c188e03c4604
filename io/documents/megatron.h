// io/documents/megatron.h
//
// Token files of Megatron: PREFIX.idx (lengths, offsets, document boundaries)
// and PREFIX.bin (token ids end to end). One document of the corpus is one
// Megatron document; its sequences are laid end to end. Little-endian:
// "MMIDIDX\0\0", u64 1, u8 type, u64 sequences, u64 boundaries, i32 length[],
// i64 offset[] in bytes, i64 boundary[] in sequences.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "io/documents/document_block.h"
#include "io/files/atomic_file.h"

namespace lockstep {

struct DocumentOptions;

/// By its first bytes. @throws Error{not_found, io_failure}.
bool is_megatron_index(const std::filesystem::path& file);

std::filesystem::path megatron_tokens_path(std::filesystem::path index);

std::unique_ptr<BlockReader> read_megatron_blocks(const std::filesystem::path& index, const SourceSpan& span,
                                                  const DocumentOptions& options);

/// Spans in documents, of about `span_bytes` of tokens. @throws as reading the index does.
std::vector<SourceSpan> divide_megatron(const std::filesystem::path& index, std::uint32_t source_index,
                                        std::uint64_t span_bytes);

/// Write both files, the index last. @param prefix  without .bin and .idx.
/// @param sample_tokens  length of every document, each below 2^31.
/// @param give    called once per document, in order, for its tokens; each below the vocabulary size.
/// @throws Error{output_exists, io_failure, invalid_argument}; on failure neither file is left behind.
void write_megatron(const std::filesystem::path& prefix, std::uint64_t vocabulary_size,
                    const std::vector<std::uint64_t>& sample_tokens,
                    const std::function<void(std::uint64_t sample, std::vector<std::uint32_t>& tokens)>& give,
                    Overwrite overwrite);

}  // namespace lockstep
