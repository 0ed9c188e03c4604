#include "io/documents/document_reader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/documents/block_parser.h"
#include "io/documents/megatron.h"
#include "io/documents/parquet/parquet_blocks.h"
#include "io/documents/text_blocks.h"
#include "io/files/file_digest.h"

namespace lockstep {

namespace {

constexpr std::size_t piece_bytes = std::size_t{1} << 20U;

bool is_pipe(const std::filesystem::path& path) {
    std::error_code absent;
    return std::filesystem::exists(path, absent) && !std::filesystem::is_regular_file(path, absent);
}

std::uint64_t line_number_at(const std::filesystem::path& file, Compression compression, std::uint64_t offset,
                             std::uint64_t expansion_max) {
    const auto stream = open_stream(file, compression, 0, expansion_max);
    std::vector<char> buffer(piece_bytes);
    std::uint64_t line = 1;
    for (std::uint64_t rest = offset; rest != 0;) {
        const auto part =
            std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(rest, buffer.size())));
        const std::size_t got = stream->read(part);
        line += static_cast<std::uint64_t>(std::ranges::count(part.first(got), '\n'));
        if (got < part.size()) break;
        rest -= got;
    }
    return line;
}

}  // namespace

std::vector<std::filesystem::path> files_of_source(const std::filesystem::path& path,
                                                   const SourceKind& kind) {
    if (kind.content == SourceContent::megatron) return {path, megatron_tokens_path(path)};
    return {path};
}

std::unique_ptr<BlockReader> open_blocks(const std::filesystem::path& path, const SourceKind& kind,
                                         const SourceSpan& span, const DocumentOptions& options,
                                         DigestStream* whole_digest) {
    if (kind.content == SourceContent::parquet) return read_parquet_blocks(path, span, options);
    if (kind.content == SourceContent::megatron) return read_megatron_blocks(path, span, options);
    const TextBlocksOptions blocks{kind.content, options};
    auto stream = open_stream(path, kind.compression, first_byte_of_stream(span, blocks),
                              options.expansion_max, whole_digest);
    return read_text_blocks(path, std::move(stream), span, blocks);
}

std::vector<SourceSpan> divide_source(const std::filesystem::path& path, const SourceKind& kind,
                                      std::uint32_t source_index, const DocumentOptions& options,
                                      std::uint64_t span_bytes) {
    if (kind.content == SourceContent::parquet) return divide_parquet(path, source_index, span_bytes);
    if (kind.content == SourceContent::megatron) return divide_megatron(path, source_index, span_bytes);
    const bool one_document = kind.content == SourceContent::text && options.rule == DocumentRule::file;
    std::vector<SourceSpan> spans{{source_index, 0}};
    if (kind.compression != Compression::none || one_document || is_pipe(path)) return spans;
    const std::uint64_t bytes = open_source(path).size();
    for (std::uint64_t begin = span_bytes; begin < bytes; begin += span_bytes) {
        spans.back().end = begin;
        spans.push_back({source_index, begin});
    }
    return spans;
}

SourceSummary read_documents(const std::filesystem::path& file, std::uint32_t source_index,
                             const DocumentOptions& options, std::uint64_t& bad_so_far,
                             const std::function<void(const Document&)>& deliver,
                             const std::function<void(std::uint64_t)>& progress) {
    const SourceKind kind = source_kind_of(file);
    const bool pipe = is_pipe(file);
    DigestStream digest;
    const auto blocks = open_blocks(file, kind, {source_index}, options, pipe ? &digest : nullptr);
    BlockParser parser(options);
    DocumentBlock block;
    SourceSummary summary;
    summary.name = file.string();
    std::uint64_t position = 0;
    while (blocks->next(block)) {
        const BlockCounts counts = parser.parse(block, summary.name, deliver);
        summary.documents += counts.documents;
        summary.empty += counts.empty;
        summary.repaired += counts.repaired;
        summary.bad_lines += counts.bad.size();
        bad_so_far += counts.bad.size();
        if (bad_so_far > options.skip_bad_max) {
            const std::uint64_t too_many = bad_so_far - options.skip_bad_max;
            const BadDocument& bad = counts.bad[counts.bad.size() - too_many];
            throw Error(ErrorCode::corrupt_data,
                        bad_document_message(file, kind, bad.offset, bad.problem, options));
        }
        position = block.file_position;
        if (progress) progress(position);
    }
    const SourceIdentity identity =
        pipe ? SourceIdentity{position, digest.value()} : identify_source(file, kind);
    summary.bytes = identity.bytes;
    summary.digest = identity.digest;
    if (progress && position != summary.bytes) progress(summary.bytes);
    return summary;
}

std::string bad_document_message(const std::filesystem::path& file, const SourceKind& kind,
                                 std::uint64_t offset, const std::string& problem,
                                 const DocumentOptions& options) {
    std::string message = file.string() + ":";
    if (kind.is_table()) {
        message += " row " + std::to_string(offset);
    } else if (is_pipe(file)) {
        message += " byte " + std::to_string(offset);
    } else {
        message += std::to_string(line_number_at(file, kind.compression, offset, options.expansion_max));
    }
    message += ": " + problem;
    if (options.skip_bad_max > 0)
        message += " (--skip-bad " + std::to_string(options.skip_bad_max) + " is used up)";
    return message;
}

std::uint64_t bytes_of_source(const std::filesystem::path& path) {
    std::uint64_t bytes = 0;
    for (const std::filesystem::path& file : files_of_source(path, source_kind_of(path))) {
        std::error_code absent;
        const std::uint64_t size = std::filesystem::file_size(file, absent);
        if (!absent) bytes += size;
    }
    return bytes;
}

SourceIdentity identify_source(const std::filesystem::path& path, const SourceKind& kind) {
    DigestStream digest;
    SourceIdentity identity;
    for (const std::filesystem::path& part : files_of_source(path, kind)) {
        PosixFile file = open_source(part);
        identity.bytes += digest_rest(file, digest);
    }
    identity.digest = digest.value();
    return identity;
}

}  // namespace lockstep
