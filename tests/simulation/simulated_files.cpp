#include "tests/simulation/simulated_files.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace lockstep::simulation {

namespace {

int refuse(int errno_value) {
    errno = errno_value;
    return -1;
}

}  // namespace

bool SimulatedFiles::alive() const {
    return time_.fiber() == nullptr || !time_.process()->dead;
}

bool SimulatedFiles::enter(std::string_view name, std::string_view path, CallFate& what) {
    if (!alive()) return refuse(EIO) == 0;
    if (time_.fiber() != nullptr && fate) {
        const std::string held(path);  // Who dies of it loses its open files, and their names.
        what = fate({name, held});
        // Calls are made in destructors too: whoever dies here learns it from the refusal.
        if (alive() && what.seconds > 0) time_.block(time_.now() + what.seconds, true);
        if (!alive()) return refuse(EIO) == 0;
    }
    return what.refusal == 0 || refuse(what.refusal) == 0;
}

SimulatedFiles::Open* SimulatedFiles::find(int descriptor) {
    const auto found = open_.find(descriptor);
    return found == open_.end() ? nullptr : &found->second;
}

void SimulatedFiles::release(const Process& process) {
    for (auto at = open_.begin(); at != open_.end();) {
        if (at->second.process != &process) {
            ++at;
            continue;
        }
        if (at->second.inode->locked_by == &at->second) at->second.inode->locked_by = nullptr;
        at = open_.erase(at);
    }
}

int SimulatedFiles::open(const char* path, int flags) {
    if (!alive()) return refuse(EIO);
    const auto [parent, name] = disk_.parent_of(path);
    InodePointer inode = disk_.find(path);
    if ((flags & O_CREAT) != 0 && !inode) {
        CallFate what;
        if (!enter("create", path, what)) return -1;
        inode = disk_.find(path);  // Another may have been faster.
        const InodePointer now = disk_.parent_of(path).first;
        if (!now) return refuse(ENOENT);
        if (!inode) inode = disk_.create(now, name, false);
    }
    if (!inode) return refuse(ENOENT);
    if ((flags & O_DIRECTORY) != 0 && !inode->directory) return refuse(ENOTDIR);
    if (inode->directory && (flags & O_ACCMODE) != O_RDONLY) return refuse(EISDIR);
    if ((flags & O_TRUNC) != 0 && (!inode->bytes->empty() || inode->lost)) disk_.resize(*inode, 0);
    const int descriptor = next_descriptor_++;
    open_[descriptor] = {inode, path, 0, time_.fiber() == nullptr ? nullptr : time_.process().get()};
    return descriptor;
}

int SimulatedFiles::close(int descriptor) {
    const auto found = open_.find(descriptor);
    if (found == open_.end()) return refuse(EBADF);
    if (found->second.inode->locked_by == &found->second) found->second.inode->locked_by = nullptr;
    open_.erase(found);
    return 0;
}

ssize_t SimulatedFiles::copy_out(const Open& open, std::span<std::byte> bytes, std::uint64_t offset) {
    const std::string& all = *open.inode->bytes;
    if (offset >= all.size()) return 0;
    const std::size_t count = std::min<std::size_t>(bytes.size(), all.size() - offset);
    std::memcpy(bytes.data(), all.data() + offset, count);
    return static_cast<ssize_t>(count);
}

ssize_t SimulatedFiles::read(int descriptor, std::span<std::byte> bytes) {
    Open* const open = find(descriptor);
    if (!alive() || open == nullptr) return refuse(EIO);
    const ssize_t count = copy_out(*open, bytes, open->offset);
    open->offset += static_cast<std::uint64_t>(count);
    return count;
}

ssize_t SimulatedFiles::read_at(int descriptor, std::span<std::byte> bytes, std::uint64_t offset) {
    Open* const open = find(descriptor);
    if (!alive() || open == nullptr) return refuse(EIO);
    return copy_out(*open, bytes, offset);
}

ssize_t SimulatedFiles::put(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) {
    Open* const open = find(descriptor);
    if (!alive() || open == nullptr) return refuse(EIO);
    CallFate what;
    if (!enter("write", open->path, what)) return -1;
    if (what.short_write) bytes = bytes.first((bytes.size() + 1) / 2);
    disk_.write(*open->inode, offset, bytes);
    return static_cast<ssize_t>(bytes.size());
}

ssize_t SimulatedFiles::write(int descriptor, std::span<const std::byte> bytes) {
    Open* const open = find(descriptor);
    const ssize_t count = put(descriptor, bytes, open == nullptr ? 0 : open->offset);
    if (count > 0) open->offset += static_cast<std::uint64_t>(count);
    return count;
}

ssize_t SimulatedFiles::write_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) {
    return put(descriptor, bytes, offset);
}

int SimulatedFiles::resize(int descriptor, std::uint64_t file_bytes) {
    Open* const open = find(descriptor);
    if (!alive() || open == nullptr) return refuse(EIO);
    disk_.resize(*open->inode, file_bytes);
    return 0;
}

int SimulatedFiles::sync(int descriptor) {
    Open* const open = find(descriptor);
    if (!alive() || open == nullptr) return refuse(EIO);
    const InodePointer inode = open->inode;
    CallFate what;
    if (!enter(inode->directory ? "sync-directory" : "sync", open->path, what)) {
        if (what.refusal != 0 && !inode->directory) SimulatedDisk::lose(*inode);
        return -1;
    }
    if (!what.pretended) disk_.sync(*inode);
    return 0;
}

int SimulatedFiles::status(int descriptor, Status& status) {
    Open* const open = find(descriptor);
    if (!alive() || open == nullptr) return refuse(EIO);
    status.kind = open->inode->directory ? Kind::directory : Kind::file;
    status.bytes = open->inode->directory ? 0 : open->inode->bytes->size();
    return 0;
}

int SimulatedFiles::try_lock(int descriptor) {
    Open* const open = find(descriptor);
    if (!alive() || open == nullptr) return refuse(EIO);
    if (open->inode->locked_by != nullptr && open->inode->locked_by != open) return refuse(EWOULDBLOCK);
    open->inode->locked_by = open;
    return 0;
}

const std::byte* SimulatedFiles::map(int descriptor, std::size_t bytes) {
    Open* const open = find(descriptor);
    if (!alive() || open == nullptr || open->inode->bytes->size() < bytes) {
        errno = EIO;
        return nullptr;
    }
    const auto* const begin = reinterpret_cast<const std::byte*>(open->inode->bytes->data());
    maps_[begin] = open->inode->bytes;
    return begin;
}

void SimulatedFiles::unmap(const std::byte*, std::size_t) noexcept {
    // Others may have mapped the same bytes; they go with the disk.
}

int SimulatedFiles::rename(const char* from, const char* to) {
    CallFate what;
    if (!enter("rename", to, what)) return -1;
    const auto [from_parent, from_name] = disk_.parent_of(from);
    const auto [to_parent, to_name] = disk_.parent_of(to);
    const InodePointer inode = disk_.find(from);
    if (!inode || !to_parent) return refuse(ENOENT);
    disk_.rename(from_parent, from_name, to_parent, to_name);
    return 0;
}

int SimulatedFiles::rename_beside(const char* from, const char* to) {
    CallFate what;
    if (!enter("rename", to, what)) return -1;
    if (disk_.find(to)) return refuse(EEXIST);
    const auto [from_parent, from_name] = disk_.parent_of(from);
    const auto [to_parent, to_name] = disk_.parent_of(to);
    if (!disk_.find(from) || !to_parent) return refuse(ENOENT);
    disk_.rename(from_parent, from_name, to_parent, to_name);
    return 0;
}

int SimulatedFiles::exchange(const char*, const char*) {
    return refuse(EINVAL);
}

int SimulatedFiles::remove_file(const char* path) {
    if (!alive()) return refuse(EIO);
    if (!disk_.find(path)) return refuse(ENOENT);
    CallFate what;
    if (!enter("remove", path, what)) return -1;
    const InodePointer inode = disk_.find(path);
    if (!inode) return refuse(ENOENT);
    if (inode->directory) return refuse(EISDIR);
    if (on_remove) on_remove(path);
    const auto [parent, name] = disk_.parent_of(path);
    disk_.remove(parent, name);
    return 0;
}

int SimulatedFiles::make_directory(const char* path) {
    CallFate what;
    if (!enter("make-directory", path, what)) return -1;
    if (disk_.find(path)) return refuse(EEXIST);
    const auto [parent, name] = disk_.parent_of(path);
    if (!parent) return refuse(ENOENT);
    disk_.create(parent, name, true);
    return 0;
}

int SimulatedFiles::remove_directory(const char* path) {
    CallFate what;
    if (!enter("remove-directory", path, what)) return -1;
    const InodePointer inode = disk_.find(path);
    if (!inode) return refuse(ENOENT);
    if (!inode->directory) return refuse(ENOTDIR);
    if (!inode->names.empty()) return refuse(ENOTEMPTY);
    const auto [parent, name] = disk_.parent_of(path);
    disk_.remove(parent, name);
    return 0;
}

int SimulatedFiles::status(const char* path, Status& status) {
    status = {};
    if (!alive()) return refuse(EIO);
    const InodePointer inode = disk_.find(path);
    if (!inode) return 0;
    status.kind = inode->directory ? Kind::directory : Kind::file;
    status.bytes = inode->directory ? 0 : inode->bytes->size();
    return 0;
}

int SimulatedFiles::list(const char* directory, std::vector<std::string>& names) {
    if (!alive()) return refuse(EIO);
    const InodePointer inode = disk_.find(directory);
    if (!inode) return refuse(ENOENT);
    if (!inode->directory) return refuse(ENOTDIR);
    for (const auto& [name, target] : inode->names) names.push_back(name);
    return 0;
}

}  // namespace lockstep::simulation
