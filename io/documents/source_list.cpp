#include "io/documents/source_list.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <utility>

#include "io/base/error.h"
#include "io/documents/document.h"
#include "io/documents/source_kind.h"

namespace lockstep {

namespace {

/// Text files hold no NUL byte; indices, images, fonts and archives nearly always do near their beginning.
bool looks_binary(const std::filesystem::path& path) {
    constexpr std::size_t looked_at = 8192;
    std::array<char, looked_at> head{};
    try {
        const SourceKind kind = source_kind_of(path);
        if (kind.is_table()) return false;
        const DocumentOptions defaults;
        const auto stream = open_stream(path, kind.compression, 0, defaults.expansion_max);
        const std::size_t got = stream->read(head);
        return std::memchr(head.data(), 0, got) != nullptr;
    } catch (const Error&) {
        return false;  // Reading it will say what is wrong.
    }
}

std::filesystem::path index_beside(std::filesystem::path tokens) {
    return tokens.replace_extension(".idx");
}

class SourceList {
  public:
    explicit SourceList(std::vector<std::string>& left_out) : left_out_(left_out) {}

    void add_argument(const std::filesystem::path& path) {
        if (!std::filesystem::exists(path)) {
            throw Error(ErrorCode::not_found,
                        "'" + path.string() + "' does not exist; expected a file or a folder");
        }
        if (std::filesystem::is_directory(path)) {
            add_folder(path);
        } else {
            add_once(path);
        }
    }

    std::vector<std::filesystem::path> take() { return std::move(files_); }

  private:
    void add_folder(const std::filesystem::path& folder) {
        std::vector<std::filesystem::path> candidates;
        const std::size_t notes_before = left_out_.size();
        collect(folder, candidates);
        std::sort(candidates.begin(), candidates.end());
        // The files themselves come before links to them, so that a link never takes its target's place.
        std::set<std::filesystem::path> real_files;
        for (const auto& path : candidates) {
            if (!std::filesystem::is_symlink(path)) real_files.insert(std::filesystem::canonical(path));
        }
        const std::size_t before = files_.size();
        for (const auto& path : candidates) {
            if (std::filesystem::is_symlink(path) && real_files.contains(std::filesystem::canonical(path))) {
                leave_out(path, "a link to a file that is listed itself");
            } else {
                add_once(path);
            }
        }
        std::sort(left_out_.begin() + static_cast<std::ptrdiff_t>(notes_before), left_out_.end());
        if (files_.size() == before) {
            throw Error(ErrorCode::not_found,
                        "folder '" + folder.string() + "' holds no text file that is not listed already");
        }
    }

    void collect(const std::filesystem::path& folder, std::vector<std::filesystem::path>& candidates) {
        std::filesystem::recursive_directory_iterator entry(folder);
        for (const auto end = std::filesystem::end(entry); entry != end; ++entry) {
            const std::filesystem::path& path = entry->path();
            if (path.filename().string().starts_with('.')) {
                leave_out(path, "hidden");
                if (entry->is_directory()) entry.disable_recursion_pending();
            } else if (entry->is_directory()) {
                if (entry->is_symlink()) leave_out(path, "a link to a folder");
            } else if (!entry->is_regular_file()) {
                leave_out(path, "not a regular file");
            } else if (path.extension() == ".dat") {
                leave_out(path, "an index (*.dat)");
            } else if (path.extension() == ".bin" && std::filesystem::exists(index_beside(path))) {
                leave_out(path, "the tokens of an index (*.idx)");
            } else if (looks_binary(path)) {
                leave_out(path, "binary");
            } else {
                candidates.push_back(path);
            }
        }
    }

    void add_once(const std::filesystem::path& path) {
        // What a pipe's name links to (/dev/stdin, /dev/fd/63) has no place in the file system.
        std::error_code nowhere;
        std::filesystem::path place = std::filesystem::canonical(path, nowhere);
        if (nowhere) place = std::filesystem::absolute(path);
        if (listed_.insert(place).second) {
            files_.push_back(path);
        } else {
            leave_out(path, "listed already");
        }
    }

    void leave_out(const std::filesystem::path& path, const char* reason) {
        left_out_.push_back(path.string() + ": " + reason);
    }

    std::vector<std::string>& left_out_;
    std::vector<std::filesystem::path> files_;
    std::set<std::filesystem::path> listed_;
};

}  // namespace

std::vector<std::filesystem::path> expand_sources(const std::vector<std::string>& arguments,
                                                  std::vector<std::string>& left_out) {
    SourceList list(left_out);
    try {
        for (const std::string& argument : arguments) list.add_argument(argument);
    } catch (const std::filesystem::filesystem_error& failure) {
        throw_errno("read", failure.path1().string(), failure.code().value());
    }
    return list.take();
}

}  // namespace lockstep
