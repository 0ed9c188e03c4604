#include "io/corpus/ingest_piece.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/commit_hook.h"
#include "io/files/directory.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

constexpr std::uint64_t magic = 0x3445434549505453;  // "STPIECE4"
constexpr std::size_t read_bytes = std::size_t{256} << 10U;

/// The last bytes of the file.
struct Trailer {
    std::uint64_t magic = 0;
    std::uint64_t token_bytes = 0;  ///< Of one token.
    std::uint64_t num_tokens = 0;
    std::uint64_t place_in_corpus = 0;  ///< 0: the tokens are in front of the columns.
    std::uint64_t columns_bytes = 0;    ///< In front of the trailer.
    PieceCounts counts;
    Digest tokens, columns;
    Digest self;  ///< Of the trailer in front of it.
};

Digest digest_of_head(const Trailer& trailer) {
    return digest_of(std::as_bytes(std::span(&trailer, 1)).first(sizeof(Trailer) - sizeof(Digest)));
}

/// Calls `use` with every vector, in the order of the file.
template <class Samples, class Use>
void each_column(Samples& samples, Use use) {
    use(samples.tokens);
    use(samples.source_index);
    use(samples.source_offset);
    use(samples.source_digest);
    use(samples.text_digest);
    use(samples.key_bytes);
    use(samples.keys);
    use(samples.scores);
    use(samples.num_spans);
    use(samples.spans);
    use(samples.bad_source);
    use(samples.bad_offset);
    use(samples.bad_bytes);
    use(samples.bad_problems);
    use(samples.pipe_source);
    use(samples.pipe_identity);
}

template <class T>
void add_to(std::vector<T>& all, const std::vector<T>& more) {
    all.insert(all.end(), more.begin(), more.end());
}

}  // namespace

PieceCounts& PieceCounts::operator+=(const PieceCounts& more) {
    empty += more.empty;
    too_short += more.too_short;
    too_long += more.too_long;
    repaired += more.repaired;
    return *this;
}

void PieceSamples::append(const PieceSamples& more) {
    add_to(tokens, more.tokens);
    add_to(source_index, more.source_index);
    add_to(source_offset, more.source_offset);
    add_to(source_digest, more.source_digest);
    add_to(text_digest, more.text_digest);
    add_to(key_bytes, more.key_bytes);
    add_to(keys, more.keys);
    add_to(scores, more.scores);
    add_to(num_spans, more.num_spans);
    add_to(spans, more.spans);
    add_to(bad_source, more.bad_source);
    add_to(bad_offset, more.bad_offset);
    add_to(bad_bytes, more.bad_bytes);
    add_to(bad_problems, more.bad_problems);
    add_to(pipe_source, more.pipe_source);
    add_to(pipe_identity, more.pipe_identity);
    counts += more.counts;
}

std::filesystem::path corpus_tokens_path(const std::filesystem::path& piece) {
    return piece.parent_path() / "tokens";
}

struct PieceWriter::State {
    std::filesystem::path path;
    PosixFile file;
    CorpusTokens* corpus;
    Trailer trailer;
    DigestStream tokens;
    PieceSamples samples;

    State(const std::filesystem::path& where, ColumnType type, CorpusTokens* corpus_tokens)
        : path(where), file(temporary_path(where), O_WRONLY | O_CREAT | O_TRUNC), corpus(corpus_tokens) {
        trailer.magic = magic;
        trailer.token_bytes = column_type_bytes(type);
        if (corpus != nullptr) trailer.place_in_corpus = corpus->file_position();
    }
};

PieceWriter::PieceWriter(const std::filesystem::path& path, ColumnType token_type, CorpusTokens* corpus)
    : state_(std::make_unique<State>(path, token_type, corpus)) {}

PieceWriter::~PieceWriter() = default;

void PieceWriter::append(std::span<const std::byte> tokens, const PieceSamples& samples) {
    if (state_->corpus != nullptr) {
        state_->corpus->append(tokens);
    } else {
        state_->file.write(tokens);
    }
    state_->tokens.update(tokens);
    state_->trailer.num_tokens += tokens.size() / state_->trailer.token_bytes;
    state_->samples.append(samples);
}

PieceSamples& PieceWriter::samples() {
    return state_->samples;
}

void PieceWriter::finish() {
    const CommitScope scope("piece");
    DigestStream columns;
    const auto put = [&](std::span<const std::byte> bytes) {
        state_->file.write(bytes);
        columns.update(bytes);
        state_->trailer.columns_bytes += bytes.size();
    };
    each_column(state_->samples, [&](const auto& column) {
        const std::uint64_t count = column.size();
        put(std::as_bytes(std::span(&count, 1)));
        put(std::as_bytes(std::span(column)));
    });
    state_->trailer.tokens = state_->tokens.value();
    state_->trailer.columns = columns.value();
    state_->trailer.counts = state_->samples.counts;
    state_->trailer.self = digest_of_head(state_->trailer);
    state_->file.write(std::as_bytes(std::span(&state_->trailer, 1)));
    if (state_->corpus != nullptr) {
        state_->corpus->flush();
    } else {
        // So that its memory can be had again once it is in the corpus (PieceFile::forget).
        state_->file.begin_sync(0, state_->trailer.num_tokens * state_->trailer.token_bytes);
    }
    state_->file.close();
    commit_point("written");
    rename_path(temporary_path(state_->path), state_->path);
    commit_point("renamed");
}

struct PieceFile::State {
    PosixFile file;
    std::optional<PosixFile> corpus;  ///< With the tokens, if they are not in the piece.
    Trailer trailer;
    PieceSamples samples;

    State(const std::filesystem::path& path, ColumnType type) : file(path, O_RDONLY) {
        const std::uint64_t bytes = file.size();
        if (bytes < sizeof(Trailer)) corrupt();
        file.read_at(bytes - sizeof(Trailer), std::as_writable_bytes(std::span(&trailer, 1)));
        const bool in_corpus = trailer.place_in_corpus != 0;
        const std::uint64_t own_token_bytes = in_corpus ? 0 : token_bytes();
        if (trailer.magic != magic || trailer.self != digest_of_head(trailer) ||
            trailer.token_bytes != column_type_bytes(type) ||
            bytes != own_token_bytes + trailer.columns_bytes + sizeof(Trailer)) {
            corrupt();
        }
        if (in_corpus) open_corpus();
        std::vector<std::byte> columns(trailer.columns_bytes);
        file.read_at(own_token_bytes, columns);
        if (digest_of(columns) != trailer.columns) corrupt();
        samples.counts = trailer.counts;
        std::size_t at = 0;
        each_column(samples, [&](auto& column) {
            std::uint64_t count = 0;
            if (columns.size() - at < sizeof count) corrupt();
            std::memcpy(&count, columns.data() + at, sizeof count);
            at += sizeof count;
            if (count > (columns.size() - at) / sizeof column[0]) corrupt();
            column.resize(count);
            if (count != 0) std::memcpy(column.data(), columns.data() + at, count * sizeof column[0]);
            at += count * sizeof column[0];
        });
        if (at != columns.size()) corrupt();
        if (!samples.scores.empty() && samples.scores.size() != samples.size()) corrupt();
    }

    std::uint64_t token_bytes() const { return trailer.num_tokens * trailer.token_bytes; }

    void open_corpus() {
        const std::filesystem::path path = corpus_tokens_path(file.path());
        if (!path_exists(path)) corrupt();
        corpus.emplace(path, O_RDONLY);
        if (token_bytes() != 0 && corpus->size() < trailer.place_in_corpus + token_bytes()) corrupt();
    }

    [[noreturn]] void corrupt() const {
        throw Error(ErrorCode::corrupt_data,
                    "'" + file.path().string() +
                        "' of an interrupted ingest is damaged; remove its folder and ingest again");
    }
};

PieceFile::PieceFile(const std::filesystem::path& path, ColumnType token_type)
    : state_(std::make_unique<State>(path, token_type)) {}

PieceFile::~PieceFile() = default;
PieceFile::PieceFile(PieceFile&&) noexcept = default;

std::optional<PieceFile> PieceFile::find(const std::filesystem::path& path, ColumnType token_type) {
    std::error_code absent;
    if (!std::filesystem::exists(path, absent)) return std::nullopt;
    try {
        return PieceFile(path, token_type);
    } catch (const Error& error) {
        // What cannot be read just now may be there the next time.
        if (error.code() == ErrorCode::io_failure) throw;
        return std::nullopt;
    }
}

const PieceSamples& PieceFile::samples() const {
    return state_->samples;
}
std::uint64_t PieceFile::num_tokens() const {
    return state_->trailer.num_tokens;
}
Digest PieceFile::token_digest() const {
    return state_->trailer.tokens;
}

std::optional<std::uint64_t> PieceFile::place_in_corpus() const {
    if (!state_->corpus) return std::nullopt;
    return state_->trailer.place_in_corpus;
}

Digest PieceFile::token_digest_found() const {
    std::vector<std::byte> buffer;
    DigestStream digest;
    const std::uint64_t bytes = state_->token_bytes();
    for (std::uint64_t offset = 0; offset < bytes; offset += buffer.size()) {
        buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(bytes - offset, read_bytes)));
        read(offset, buffer);
        digest.update(buffer);
    }
    return digest.value();
}

void PieceFile::read(std::uint64_t byte_offset, std::span<std::byte> into) const {
    if (state_->corpus) {
        state_->corpus->read_at(state_->trailer.place_in_corpus + byte_offset, into);
    } else {
        state_->file.read_at(byte_offset, into);
    }
}

void PieceFile::forget() {
    if (!state_->corpus) state_->file.forget();
}

}  // namespace lockstep
