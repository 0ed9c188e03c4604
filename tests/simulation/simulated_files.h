// tests/simulation/simulated_files.h
//
// System calls of simulated processes on a simulated disk: they take time, may be
// refused, and have no effect once their process is dead.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/file_system.h"
#include "tests/simulation/simulated_disk.h"
#include "tests/simulation/virtual_time.h"

namespace lockstep::simulation {

/// A call that changes something, before it does.
struct FileCall {
    std::string_view name;  ///< "create", "write", "sync", "rename", "remove", "make-directory", …
    std::string_view path;
};

/// What becomes of a call.
struct CallFate {
    double seconds = 0;        ///< It takes.
    int refusal = 0;           ///< errno; 0: it succeeds.
    bool short_write = false;  ///< Half of the bytes.
    bool pretended = false;    ///< A sync that does nothing and says all is well.
};

class SimulatedFiles : public FileSystem {
  public:
    SimulatedFiles(VirtualTime& time, SimulatedDisk& disk) : time_(time), disk_(disk) {}

    /// Asked for every call that changes something. May kill processes, the caller's too.
    std::function<CallFate(const FileCall&)> fate;
    /// Told of every file removed, before it is.
    std::function<void(std::string_view path)> on_remove;

    /// Descriptors and locks of a process that is gone.
    void release(const Process& process);

    int open(const char* path, int flags) override;
    int close(int descriptor) override;
    ssize_t read(int descriptor, std::span<std::byte> bytes) override;
    ssize_t write(int descriptor, std::span<const std::byte> bytes) override;
    ssize_t read_at(int descriptor, std::span<std::byte> bytes, std::uint64_t offset) override;
    ssize_t write_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) override;
    int resize(int descriptor, std::uint64_t file_bytes) override;
    void forget(int) noexcept override {}
    void begin_sync(int, std::uint64_t, std::uint64_t) noexcept override {}
    int sync(int descriptor) override;
    int status(int descriptor, Status& status) override;
    int try_lock(int descriptor) override;
    const std::byte* map(int descriptor, std::size_t bytes) override;
    void unmap(const std::byte* begin, std::size_t bytes) noexcept override;
    int rename(const char* from, const char* to) override;
    int rename_beside(const char* from, const char* to) override;
    int exchange(const char* a, const char* b) override;
    int remove_file(const char* path) override;
    int make_directory(const char* path) override;
    int remove_directory(const char* path) override;
    int status(const char* path, Status& status) override;
    int list(const char* directory, std::vector<std::string>& names) override;
    int free_bytes(const char*, std::uint64_t& bytes) override {
        bytes = std::uint64_t{1} << 40U;
        return 0;
    }

  private:
    struct Open {
        InodePointer inode;
        std::string path;
        std::uint64_t offset = 0;
        const Process* process = nullptr;
    };
    /// @return false, with errno, if the call must not have its effect.
    bool enter(std::string_view name, std::string_view path, CallFate& fate);
    bool alive() const;
    Open* find(int descriptor);
    static ssize_t copy_out(const Open& open, std::span<std::byte> bytes, std::uint64_t offset);
    ssize_t put(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset);

    VirtualTime& time_;
    SimulatedDisk& disk_;
    std::map<int, Open> open_;
    int next_descriptor_ = 1000;
    std::map<const std::byte*, std::shared_ptr<const std::string>> maps_;
};

}  // namespace lockstep::simulation
