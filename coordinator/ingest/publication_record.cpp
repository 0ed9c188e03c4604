#include "coordinator/ingest/publication_record.h"

#include <nlohmann/json.hpp>
#include <span>

#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/corpus/corpus_format.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"

namespace lockstep {

namespace {

using nlohmann::json;

json json_of(const PublishedCorpus& corpus) {
    return {{"samples", corpus.num_samples},
            {"tokens", corpus.num_tokens},
            {"content", corpus.content.hex()},
            {"lengths", corpus.lengths.hex()},
            {"file", corpus.file_digest}};
}

PublishedCorpus corpus_of(const json& object) {
    return {object.at("samples"), object.at("tokens"),
            Fingerprint::from_hex(object.at("content").get<std::string>()),
            Fingerprint::from_hex(object.at("lengths").get<std::string>()), object.at("file")};
}

IngestTotals totals_of(const json& object) {
    IngestTotals totals;
    totals.corpus = corpus_of(object.at("corpus"));
    if (object.contains("validation")) totals.validation = corpus_of(object.at("validation"));
    totals.tokenizer = Fingerprint::from_hex(object.at("tokenizer").get<std::string>());
    totals.vocabulary_size = object.at("vocabulary_size");
    totals.counts = {object.at("empty"), object.at("too_short"), object.at("too_long"),
                     object.at("repaired")};
    totals.source_bytes = object.at("source_bytes");
    totals.bad = object.at("bad");
    totals.duplicates = object.at("duplicates");
    return totals;
}

bool holds(const std::filesystem::path& path, const PublishedCorpus& corpus) {
    if (path.empty() || !path_exists(path)) return false;
    try {
        return ColumnFile::open(path, corpus_format::format, corpus_format::version, VerifyAtOpen::everything)
                   .digest_hex() == corpus.file_digest;
    } catch (const Error&) {
        return false;  // Nothing we made, or no longer.
    }
}

}  // namespace

PublicationRecord::PublicationRecord(const std::filesystem::path& folder, const std::string& job)
    : path_(path_in(folder)), job_(digest_of(std::as_bytes(std::span(job))).hex()) {}

std::filesystem::path PublicationRecord::path_in(const std::filesystem::path& folder) {
    return folder / "publishing.json";
}

void PublicationRecord::write(const IngestTotals& totals) const {
    json object = {{"job", job_},
                   {"corpus", json_of(totals.corpus)},
                   {"tokenizer", totals.tokenizer.hex()},
                   {"vocabulary_size", totals.vocabulary_size},
                   {"empty", totals.counts.empty},
                   {"too_short", totals.counts.too_short},
                   {"too_long", totals.counts.too_long},
                   {"repaired", totals.counts.repaired},
                   {"source_bytes", totals.source_bytes},
                   {"bad", totals.bad},
                   {"duplicates", totals.duplicates}};
    if (totals.validation) object["validation"] = json_of(*totals.validation);
    write_file_atomically(path_, object.dump(), Overwrite::yes);
}

PublicationRecord::Found PublicationRecord::find(const IngestOutputs& outputs) const {
    if (!path_exists(path_)) return {};
    IngestTotals totals;
    try {
        const json object = json::parse(read_file(path_));
        if (object.at("job") != job_) return {};
        totals = totals_of(object);
    } catch (const json::exception&) {
        return {};
    } catch (const Error&) {
        return {};
    }
    Found found;
    found.corpus_is_there = holds(outputs.corpus, totals.corpus);
    found.validation_is_there = totals.validation && holds(outputs.validation, *totals.validation);
    if (found.corpus_is_there && found.validation_is_there == totals.validation.has_value())
        found.published = totals;
    return found;
}

}  // namespace lockstep
