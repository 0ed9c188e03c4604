#include "coordinator/ingest/assembly.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>

#include "coordinator/ingest/piece_work.h"
#include "io/base/error.h"
#include "io/corpus/corpus_format.h"
#include "io/corpus/digest_share.h"
#include "io/files/commit_hook.h"
#include "io/files/directory.h"

namespace lockstep {

namespace {

/// What stays in a core's cache from one step of the copy to the next.
constexpr std::size_t copy_bytes = std::size_t{256} << 10U;

/// Where a sample goes.
enum class Destination : std::uint8_t { corpus, validation, nowhere };

struct DigestHash {
    std::size_t operator()(const Digest& digest) const { return digest.low; }
};

class Assembly {
  public:
    Assembly(const IngestJob& job, const std::function<std::filesystem::path(std::size_t)>& piece_path,
             std::optional<CorpusTokens> tokens, std::vector<SourceIdentity> identities,
             const IngestOutputs& outputs, int threads,
             const std::function<void(const IngestTotals&)>& when_ready)
        : job_(job),
          type_(corpus_format::token_type(job.tokenizer_record.vocabulary_size)),
          piece_path_(piece_path),
          tokens_(std::move(tokens)),
          identities_(std::move(identities)),
          threads_(threads),
          when_ready_(when_ready),
          validation_share_(job.filter.validation_share),
          corpus_(outputs.corpus, job.tokenizer_record, outputs.corpus_overwrite()) {
        totals_.tokenizer = job.tokenizer_record.fingerprint;
        totals_.vocabulary_size = job.tokenizer_record.vocabulary_size;
        if (job.filter.validation_share > 0)
            validation_.emplace(outputs.validation, job.tokenizer_record, outputs.validation_overwrite());
        for (const IngestSource& source : job.sources) {
            add_source({source.name, 0, {}});
        }
    }

    IngestTotals run() {
        destinations_.resize(job_.pieces.size());
        for (std::size_t piece = 0; piece < job_.pieces.size(); ++piece) sort_out(piece);
        for (std::uint32_t i = 0; i < identities_.size(); ++i) {
            const SourceFile source{job_.sources[i].name, identities_[i].bytes, identities_[i].digest};
            corpus_.set_source(i, source);
            if (validation_) validation_->set_source(i, source);
            totals_.source_bytes += identities_[i].bytes;
        }
        corpus_.count_left_out("bad_line", totals_.bad);
        corpus_.count_left_out("duplicate", totals_.duplicates);
        corpus_.count_left_out("empty", totals_.counts.empty);
        corpus_.count_left_out("too_short", totals_.counts.too_short);
        corpus_.count_left_out("too_long", totals_.counts.too_long);
        if (kept_[0] + kept_[1] == 0) {
            throw Error(ErrorCode::invalid_argument,
                        "no documents were found; a corpus needs at least one (check -d, --document, "
                        "--text-field and the length filters)");
        }
        require_both_filled();
        publish();
        return totals_;
    }

  private:
    void add_source(const SourceFile& source) {
        corpus_.add_source(source);
        if (validation_) validation_->add_source(source);
    }

    void sort_out(std::size_t piece) {
        const PieceFile file(piece_path_(piece), type_);
        const PieceSamples& samples = file.samples();
        count_bad(samples);
        totals_.counts += samples.counts;
        for (std::size_t i = 0; i < samples.pipe_source.size(); ++i) {
            identities_[samples.pipe_source[i]] = {
                samples.pipe_identity[3 * i],
                Digest{samples.pipe_identity[3 * i + 1], samples.pipe_identity[3 * i + 2]}};
        }
        std::vector<Destination>& destinations = destinations_[piece];
        destinations.reserve(samples.size());
        std::size_t key_begin = 0;
        std::size_t span_begin = 0;
        for (std::size_t i = 0; i < samples.size(); ++i) {
            StoredSample sample;
            sample.num_tokens = samples.tokens[i];
            sample.has_loss_spans = samples.num_spans[i] != PieceSamples::no_spans;
            spans_.clear();
            for (std::uint32_t s = 0; sample.has_loss_spans && s < samples.num_spans[i]; ++s, span_begin += 2)
                spans_.push_back({samples.spans[span_begin], samples.spans[span_begin + 1]});
            sample.loss_spans = spans_;
            sample.key = {samples.keys.data() + key_begin, samples.key_bytes[i]};
            key_begin += samples.key_bytes[i];
            if (!samples.scores.empty()) sample.score = samples.scores[i];
            sample.source_index = samples.source_index[i];
            sample.source_offset = samples.source_offset[i];
            sample.source_digest = {samples.source_digest[2 * i], samples.source_digest[2 * i + 1]};
            destinations.push_back(
                destination_of({samples.text_digest[2 * i], samples.text_digest[2 * i + 1]}));
            deliver(destinations.back(), sample);
        }
    }

    /// By the text alone, so that repetitions of one never stand on both sides.
    Destination destination_of(const Digest& text) {
        if (job_.filter.dedup && !seen_.insert(text).second) {
            ++totals_.duplicates;
            return Destination::nowhere;
        }
        return validation_share_.contains(text) ? Destination::validation : Destination::corpus;
    }

    void deliver(Destination destination, const StoredSample& sample) {
        if (destination == Destination::nowhere) return;
        ++kept_[static_cast<std::size_t>(destination)];
        if (validation_) refuse_key_of_both(sample);
        (destination == Destination::corpus ? corpus_ : *validation_).add_stored(sample);
    }

    /// Within one corpus its writer finds repeated ids.
    void refuse_key_of_both(const StoredSample& sample) {
        if (sample.key.empty()) return;
        const Digest key = digest_of(std::as_bytes(std::span(sample.key.data(), sample.key.size())));
        if (keys_.insert(key).second) return;
        throw Error(ErrorCode::corrupt_data,
                    "'" + job_.sources[sample.source_index].name + "' at " +
                        std::to_string(sample.source_offset) + ": the id '" + std::string(sample.key) +
                        "' stands further up already; ids name one sample each, see --key-field");
    }

    void count_bad(const PieceSamples& samples) {
        std::size_t text_begin = 0;
        for (std::size_t i = 0; i < samples.bad_source.size(); ++i) {
            const IngestSource& source = job_.sources[samples.bad_source[i]];
            const std::string problem(samples.bad_problems.data() + text_begin, samples.bad_bytes[i]);
            text_begin += samples.bad_bytes[i];
            if (++totals_.bad > job_.document.skip_bad_max) {
                throw Error(ErrorCode::corrupt_data,
                            bad_document_message(source.name, source.kind, samples.bad_offset[i], problem,
                                                 job_.document));
            }
        }
    }

    void require_both_filled() const {
        if (!validation_ || (kept_[0] != 0 && kept_[1] != 0)) return;
        throw Error(ErrorCode::invalid_argument,
                    "a validation share of " + std::to_string(job_.filter.validation_share) + " of " +
                        std::to_string(kept_[0] + kept_[1]) +
                        " documents leaves one of the two corpora empty; choose another share");
    }

    void publish() {
        const std::string record = ingest_record_of(job_.document, job_.policy);
        std::vector<std::filesystem::path> temporaries;
        if (validation_) {
            validation_->set_ingest_record(record);
            totals_.validation = validation_->prepare(
                [this](const CorpusWriter::TokenSink& sink) { copy_tokens(Destination::validation, sink); },
                threads_);
            temporaries.push_back(validation_->prepared_path());
        }
        corpus_.set_ingest_record(record);
        totals_.corpus =
            tokens_
                ? corpus_.prepare(*std::exchange(tokens_, std::nullopt), threads_)
                : corpus_.prepare(
                      [this](const CorpusWriter::TokenSink& sink) { copy_tokens(Destination::corpus, sink); },
                      threads_);
        temporaries.push_back(corpus_.prepared_path());
        // A full disk may show only now; one of two is half an output.
        sync_together(temporaries);
        when_ready_(totals_);
        if (validation_) {
            const CommitScope scope("validation");
            validation_->publish_prepared();
        }
        const CommitScope scope("corpus");
        corpus_.publish_prepared();
    }

    void copy_tokens(Destination destination, const CorpusWriter::TokenSink& sink) {
        for (std::size_t piece = 0; piece < job_.pieces.size(); ++piece) {
            PieceFile file(piece_path_(piece), type_);
            copy_piece(file, destinations_[piece], destination, sink);
            if (destination == Destination::corpus) file.forget();  // The last to be copied.
        }
    }

    /// The whole piece is read, so that its digest can be compared.
    void copy_piece(const PieceFile& file, const std::vector<Destination>& destinations,
                    Destination destination, const CorpusWriter::TokenSink& sink) {
        const std::size_t token_bytes = column_type_bytes(type_);
        DigestStream digest;
        std::uint64_t offset = 0;
        for (std::size_t i = 0; i < destinations.size();) {
            std::uint64_t bytes = 0;
            const Destination run = destinations[i];
            for (; i < destinations.size() && destinations[i] == run; ++i)
                bytes += file.samples().tokens[i] * token_bytes;
            while (bytes != 0) {
                buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, copy_bytes)));
                file.read(offset, buffer_);
                digest.update(buffer_);
                if (run == destination) sink(buffer_);
                offset += buffer_.size();
                bytes -= buffer_.size();
            }
        }
        if (digest.value() != file.token_digest()) refuse_damaged_pieces();
    }

    /// What changed one piece may have changed others: all such go, so that the next start makes them anew.
    [[noreturn]] void refuse_damaged_pieces() {
        std::string first;
        std::size_t count = 0;
        for (std::size_t piece = 0; piece < job_.pieces.size(); ++piece) {
            const PieceFile file(piece_path_(piece), type_);
            const Digest found = file.token_digest_found();
            if (found == file.token_digest()) continue;
            if (++count == 1) {
                first = "'" + piece_path_(piece).string() + "': its tokens have digest " + found.hex() +
                        ", expected " + file.token_digest().hex();
            }
            remove_file(piece_path_(piece));
        }
        if (count == 0)
            throw Error(ErrorCode::io_failure,
                        "a piece of this ingest read back as other bytes, and when read again as its own; "
                        "check the memory and the disk, then start it again");
        throw Error(ErrorCode::io_failure,
                    first + " (" + std::to_string(count) +
                        " piece(s) of this ingest are damaged and now removed); start it again" +
                        (job_.has_pipe() ? ", with the pipe" : ", the others are kept"));
    }

    const IngestJob& job_;
    ColumnType type_;
    const std::function<std::filesystem::path(std::size_t)>& piece_path_;
    std::optional<CorpusTokens> tokens_;
    std::vector<SourceIdentity> identities_;
    int threads_;
    const std::function<void(const IngestTotals&)>& when_ready_;
    DigestShare validation_share_;
    CorpusWriter corpus_;
    std::optional<CorpusWriter> validation_;
    std::vector<std::vector<Destination>> destinations_;
    std::unordered_set<Digest, DigestHash> seen_, keys_;
    std::uint64_t kept_[2] = {0, 0};
    std::vector<LossSpan> spans_;
    std::vector<std::byte> buffer_;
    IngestTotals totals_;
};

}  // namespace

IngestTotals assemble(const IngestJob& job,
                      const std::function<std::filesystem::path(std::size_t)>& piece_path,
                      std::optional<CorpusTokens> tokens, std::vector<SourceIdentity> identities,
                      const IngestOutputs& outputs, int threads,
                      const std::function<void(const IngestTotals&)>& when_ready) {
    return Assembly(job, piece_path, std::move(tokens), std::move(identities), outputs, threads, when_ready)
        .run();
}

}  // namespace lockstep
