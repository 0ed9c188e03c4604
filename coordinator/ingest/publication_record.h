// coordinator/ingest/publication_record.h
//
// What an ingest is about to publish, written down first: one that is killed
// between its two corpora, or before its work folder was removed, finds its own
// outputs there and not somebody else's.

#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "coordinator/ingest/assembly.h"

namespace lockstep {

/// "publishing.json" of a work folder.
class PublicationRecord {
  public:
    /// @param job   as text, everything the outputs depend on.
    PublicationRecord(const std::filesystem::path& folder, const std::string& job);

    static std::filesystem::path path_in(const std::filesystem::path& folder);

    /// Durable when it returns.
    void write(const IngestTotals& totals) const;

    struct Found {
        /// Outputs that hold what this very job once made ready.
        bool corpus_is_there = false, validation_is_there = false;
        std::optional<IngestTotals> published;  ///< If that is all of them.
    };
    /// A record that cannot be read is none.
    Found find(const IngestOutputs& outputs) const;

  private:
    std::filesystem::path path_;
    std::string job_;
};

}  // namespace lockstep
