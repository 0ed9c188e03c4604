// tests/simulation/simulated_disk.h
//
// A disk that keeps what was synced and may forget the rest. After a power cut
//   - a file's bytes are those of its last sync, or all, or a prefix of the newer
//     ones, with or without zeros up to the new length;
//   - creations, renames and removals that no sync of their directory covers are
//     kept up to some point of each directory, in order (as a journal does), or for
//     each name up to some point (all that POSIX promises);
//   - a rename inside a directory is never seen half done; one between two
//     directories may leave both names, never neither.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/file_system.h"

namespace lockstep::simulation {

struct Inode;
using InodePointer = std::shared_ptr<Inode>;

/// A change of a directory not yet on the disk.
struct DirectoryChange {
    std::uint64_t order = 0;
    /// Names and what they mean from now on; null: nothing.
    std::vector<std::pair<std::string, InodePointer>> names;
    /// The removal that goes with a new name elsewhere: not before that.
    std::uint64_t after = 0;
    std::weak_ptr<Inode> after_in;
};

struct Inode {
    bool directory = false;
    // A file. What is shared is never changed.
    std::shared_ptr<const std::string> bytes, durable_bytes;
    /// A sync failed: what was written before never reaches the disk, unless the file is emptied.
    bool lost = false;
    const void* locked_by = nullptr;
    // A directory.
    std::map<std::string, InodePointer, std::less<>> names, durable_names;
    std::vector<DirectoryChange> changes;
};

enum class DirectoryOrder : std::uint8_t { journal, names_alone };

class SimulatedDisk {
  public:
    SimulatedDisk();

    /// Null if there is none. @param path  absolute.
    InodePointer find(std::string_view path) const;
    /// The directory that holds a name, and the name.
    std::pair<InodePointer, std::string> parent_of(std::string_view path) const;

    InodePointer create(const InodePointer& parent, const std::string& name, bool directory);
    void remove(const InodePointer& parent, const std::string& name);
    void rename(const InodePointer& from_parent, const std::string& from, const InodePointer& to_parent,
                const std::string& to);
    void write(Inode& file, std::uint64_t offset, std::span<const std::byte> bytes);
    void resize(Inode& file, std::uint64_t file_bytes);
    void sync(Inode& inode);
    /// A sync that failed: as Linux has it, nobody will hear of what was lost a second time.
    static void lose(Inode& file);

    /// All that was not synced is decided by `draw` (uniform below its argument).
    void cut_power(DirectoryOrder order, const std::function<std::uint64_t(std::uint64_t)>& draw);

    /// Every byte and name of now counts as synced.
    void settle();

  private:
    void change(Inode& directory, DirectoryChange change);
    static void persist(Inode& directory, const DirectoryChange& change);
    void decide_names(DirectoryOrder order, const std::function<std::uint64_t(std::uint64_t)>& draw);
    static void decide_bytes(Inode& file, const std::function<std::uint64_t(std::uint64_t)>& draw);

    InodePointer root_;
    std::vector<InodePointer> inodes_;  ///< All, in order of their making.
    std::uint64_t order_ = 0;
};

}  // namespace lockstep::simulation
