#include "coordinator/ingest/source_names.h"

#include "io/base/error.h"
#include "io/documents/document_reader.h"

namespace lockstep {

namespace fs = std::filesystem;

std::optional<RecordedFile> find_recorded(const std::string& name, const fs::path& corpus_folder,
                                          const std::function<bool(const fs::path&)>& is_as_it_was) {
    std::optional<RecordedFile> first;
    for (const fs::path& candidate : {fs::path(name), corpus_folder / name}) {
        std::error_code absent;
        if (!fs::exists(candidate, absent)) continue;
        try {
            if (is_as_it_was(candidate)) return RecordedFile{candidate, true};
        } catch (const Error&) {
            // Reading it will say what is wrong.
        }
        if (!first) first = RecordedFile{candidate, false};
    }
    return first;
}

std::string source_name_from(const fs::path& new_folder, const fs::path& old_folder,
                             const SourceFile& source) {
    const fs::path name = source.name;
    if (name.empty() || name.is_absolute()) return source.name;
    // Without links, behind which ".." would lead elsewhere.
    std::error_code unknown;
    const fs::path file = fs::weakly_canonical(old_folder / name, unknown);
    const fs::path beside = fs::weakly_canonical(fs::absolute(new_folder / "."), unknown);
    if (unknown || !fs::is_regular_file(file, unknown) || bytes_of_source(file) != source.bytes)
        return source.name;
    const fs::path seen = file.lexically_relative(beside);
    return seen.empty() ? source.name : seen.string();
}

}  // namespace lockstep
