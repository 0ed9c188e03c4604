// coordinator/ingest/source_names.h
//
// What a corpus calls the files it was made from: names as the user gave them, seen
// from where ingest ran or from the corpus' folder.

#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "io/corpus/corpus.h"

namespace lockstep {

struct RecordedFile {
    std::filesystem::path path;
    bool is_as_it_was = false;
};

/// The file or folder of that name, seen from the working folder or from the corpus' folder: one that is as
/// it was; else the first there is; nothing if none is there.
/// @param is_as_it_was  asked of what exists; may throw Error for what cannot be read.
std::optional<RecordedFile> find_recorded(
    const std::string& name, const std::filesystem::path& corpus_folder,
    const std::function<bool(const std::filesystem::path&)>& is_as_it_was);

/// A source's name for a corpus in another folder. What lies where the old corpus' folder says, as it was, is
/// named from the new folder; other names stay.
std::string source_name_from(const std::filesystem::path& new_folder, const std::filesystem::path& old_folder,
                             const SourceFile& source);

}  // namespace lockstep
