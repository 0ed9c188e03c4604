#include "launch/chaos/commit_observer.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <system_error>

#include "io/files/directory.h"

namespace lockstep {

namespace {

constexpr std::uint32_t wanted = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;

}  // namespace

CommitObserver::CommitObserver(const std::filesystem::path& run)
    : run_(run), descriptor_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {}

CommitObserver::~CommitObserver() {
    if (descriptor_ >= 0) close(descriptor_);
}

void CommitObserver::watch(const std::filesystem::path& folder) {
    const int watch = inotify_add_watch(descriptor_, folder.c_str(), wanted | IN_ONLYDIR);
    if (watch >= 0) folders_[watch] = folder;
}

/// A new run's folders are made while its job starts, one after the other.
void CommitObserver::watch_once_there(const std::filesystem::path& folder) {
    const bool watched = std::any_of(folders_.begin(), folders_.end(),
                                     [&](const auto& known) { return known.second == folder; });
    std::error_code ignored;
    if (watched || !std::filesystem::is_directory(folder, ignored)) return;
    watch(folder);
    for (const auto& entry : directory_entries(folder)) {
        if (std::filesystem::is_directory(entry, ignored)) watch(entry);
    }
}

std::uint64_t CommitObserver::changes() {
    if (descriptor_ < 0) return changes_;
    for (const char* name : {"checkpoints", "ledger"}) watch_once_there(run_ / name);
    alignas(inotify_event) std::array<char, 16384> buffer;
    for (ssize_t size = read(descriptor_, buffer.data(), buffer.size()); size > 0;
         size = read(descriptor_, buffer.data(), buffer.size())) {
        for (std::ptrdiff_t at = 0; at < size;) {
            const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
            at += static_cast<std::ptrdiff_t>(sizeof(inotify_event) + event->len);
            if ((event->mask & IN_IGNORED) != 0) {
                folders_.erase(event->wd);  // Gone, and its number may be given again.
                continue;
            }
            ++changes_;
            const auto folder = folders_.find(event->wd);
            const bool new_folder = (event->mask & IN_ISDIR) != 0 && (event->mask & IN_CREATE) != 0;
            if (new_folder && folder != folders_.end()) watch(folder->second / event->name);
        }
    }
    return changes_;
}

}  // namespace lockstep
