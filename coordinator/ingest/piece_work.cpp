#include "coordinator/ingest/piece_work.h"

#include <algorithm>
#include <deque>
#include <optional>

#include "coordinator/ingest/tokenize_document.h"
#include "io/base/error.h"
#include "io/base/large_pages.h"
#include "io/base/ordered_work.h"
#include "io/corpus/corpus_format.h"
#include "io/corpus/ingest_piece.h"
#include "io/documents/block_parser.h"
#include "io/documents/document_reader.h"
#include "io/files/atomic_file.h"

namespace lockstep {

namespace {

/// The samples of one block.
struct Batch {
    PieceSamples samples;
    LargeVector<std::byte> tokens;  ///< As stored.
};

/// What one thread keeps from block to block; in cache lines of its own, since `ids` grows at every token.
struct alignas(128) Bench {
    BlockParser parser;
    std::vector<std::uint32_t> ids;
};

class BatchMaker {
  public:
    BatchMaker(const IngestJob& job, Bench& bench, const DocumentBlock& block)
        : job_(job), tokenizer_(*job.tokenizer), bench_(bench), block_(block) {
        two_bytes_ = corpus_format::token_type(tokenizer_.vocabulary_size()) == ColumnType::u16;
    }

    Batch make() {
        const std::string& source = job_.sources[block_.source_index].name;
        batch_.tokens.reserve(block_.bytes.size() * (two_bytes_ ? 2 : 4) / 2);
        const BlockCounts counts =
            bench_.parser.parse(block_, source, [this](const Document& document) { add(document); });
        batch_.samples.counts.empty += counts.empty;
        batch_.samples.counts.repaired += counts.repaired;
        for (const BadDocument& bad : counts.bad) {
            batch_.samples.bad_source.push_back(block_.source_index);
            batch_.samples.bad_offset.push_back(bad.offset);
            batch_.samples.bad_bytes.push_back(static_cast<std::uint32_t>(bad.problem.size()));
            auto& problems = batch_.samples.bad_problems;
            problems.insert(problems.end(), bad.problem.begin(), bad.problem.end());
        }
        return std::move(batch_);
    }

  private:
    void add(const Document& document) {
        const SampleFilter& filter = job_.filter;
        if (!document.has_tokens && document.text.size() < filter.text_bytes_min) {
            ++batch_.samples.counts.too_short;
            return;
        }
        if (!document.has_tokens && document.text.size() > filter.text_bytes_max) {
            ++batch_.samples.counts.too_long;
            return;
        }
        const TokenizedDocument item = tokenize(document);
        if (item.tokens.size() < filter.tokens_min) {
            ++batch_.samples.counts.too_short;
        } else if (item.tokens.size() > filter.tokens_max) {
            ++batch_.samples.counts.too_long;
        } else {
            keep(document, item);
        }
    }

    TokenizedDocument tokenize(const Document& document) {
        const TokenizedDocument item = tokenize_document(tokenizer_, job_.policy, document, bench_.ids);
        if (item.tokens.size() >> 32U != 0) refuse(document, "has 2^32 tokens or more; divide it");
        if (!document.has_tokens || item.tokens.empty()) return item;
        const std::uint32_t greatest = std::ranges::max(item.tokens);
        if (greatest >= tokenizer_.vocabulary_size()) {
            refuse(document, "holds token id " + std::to_string(greatest) + ", beyond the vocabulary of " +
                                 std::to_string(tokenizer_.vocabulary_size()) +
                                 "; name the tokenizer that made it with -t");
        }
        return item;
    }

    [[noreturn]] void refuse(const Document& document, const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data, "'" + job_.sources[block_.source_index].name + "': document " +
                                                 std::to_string(document.source_offset) + " " + problem);
    }

    void keep(const Document& document, const TokenizedDocument& item) {
        PieceSamples& samples = batch_.samples;
        samples.tokens.push_back(static_cast<std::uint32_t>(item.tokens.size()));
        samples.source_index.push_back(document.source_index);
        samples.source_offset.push_back(document.source_offset);
        put_digest(samples.source_digest, document.digest);
        put_digest(samples.text_digest,
                   document.has_tokens
                       ? document.digest
                       : digest_of(std::as_bytes(std::span(document.text.data(), document.text.size()))));
        samples.key_bytes.push_back(static_cast<std::uint32_t>(document.key.size()));
        samples.keys.insert(samples.keys.end(), document.key.begin(), document.key.end());
        if (document.score) samples.scores.push_back(*document.score);
        put_spans(item);
        put_tokens(item.tokens);
    }

    static void put_digest(std::vector<std::uint64_t>& words, const Digest& digest) {
        words.push_back(digest.low);
        words.push_back(digest.high);
    }

    void put_spans(const TokenizedDocument& item) {
        PieceSamples& samples = batch_.samples;
        samples.num_spans.push_back(item.has_loss_spans ? static_cast<std::uint32_t>(item.loss_spans.size())
                                                        : PieceSamples::no_spans);
        for (const LossSpan& span : item.loss_spans) {
            samples.spans.push_back(span.begin);
            samples.spans.push_back(span.end);
        }
    }

    void put_tokens(std::span<const std::uint32_t> tokens) {
        const std::size_t before = batch_.tokens.size();
        batch_.tokens.resize(before + tokens.size() * (two_bytes_ ? 2 : 4));
        std::byte* const to = batch_.tokens.data() + before;
        if (two_bytes_) {
            std::ranges::transform(tokens, reinterpret_cast<std::uint16_t*>(to),
                                   [](std::uint32_t token) { return static_cast<std::uint16_t>(token); });
        } else {
            std::ranges::copy(tokens, reinterpret_cast<std::uint32_t*>(to));
        }
    }

    const IngestJob& job_;
    const Tokenizer& tokenizer_;
    Bench& bench_;
    const DocumentBlock& block_;
    Batch batch_;
    bool two_bytes_ = true;
};

/// More bad documents in one piece than are tolerated in all.
void refuse_too_many_bad(const IngestJob& job, const PieceSamples& samples) {
    const std::uint64_t most = job.document.skip_bad_max;
    if (samples.bad_source.size() <= most) return;
    std::size_t text_begin = 0;
    for (std::size_t i = 0; i < most; ++i) text_begin += samples.bad_bytes[i];
    const IngestSource& source = job.sources[samples.bad_source[most]];
    const std::string problem(samples.bad_problems.data() + text_begin, samples.bad_bytes[most]);
    throw Error(
        ErrorCode::corrupt_data,
        bad_document_message(source.name, source.kind, samples.bad_offset[most], problem, job.document));
}

/// A piece on its way: its blocks are taken in the order in which they were given.
struct OpenPiece {
    std::filesystem::path file;
    PieceSamples of_pipes;             ///< What is known of pipes once they are read.
    std::uint64_t blocks_pending = 0;  ///< Given and not taken.
    bool is_read = false;
};

/// A source as far as its blocks came without a gap, from its beginning.
struct SourceSoFar {
    std::uint32_t source_index = 0;
    std::uint64_t bytes = 0;
    DigestStream digest;
};

}  // namespace

class PieceWork::State {
  public:
    State(const IngestJob& job, int threads, CorpusTokens* corpus)
        : job_(job),
          corpus_(corpus),
          work_(
              threads,
              [this](DocumentBlock& block, int thread) {
                  return BatchMaker(job_, benches_[static_cast<std::size_t>(thread)], block).make();
              },
              SingleThread::beside_caller) {
        for (int i = 0; i < threads; ++i) benches_.push_back({BlockParser(job.document), {}});
    }
    ~State() {
        if (!writer_) return;
        writer_.reset();
        std::error_code ignored;
        std::filesystem::remove(temporary_path(open_.front().file), ignored);
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    void add(const IngestPiece& piece, const std::filesystem::path& file,
             const std::function<void(std::uint64_t)>& progress) {
        OpenPiece& opened = open_.emplace_back();
        opened.file = file;
        std::uint64_t spans_before = 0;
        for (const SourceSpan& span : piece) {
            const std::uint64_t begin = job_.sources[span.source_index].kind.is_table() ? 0 : span.begin;
            read(span, opened, [&](std::uint64_t position) {
                progress(spans_before + std::min(position - std::min(begin, position), job_.bytes_of(span)));
            });
            spans_before += job_.bytes_of(span);
        }
        opened.is_read = true;
        finish_complete();
    }

    void finish() {
        while (!work_.empty()) take();
    }

    const std::vector<IdentifiedSource>& identified() const { return identified_; }

  private:
    /// What reading throws comes after what is wrong in blocks read earlier: as with one thread.
    template <class Read>
    auto after_earlier_errors(const Read& read) {
        try {
            return read();
        } catch (...) {
            finish();
            throw;
        }
    }

    void read(const SourceSpan& span, OpenPiece& piece,
              const std::function<void(std::uint64_t position)>& progress) {
        const IngestSource& source = job_.sources[span.source_index];
        DigestStream whole;
        const auto blocks = after_earlier_errors([&] {
            return open_blocks(source.name, source.kind, span, job_.document,
                               source.is_pipe ? &whole : nullptr);
        });
        std::uint64_t position = 0;
        DocumentBlock block;
        while (after_earlier_errors([&] { return blocks->next(block); })) {
            position = block.file_position;
            if (work_.full()) take();
            ++piece.blocks_pending;
            follow(block);
            work_.give(std::move(block));
            progress(position);
        }
        if (!source.is_pipe) return;
        piece.of_pipes.pipe_source.push_back(span.source_index);
        for (const std::uint64_t word : {position, whole.value().low, whole.value().high})
            piece.of_pipes.pipe_identity.push_back(word);
    }

    /// The blocks of a plain file are its bytes, but for a byte order mark, which makes a gap as a piece of
    /// an earlier start does.
    void follow(const DocumentBlock& block) {
        const IngestSource& source = job_.sources[block.source_index];
        if (source.is_pipe || source.kind.is_table() || source.kind.compression != Compression::none) return;
        if (so_far_.source_index != block.source_index) so_far_ = {block.source_index, 0, {}};
        if (block.offset != so_far_.bytes) return;
        const std::string_view text = block.text();
        so_far_.digest.update(std::as_bytes(std::span(text.data(), text.size())));
        so_far_.bytes += text.size();
        if (so_far_.bytes == source.bytes)
            identified_.push_back({block.source_index, {so_far_.bytes, so_far_.digest.value()}});
    }

    /// The oldest block, of the oldest piece.
    void take() {
        const Batch batch = work_.take();
        PieceWriter& writer = front_writer();
        writer.append(batch.tokens, batch.samples);
        refuse_too_many_bad(job_, writer.samples());
        --open_.front().blocks_pending;
        finish_complete();
    }

    PieceWriter& front_writer() {
        if (!writer_)
            writer_.emplace(open_.front().file, corpus_format::token_type(job_.tokenizer->vocabulary_size()),
                            corpus_);
        return *writer_;
    }

    void finish_complete() {
        while (!open_.empty() && open_.front().is_read && open_.front().blocks_pending == 0) {
            PieceWriter& writer = front_writer();
            writer.append({}, open_.front().of_pipes);
            writer.finish();
            writer_.reset();
            open_.pop_front();
        }
    }

    const IngestJob& job_;
    CorpusTokens* corpus_;
    std::vector<Bench> benches_;
    SourceSoFar so_far_;
    std::vector<IdentifiedSource> identified_;
    std::deque<OpenPiece> open_;
    std::optional<PieceWriter> writer_;  ///< Of the oldest.
    OrderedWork<DocumentBlock, Batch> work_;
};

PieceWork::PieceWork(const IngestJob& job, int threads, CorpusTokens* corpus)
    : state_(std::make_unique<State>(job, threads, corpus)) {}

PieceWork::~PieceWork() = default;

void PieceWork::add(const IngestPiece& piece, const std::filesystem::path& file,
                    const std::function<void(std::uint64_t)>& progress) {
    state_->add(piece, file, progress);
}

void PieceWork::finish() {
    state_->finish();
}

const std::vector<IdentifiedSource>& PieceWork::identified() const {
    return state_->identified();
}

}  // namespace lockstep
