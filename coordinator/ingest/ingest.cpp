#include "coordinator/ingest/ingest.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "coordinator/ingest/long_work.h"
#include "coordinator/ingest/piece_work.h"
#include "coordinator/ingest/publication_record.h"
#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/base/ordered_work.h"
#include "io/comm/agreement.h"
#include "io/corpus/corpus_format.h"
#include "io/corpus/ingest_piece.h"
#include "io/files/commit_hook.h"
#include "io/files/directory.h"
#include "io/files/folder_lock.h"

namespace lockstep {

namespace {

std::filesystem::path piece_path(const std::filesystem::path& folder, std::size_t piece) {
    char name[32];
    std::snprintf(name, sizeof name, "piece-%08zu", piece);
    return folder / name;
}

bool keeps_work(ErrorCode code) {
    return code == ErrorCode::io_failure || code == ErrorCode::peer_lost || code == ErrorCode::stopped ||
           code == ErrorCode::environment;
}

/// Rank 0's hold on the work folder.
class WorkFolder {
  public:
    /// Pieces that an earlier start left behind are kept if they are what this job would make.
    WorkFolder(const std::filesystem::path& folder, const std::string& pieces, bool resumable)
        : folder_(folder) {
        create_directories_durably(folder_);
        lock_.emplace(folder_);
        const std::filesystem::path job_path = folder_ / "job.json";
        if (resumable && path_exists(job_path) && read_file(job_path) == pieces) return;
        for (const auto& entry : directory_entries(folder_)) {
            if (entry.filename() != "LOCK") remove_file(entry);
        }
        write_file_atomically(job_path, pieces, Overwrite::yes);
    }
    /// The pieces go first: as long as there is a job to go on with, so is the record of its outputs.
    void remove() {
        std::error_code ignored;
        for (const auto& entry : directory_entries(folder_)) {
            if (entry.filename().string().starts_with("piece-")) std::filesystem::remove(entry, ignored);
        }
        std::filesystem::remove(PublicationRecord::path_in(folder_), ignored);
        std::filesystem::remove_all(folder_, ignored);
        lock_.reset();
    }

  private:
    std::filesystem::path folder_;
    std::optional<FolderLock> lock_;
};

class IngestRun {
  public:
    IngestRun(Communicator& comm, const IngestOutputs& outputs, int threads, const IngestProgress& progress)
        : comm_(comm),
          outputs_(outputs),
          threads_(threads),
          progress_(progress),
          folder_(ingest_work_folder(outputs.corpus)) {}

    std::optional<IngestTotals> run(const std::function<IngestJob()>& make_job) {
        try {
            prepare(make_job);
            if (comm_.size().value > 1) share_job();
            work();
            identify_others();
            return finish();
        } catch (const Error& error) {
            if (work_folder_ && !keeps_work(error.code())) {
                withdraw_half_an_output();
                work_folder_->remove();
            }
            throw;
        }
    }

  private:
    bool is_root() const { return comm_.rank().value == 0; }

    void prepare(const std::function<IngestJob()>& make_job) {
        together_for_long(comm_, "dividing the sources", [&](const std::atomic<bool>&) {
            if (!is_root()) return;
            if (!path_exists(PublicationRecord::path_in(folder_)))
                require_writable_output(outputs_.corpus, outputs_.overwrite);
            require_parent(outputs_.corpus);
            job_ = make_job();
            const std::string pieces = job_.pieces_json();
            record_.emplace(folder_, pieces + job_.assembly_json());
            require_writable_outputs();
            work_folder_.emplace(folder_, pieces, !job_.has_pipe());
            if (!published_) find_pieces();
            if (comm_.size().value > 1) job_text_ = job_.to_json();
        });
    }

    void share_job() {
        const auto text = std::as_bytes(std::span(job_text_));
        std::vector<std::byte> job(text.begin(), text.end());
        broadcast_bytes(comm_, job, Rank{0});
        const auto missing = std::as_bytes(std::span(missing_));
        std::vector<std::byte> pieces(missing.begin(), missing.end());
        broadcast_bytes(comm_, pieces, Rank{0});
        together(comm_, "making the tokenizer", [&] {
            if (is_root()) return;
            job_ = IngestJob::from_json({reinterpret_cast<const char*>(job.data()), job.size()});
            missing_.resize(pieces.size() / sizeof missing_[0]);
            if (!missing_.empty()) std::memcpy(missing_.data(), pieces.data(), pieces.size());
        });
    }

    void require_writable_outputs() {
        if (!job_.has_pipe()) {
            const PublicationRecord::Found found = record_->find(outputs_);
            outputs_.corpus_is_own = found.corpus_is_there;
            outputs_.validation_is_own = found.validation_is_there;
            published_ = found.published;
        }
        require_writable_output(outputs_.corpus, outputs_.corpus_overwrite());
        if (job_.filter.validation_share > 0)
            require_writable_output(outputs_.validation, outputs_.validation_overwrite());
    }

    /// What was allowed to replace others stays.
    void withdraw_half_an_output() const {
        if (outputs_.overwrite == Overwrite::yes) return;
        try {
            const PublicationRecord::Found found = record_->find(outputs_);
            if (found.validation_is_there && !found.corpus_is_there) remove_file(outputs_.validation);
        } catch (const Error& error) {
            log_root(LogLevel::warning,
                     "'" + outputs_.validation.string() + "' may stay behind: " + error.what());
        }
    }

    /// What an earlier start did, and where this one puts tokens.
    void find_pieces() {
        const ColumnType type = corpus_format::token_type(job_.tokenizer->vocabulary_size());
        // One rank that keeps every sample has them in the order of the corpus.
        bool straight_to_corpus = comm_.size().value == 1 && !job_.filter.dedup &&
                                  job_.filter.validation_share == 0 &&
                                  can_rename_into(folder_, temporary_path(outputs_.corpus));
        for (std::size_t piece = 0; piece < job_.pieces.size(); ++piece) {
            const auto found = PieceFile::find(piece_path(folder_, piece), type);
            if (!found) missing_.push_back(piece);
            if (found && !found->place_in_corpus()) straight_to_corpus = false;
        }
        if (straight_to_corpus) begin_corpus(type);
    }

    /// The pieces without a gap and without damage stay.
    void begin_corpus(ColumnType type) {
        const std::filesystem::path path = corpus_tokens_path(piece_path(folder_, 0));
        const std::uint64_t vocabulary = job_.tokenizer->vocabulary_size();
        const std::uint64_t begin = path_exists(path) ? CorpusTokens::file_offset(path, vocabulary) : 0;
        std::uint64_t kept_bytes = 0;
        std::size_t piece = 0;
        for (; piece < job_.pieces.size(); ++piece) {
            const auto found = PieceFile::find(piece_path(folder_, piece), type);
            if (!found) break;
            LOCKSTEP_EXPECTS(found->place_in_corpus());
            if (*found->place_in_corpus() != begin + kept_bytes) break;
            if (found->token_digest_found() != found->token_digest()) break;
            kept_bytes += found->num_tokens() * column_type_bytes(type);
        }
        missing_.clear();
        for (; piece < job_.pieces.size(); ++piece) missing_.push_back(piece);
        // Beside the threads that tokenize, which take ten times as long and more.
        constexpr int tokenizing_per_thread = 8;
        tokens_.emplace(path, vocabulary, kept_bytes,
                        (threads_ + tokenizing_per_thread - 1) / tokenizing_per_thread);
    }

    /// This rank's run of the pieces that are missing: ranks take about equal bytes, in order.
    std::span<const std::size_t> own_pieces() const {
        std::vector<std::uint64_t> bytes_before{0};
        for (const std::size_t piece : missing_)
            bytes_before.push_back(bytes_before.back() + job_.bytes_of(job_.pieces[piece]) + 1);
        const auto ranks = static_cast<std::uint64_t>(comm_.size().value);
        const auto rank = static_cast<std::uint64_t>(comm_.rank().value);
        const auto first = [&](std::uint64_t r) {
            const std::uint64_t bytes = bytes_before.back() / ranks * r;
            return r == ranks ? missing_.size()
                              : static_cast<std::size_t>(std::ranges::lower_bound(bytes_before, bytes) -
                                                         bytes_before.begin());
        };
        return std::span(missing_).subspan(first(rank), first(rank + 1) - first(rank));
    }

    void work() {
        together_for_long(comm_, "tokenizing", [&](const std::atomic<bool>& others_failed) {
            const auto own = own_pieces();
            std::uint64_t total = 0;
            for (const std::size_t piece : own) total += job_.bytes_of(job_.pieces[piece]);
            PieceWork pieces(job_, threads_, tokens_ ? &*tokens_ : nullptr);
            std::uint64_t done = 0;
            for (const std::size_t piece : own) {
                if (others_failed) return;
                pieces.add(job_.pieces[piece], piece_path(folder_, piece),
                           [&](std::uint64_t bytes) { progress_(done + bytes, total); });
                done += job_.bytes_of(job_.pieces[piece]);
            }
            pieces.finish();
            identified_ = pieces.identified();
        });
    }

    /// What no rank read as a whole is read again, by every rank a share.
    void identify_others() {
        std::vector<std::int64_t> known;
        for (const IngestSource& source : job_.sources)
            known.push_back(source.is_pipe || published_.has_value() ? 1 : 0);
        for (const IdentifiedSource& source : identified_) known[source.source_index] = 1;
        comm_.max(known);
        together_for_long(comm_, "identifying the sources", [&](const std::atomic<bool>& others_failed) {
            const auto ranks = static_cast<std::uint64_t>(comm_.size().value);
            auto turn = static_cast<std::uint64_t>(comm_.rank().value);
            std::vector<std::size_t> own;
            for (std::size_t i = 0; i < known.size(); ++i) {
                if (known[i] == 0 && turn++ % ranks == 0) own.push_back(i);
            }
            OrderedWork<std::size_t, IdentifiedSource> reading(
                static_cast<int>(std::clamp<std::size_t>(own.size(), 1, static_cast<std::size_t>(threads_))),
                [this](std::size_t i, int) {
                    const IngestSource& source = job_.sources[i];
                    return IdentifiedSource{i, identify_source(source.name, source.kind)};
                });
            for (const std::size_t i : own) {
                if (others_failed) return;
                if (reading.full()) identified_.push_back(reading.take());
                reading.give(i);
            }
            while (!reading.empty()) identified_.push_back(reading.take());
        });
    }

    /// Of pipes assembly finds them in the pieces.
    std::vector<SourceIdentity> gather_identities() {
        const auto gathered = comm_.gather(std::as_bytes(std::span(identified_)), Rank{0});
        std::vector<SourceIdentity> all(is_root() ? job_.sources.size() : 0);
        for (const auto& bytes : gathered) {
            std::vector<IdentifiedSource> sources(bytes.size() / sizeof(IdentifiedSource));
            if (!sources.empty()) std::memcpy(sources.data(), bytes.data(), bytes.size());
            for (const IdentifiedSource& source : sources) all[source.source_index] = source.identity;
        }
        return all;
    }

    std::optional<IngestTotals> finish() {
        std::vector<SourceIdentity> identities = gather_identities();
        std::optional<IngestTotals> totals;
        together_for_long(comm_, "assembling the corpus", [&](const std::atomic<bool>&) {
            if (!is_root()) return;
            require_unchanged_sources(job_);
            totals = published_ ? *published_ : join(std::move(identities));
            totals->pieces_found = job_.pieces.size() - missing_.size();
            const CommitScope scope("ingest");
            commit_point("published");
            work_folder_->remove();
            commit_point("removed");
        });
        return totals;
    }

    IngestTotals join(std::vector<SourceIdentity> identities) {
        return assemble(
            job_, [this](std::size_t piece) { return piece_path(folder_, piece); },
            std::exchange(tokens_, std::nullopt), std::move(identities), outputs_, threads_,
            [this](const IngestTotals& ready) { record_->write(ready); });
    }

    Communicator& comm_;
    IngestOutputs outputs_;
    int threads_;
    const IngestProgress& progress_;
    std::filesystem::path folder_;
    std::optional<WorkFolder> work_folder_;
    IngestJob job_;
    // Of rank 0.
    std::optional<PublicationRecord> record_;
    std::optional<IngestTotals> published_;  ///< All of it is done but for the end of the work folder.
    std::optional<CorpusTokens> tokens_;     ///< The pieces' go straight to the corpus.
    std::string job_text_;                   ///< For the other ranks.
    std::vector<std::size_t> missing_;
    std::vector<IdentifiedSource> identified_;
};

}  // namespace

std::filesystem::path ingest_work_folder(const std::filesystem::path& corpus) {
    std::filesystem::path folder = corpus;
    folder += ".ingest";
    return folder;
}

std::optional<IngestTotals> run_ingest(Communicator& comm, const std::function<IngestJob()>& make_job,
                                       const IngestOutputs& outputs, int threads,
                                       const IngestProgress& progress) {
    return IngestRun(comm, outputs, threads, progress).run(make_job);
}

}  // namespace lockstep
