#include "tests/simulation/simulated_disk.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

namespace lockstep::simulation {

namespace {

std::shared_ptr<const std::string> no_bytes() {
    static const auto none = std::make_shared<const std::string>();
    return none;
}

/// "a/b//c/" -> "a", "b", "c".
std::vector<std::string_view> parts_of(std::string_view path) {
    std::vector<std::string_view> parts;
    while (!path.empty()) {
        const std::size_t end = std::min(path.find('/'), path.size());
        if (end != 0 && path.substr(0, end) != ".") parts.push_back(path.substr(0, end));
        path.remove_prefix(std::min(end + 1, path.size()));
    }
    return parts;
}

}  // namespace

SimulatedDisk::SimulatedDisk() : root_(std::make_shared<Inode>()) {
    root_->directory = true;
    inodes_.push_back(root_);
}

InodePointer SimulatedDisk::find(std::string_view path) const {
    InodePointer at = root_;
    for (const std::string_view part : parts_of(path)) {
        if (!at->directory) return nullptr;
        const auto found = at->names.find(part);
        if (found == at->names.end()) return nullptr;
        at = found->second;
    }
    return at;
}

std::pair<InodePointer, std::string> SimulatedDisk::parent_of(std::string_view path) const {
    while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
    const std::size_t slash = path.rfind('/');
    InodePointer parent = find(path.substr(0, slash));
    if (parent && !parent->directory) parent = nullptr;
    return {parent, std::string(path.substr(slash + 1))};
}

void SimulatedDisk::change(Inode& directory, DirectoryChange change) {
    for (const auto& [name, inode] : change.names) {
        if (inode) {
            directory.names.insert_or_assign(name, inode);
        } else {
            directory.names.erase(name);
        }
    }
    directory.changes.push_back(std::move(change));
}

InodePointer SimulatedDisk::create(const InodePointer& parent, const std::string& name, bool directory) {
    auto made = std::make_shared<Inode>();
    made->directory = directory;
    made->bytes = made->durable_bytes = no_bytes();
    inodes_.push_back(made);
    change(*parent, {++order_, {{name, made}}, 0, {}});
    return made;
}

void SimulatedDisk::remove(const InodePointer& parent, const std::string& name) {
    change(*parent, {++order_, {{name, nullptr}}, 0, {}});
}

void SimulatedDisk::rename(const InodePointer& from_parent, const std::string& from,
                           const InodePointer& to_parent, const std::string& to) {
    const InodePointer inode = from_parent->names.find(from)->second;
    if (from_parent == to_parent) {
        change(*to_parent, {++order_, {{to, inode}, {from, nullptr}}, 0, {}});
        return;
    }
    const std::uint64_t first = ++order_;
    change(*to_parent, {first, {{to, inode}}, 0, {}});
    change(*from_parent, {++order_, {{from, nullptr}}, first, to_parent});
}

void SimulatedDisk::write(Inode& file, std::uint64_t offset, std::span<const std::byte> bytes) {
    std::string now(*file.bytes);
    now.resize(std::max<std::size_t>(now.size(), offset + bytes.size()), '\0');
    if (!bytes.empty()) std::memcpy(now.data() + offset, bytes.data(), bytes.size());
    file.bytes = std::make_shared<const std::string>(std::move(now));
}

void SimulatedDisk::resize(Inode& file, std::uint64_t file_bytes) {
    std::string now(*file.bytes);
    now.resize(file_bytes, '\0');
    file.bytes = std::make_shared<const std::string>(std::move(now));
    if (file_bytes == 0) file.lost = false;  // With the pages that could not be written.
}

void SimulatedDisk::persist(Inode& directory, const DirectoryChange& change) {
    for (const auto& [name, inode] : change.names) {
        if (inode) {
            directory.durable_names.insert_or_assign(name, inode);
        } else {
            directory.durable_names.erase(name);
        }
    }
}

void SimulatedDisk::sync(Inode& inode) {
    if (!inode.directory) {
        if (!inode.lost) inode.durable_bytes = inode.bytes;
        return;
    }
    for (const DirectoryChange& change : std::exchange(inode.changes, {})) {
        // Never neither: a name that has moved away has to be somewhere.
        if (const InodePointer target = change.after_in.lock()) {
            const auto is_first = [&](const DirectoryChange& c) { return c.order == change.after; };
            if (std::any_of(target->changes.begin(), target->changes.end(), is_first)) sync(*target);
        }
        persist(inode, change);
    }
}

void SimulatedDisk::lose(Inode& file) {
    file.lost = true;
}

void SimulatedDisk::settle() {
    for (const InodePointer& inode : inodes_) sync(*inode);
}

void SimulatedDisk::decide_names(DirectoryOrder order,
                                 const std::function<std::uint64_t(std::uint64_t)>& draw) {
    struct Pending {
        Inode* directory;
        const DirectoryChange* change;
    };
    std::vector<Pending> pending;
    for (const InodePointer& inode : inodes_) {
        for (const DirectoryChange& change : inode->changes) pending.push_back({inode.get(), &change});
    }
    std::sort(pending.begin(), pending.end(),
              [](const Pending& a, const Pending& b) { return a.change->order < b.change->order; });
    std::set<std::uint64_t> forgotten;
    std::set<std::pair<const Inode*, std::string>> cut;
    // How much is kept differs from power cut to power cut: often all but the end, at times nothing.
    const std::uint64_t keeps = draw(5);
    for (const auto& [directory, change] : pending) {
        const auto blocked = [&, d = directory, c = change] {
            if (forgotten.contains(c->after)) return true;
            if (order == DirectoryOrder::journal) return cut.contains({d, ""});
            return std::any_of(c->names.begin(), c->names.end(), [&](const auto& name) {
                return cut.contains({d, name.first});
            });
        };
        if (!blocked() && draw(4) < keeps) {
            persist(*directory, *change);
            continue;
        }
        forgotten.insert(change->order);
        cut.insert({directory, ""});
        for (const auto& [name, inode] : change->names) cut.insert({directory, name});
    }
}

void SimulatedDisk::decide_bytes(Inode& file, const std::function<std::uint64_t(std::uint64_t)>& draw) {
    if (file.bytes == file.durable_bytes) return;
    const std::string& newer = *file.bytes;
    const std::uint64_t what = draw(4);
    if (what == 0) {
        file.durable_bytes = file.bytes;
    } else if (what >= 2) {
        std::string bytes = newer.substr(0, draw(newer.size() + 1));
        if (what == 3) bytes.resize(newer.size(), '\0');
        file.durable_bytes = std::make_shared<const std::string>(std::move(bytes));
    }
}

void SimulatedDisk::cut_power(DirectoryOrder order, const std::function<std::uint64_t(std::uint64_t)>& draw) {
    decide_names(order, draw);
    for (const InodePointer& inode : inodes_) {
        if (inode->directory) {
            inode->changes.clear();
            inode->names = inode->durable_names;
        } else {
            decide_bytes(*inode, draw);
            inode->bytes = inode->durable_bytes;
            inode->lost = false;
            inode->locked_by = nullptr;
        }
    }
    // What no name leads to is gone. Directories hold their files, so once more for those.
    for (int depth = 0; depth < 4; ++depth) {
        std::erase_if(inodes_, [](const InodePointer& inode) { return inode.use_count() == 1; });
    }
}

}  // namespace lockstep::simulation
