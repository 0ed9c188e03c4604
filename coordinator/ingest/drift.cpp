#include "coordinator/ingest/drift.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "coordinator/ingest/ingest_job.h"
#include "coordinator/ingest/source_names.h"
#include "coordinator/ingest/tokenize_document.h"
#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/documents/document_reader.h"
#include "io/documents/reread.h"
#include "io/tokenizer/tokenizer_files.h"

namespace lockstep {

namespace {

/// Compressed files are read from their start, so only documents near it are read again.
constexpr std::uint64_t compressed_bytes_max = std::uint64_t{32} << 20U;

/// A file that cannot be opened or read now may be the same as ever; whatever else its reader refuses is not
/// what it was.
bool is_unreadable(ErrorCode code) {
    return code == ErrorCode::not_found || code == ErrorCode::io_failure || code == ErrorCode::environment;
}

/// So many different ones of them, or all. Floyd's draw: each number adds itself if what it drew is there.
std::set<std::uint64_t> chosen_samples(std::uint64_t num_samples, std::uint64_t wanted, std::uint64_t seed) {
    const Philox random(seed, "drift-samples");
    std::set<std::uint64_t> chosen;
    for (std::uint64_t last = num_samples - std::min(wanted, num_samples); last < num_samples; ++last) {
        if (!chosen.insert(random.below(last, last + 1)).second) chosen.insert(last);
    }
    return chosen;
}

class DriftCheck {
  public:
    DriftCheck(const Corpus& corpus, std::uint64_t samples, std::uint64_t seed)
        : corpus_(corpus), sources_(corpus.sources()) {
        for (const std::uint64_t sample : chosen_samples(corpus.num_samples(), samples, seed)) {
            const Corpus::Provenance from = corpus.provenance(sample);
            by_source_[from.source_index][from.source_offset] = sample;
        }
    }

    DriftReport run() {
        check_tokenizer();
        const std::string record = corpus_.ingest_record();
        if (record.empty()) {
            report_.note = name() +
                           ": it does not record how its documents were cut; only fingerprints "
                           "were checked (ingest it again to check its documents too)";
            return report_;
        }
        const IngestRecord how = parse_ingest_record(record);
        check_tokenizer_file(how.policy);
        for (const auto& [source, samples] : by_source_) check_source(how, source, samples);
        if (report_.samples_unreadable != 0) {
            note(std::to_string(report_.samples_unreadable) + " of " +
                 std::to_string(report_.samples_unreadable + report_.samples_checked) +
                 " samples were not tokenized again, only fingerprints checked (" + why_ + ")");
        }
        return report_;
    }

  private:
    std::string name() const { return "corpus '" + corpus_.path().string() + "'"; }

    [[noreturn]] void changed(const std::string& what) const {
        throw Error(ErrorCode::fingerprint_mismatch, name() + ": " + what);
    }

    void check_tokenizer() {
        tokenizer_ = make_tokenizer_from_description(corpus_.tokenizer().description_json);
        const Fingerprint found = tokenizer_->fingerprint();
        const Fingerprint expected = corpus_.tokenizer().fingerprint;
        if (found == expected) return;
        std::string where =
            describe_tokenizer_change(corpus_.tokenizer().description_json, tokenizer_->description_json());
        if (where.empty()) where = "its description is the same, so this version's tables or rules changed";
        changed("its tokenizer is " + found.brief() + "… in this version, expected " + expected.brief() +
                "… (" + where + "); use the version that made it, or ingest again");
    }

    /// What the tokenizer was read from, as it is today.
    void check_tokenizer_file(const SpecialsPolicy& policy) {
        const auto& recorded = corpus_.tokenizer().file;
        if (!recorded) return;
        const std::string what = "its tokenizer '" + recorded->name + "'";
        const auto file = find_recorded(recorded->name, corpus_.path().parent_path(),
                                        [&](const std::filesystem::path& candidate) {
                                            return digest_of_tokenizer_files(candidate) == recorded->digest;
                                        });
        if (file && file->is_as_it_was) return;
        if (!file) {
            note(what + " is not there, only its fingerprint was checked");
            return;
        }
        const auto refuse = [&](const std::string& how) {
            changed(what + " was changed since it was ingested (" + how +
                    "); restore the tokenizer, or ingest again and plan anew");
        };
        std::unique_ptr<Tokenizer> found;
        try {
            found = load_tokenizer(file->path, {policy, recorded->pattern});
        } catch (const Error& error) {
            if (error.code() == ErrorCode::bug) throw;
            if (!is_unreadable(error.code())) refuse(error.what());
            note(what + " cannot be read, only its fingerprint was checked (" + error.what() + ")");
            return;
        }
        // Files may differ where no id does: in spaces, in the order of fields.
        if (found->fingerprint() == corpus_.tokenizer().fingerprint) return;
        refuse(describe_tokenizer_change(corpus_.tokenizer().description_json, found->description_json()));
    }

    void note(const std::string& what) {
        report_.note += (report_.note.empty() ? name() + ": " : "; ") + what;
    }

    void unreadable(std::uint64_t samples, const std::string& why) {
        if (samples != 0 && why_.empty()) why_ = why;
        report_.samples_unreadable += samples;
    }

    void check_source(const IngestRecord& how, std::uint32_t source,
                      const std::map<std::uint64_t, std::uint64_t>& samples) {
        const SourceFile& recorded = sources_[source];
        const auto file = find_recorded(recorded.name, corpus_.path().parent_path(),
                                        [&](const std::filesystem::path& candidate) {
                                            return bytes_of_source(candidate) == recorded.bytes;
                                        });
        std::error_code absent;
        if (!file || !std::filesystem::is_regular_file(file->path, absent)) {
            unreadable(samples.size(), "'" + recorded.name + "' is not there");
            return;
        }
        std::vector<std::uint64_t> offsets;
        for (const auto& [offset, sample] : samples) offsets.push_back(offset);
        std::set<std::uint64_t> seen;
        std::uint64_t beyond = 0;
        bool reading = true;
        try {
            beyond = reread_documents(
                file->path, how.document, offsets, compressed_bytes_max, [&](const Document& document) {
                    reading = false;
                    seen.insert(document.source_offset);
                    check_document(how.policy, recorded, samples.at(document.source_offset), document);
                    reading = true;
                });
        } catch (const Error& error) {
            // What the corpus itself lacks, or a check found, is no matter of reading the source.
            if (!reading) throw;
            if (is_unreadable(error.code())) {
                unreadable(samples.size() - seen.size(), error.what());
                return;
            }
            if (error.code() == ErrorCode::bug) throw;
            changed("its source changed since it was ingested: " + std::string(error.what()) + "; " + advice);
        }
        unreadable(beyond, "they lie deep inside '" + recorded.name + "', which is compressed");
        for (const auto& [offset, sample] : samples) {
            if (beyond != 0 && offset > compressed_bytes_max) continue;
            if (!seen.contains(offset))
                changed(document_text(sample, recorded, offset) + " is gone; " + advice);
        }
        // What was looked at is as it was, so lines were added, or documents changed that were not drawn.
        if (!file->is_as_it_was) {
            note("'" + recorded.name + "' has " + std::to_string(bytes_of_source(file->path)) + " bytes, " +
                 std::to_string(recorded.bytes) +
                 " when it was ingested; what the corpus lacks of it is not trained, ingest it again for "
                 "that");
        }
    }

    std::string document_text(std::uint64_t sample, const SourceFile& source, std::uint64_t offset) const {
        std::string text = "the document of sample " + std::to_string(sample);
        if (corpus_.has_keys() && !corpus_.key(sample).empty())
            text += " ('" + std::string(corpus_.key(sample)) + "')";
        return text + ", '" + source.name + "' at " + std::to_string(offset) + ",";
    }

    void check_document(const SpecialsPolicy& policy, const SourceFile& source, std::uint64_t sample,
                        const Document& document) {
        const std::string what = document_text(sample, source, document.source_offset);
        if (document.digest != corpus_.provenance(sample).source_digest)
            changed(what + " was changed since it was ingested; " + advice);
        const TokenizedDocument again = tokenize_document(*tokenizer_, policy, document, ids_);
        stored_.resize(corpus_.sample_tokens(sample));
        corpus_.read_tokens(sample, 0, stored_);
        if (!std::ranges::equal(again.tokens, stored_)) {
            const auto at = std::ranges::mismatch(again.tokens, stored_).in1 - again.tokens.begin();
            changed(what + " is the same, but this version's tokenizer gives " +
                    std::to_string(again.tokens.size()) + " tokens, expected " +
                    std::to_string(stored_.size()) + " (they differ from token " + std::to_string(at) +
                    " on); use the version that made the corpus, or ingest again");
        }
        ++report_.samples_checked;
    }

    static constexpr const char* advice = "restore the source, or ingest it again and plan anew";

    const Corpus& corpus_;
    std::vector<SourceFile> sources_;
    std::map<std::uint32_t, std::map<std::uint64_t, std::uint64_t>> by_source_;
    std::unique_ptr<Tokenizer> tokenizer_;
    std::vector<std::uint32_t> ids_, stored_;
    std::string why_;
    DriftReport report_;
};

}  // namespace

DriftReport check_drift(const Corpus& corpus, std::uint64_t samples, std::uint64_t seed) {
    return DriftCheck(corpus, samples, seed).run();
}

}  // namespace lockstep
