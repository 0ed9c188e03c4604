// launch/chaos/commit_observer.h
//
// Counts the changes (files made, closed after writing, renamed, removed) under a
// run's checkpoints/ and ledger/, as the kernel reports them: how a kill from
// outside is aimed at a commit. Sees local file systems only.

#pragma once

#include <cstdint>
#include <filesystem>
#include <map>

namespace lockstep {

class CommitObserver {
  public:
    explicit CommitObserver(const std::filesystem::path& run);
    ~CommitObserver();
    CommitObserver(const CommitObserver&) = delete;
    CommitObserver& operator=(const CommitObserver&) = delete;

    /// Changes seen so far. Also begins to look into folders that have appeared since.
    std::uint64_t changes();
    /// Readable when there is something new; −1 where the kernel has no such thing.
    int descriptor() const { return descriptor_; }

  private:
    void watch(const std::filesystem::path& folder);
    void watch_once_there(const std::filesystem::path& folder);

    std::filesystem::path run_;
    int descriptor_ = -1;
    std::map<int, std::filesystem::path> folders_;
    std::uint64_t changes_ = 0;
};

}  // namespace lockstep
