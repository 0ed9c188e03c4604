#include "io/corpus/corpus_tokens.h"

#include <fcntl.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "io/corpus/corpus_format.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

FirstColumn token_column(std::uint64_t vocabulary_size) {
    return {std::string(corpus_format::format), corpus_format::version,
            std::string(corpus_format::columns::tokens), corpus_format::token_type(vocabulary_size)};
}

}  // namespace

struct CorpusTokens::State {
    EarlyColumn column;
    TokenColumn content;  ///< The column is written at once, not when a thread has looked at it.

    State(const std::filesystem::path& file, std::uint64_t vocabulary_size, std::uint64_t kept_bytes,
          int threads)
        : column(file, token_column(vocabulary_size), kept_bytes),
          content(corpus_format::token_type(vocabulary_size), std::numeric_limits<std::uint64_t>::max(),
                  threads, [](std::span<const std::byte>) {}) {
        std::vector<std::byte> buffer(
            static_cast<std::size_t>(std::min<std::uint64_t>(kept_bytes, std::uint64_t{256} << 10U)));
        for (std::uint64_t at = 0; at < kept_bytes; at += buffer.size()) {
            buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kept_bytes - at, buffer.size())));
            column.read(at, buffer);
            append(buffer);
        }
    }

    void append(std::span<const std::byte> tokens) {
        column.append(tokens);
        content.append(tokens);
    }
};

CorpusTokens::CorpusTokens(const std::filesystem::path& file, std::uint64_t vocabulary_size,
                           std::uint64_t kept_bytes, int threads)
    : state_(std::make_unique<State>(file, vocabulary_size, kept_bytes, threads)) {}

CorpusTokens::~CorpusTokens() = default;
CorpusTokens::CorpusTokens(CorpusTokens&&) noexcept = default;

std::uint64_t CorpusTokens::file_offset(const std::filesystem::path& file, std::uint64_t vocabulary_size) {
    return ColumnFileWriter::offset_of_first_column(PosixFile(file, O_RDWR), token_column(vocabulary_size));
}

std::uint64_t CorpusTokens::file_position() const {
    return state_->column.file_offset() + state_->column.bytes();
}

void CorpusTokens::append(std::span<const std::byte> tokens) {
    state_->append(tokens);
}

void CorpusTokens::flush() {
    state_->column.flush();
}

TokenColumn::Content CorpusTokens::finish() {
    return state_->content.finish();
}

EarlyColumn CorpusTokens::take_column() && {
    return std::move(state_->column);
}

}  // namespace lockstep
