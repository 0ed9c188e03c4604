// A library to be loaded before all others (LD_PRELOAD): the n-th system call that
// touches a run's checkpoints or ledger fails, or the process ends there. Once;
// whatever follows works.
//
// LOCKSTEP_FAULT_RUN=FOLDER  the run's folder, as realpath(3) gives it: nothing is counted outside of it.
// LOCKSTEP_FAULT=N:WHAT      N counts from 0; WHAT is an errno (ENOSPC, EIO, EINTR, EDQUOT), "short" (a
//                            write is half done), "kill" (SIGKILL instead of the call) or "hold" (the call
//                            waits until somebody kills the process).
// LOCKSTEP_FAULT_RANK=R      only in the process of this rank; a process without a rank counts as rank 0.
// LOCKSTEP_FAULT_MARK=FILE   made when the fault happens; where it is there already, none happens any more.
// LOCKSTEP_FAULT_LOG=FILE    append the name of every counted call to FILE.R, R the rank.

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace {

template <class Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

/// Of the process, by the launcher's word; 0 without one.
long own_rank() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
        if (const char* rank = getenv(name)) return strtol(rank, nullptr, 10);
    }
    return 0;
}

int open_really(const char* path, int flags) {
    static const auto real = next<int (*)(const char*, int, ...)>("open");
    return real(path, flags | O_CLOEXEC, 0666);
}

enum class Effect { fail, half, kill, hold };

struct Fault {
    const char* run = getenv("LOCKSTEP_FAULT_RUN");
    const char* mark = getenv("LOCKSTEP_FAULT_MARK");
    long at = -1;
    Effect effect = Effect::fail;
    int error = 0;
    int log = -1;
    std::atomic<long> calls = 0;

    Fault() {
        const long rank = own_rank();
        if (const char* name = getenv("LOCKSTEP_FAULT_LOG")) {
            char path[PATH_MAX];
            snprintf(path, sizeof path, "%s.%ld", name, rank);
            log = open_really(path, O_WRONLY | O_CREAT | O_APPEND);
        }
        const char* spec = getenv("LOCKSTEP_FAULT");
        const char* victim = getenv("LOCKSTEP_FAULT_RANK");
        const char* what = spec == nullptr ? nullptr : strchr(spec, ':');
        if (what == nullptr || (victim != nullptr && strtol(victim, nullptr, 10) != rank)) return;
        const struct {
            const char* name;
            Effect effect;
            int error;
        } known[] = {{"ENOSPC", Effect::fail, ENOSPC}, {"EIO", Effect::fail, EIO},
                     {"EINTR", Effect::fail, EINTR},   {"EDQUOT", Effect::fail, EDQUOT},
                     {"short", Effect::half, 0},       {"kill", Effect::kill, 0},
                     {"hold", Effect::hold, 0}};
        for (const auto& k : known) {
            if (strcmp(what + 1, k.name) != 0) continue;
            at = strtol(spec, nullptr, 10);
            effect = k.effect;
            error = k.error;
        }
    }
};

Fault& fault() {
    static Fault the_fault;
    return the_fault;
}

/// @param path  as the kernel has it.
bool is_of_the_run(const char* path) {
    const size_t length = strlen(fault().run);
    if (strncmp(path, fault().run, length) != 0) return false;
    const char* name = path + length;
    return strncmp(name, "/checkpoints", 12) == 0 || strncmp(name, "/ledger", 7) == 0;
}

/// By the name a call was given, through links and from the working directory. What it names need not exist.
bool names_the_run(const char* path) {
    if (fault().run == nullptr || path == nullptr) return false;
    if (strstr(path, "checkpoints") == nullptr && strstr(path, "ledger") == nullptr) return false;
    const char* slash = strrchr(path, '/');
    const char* name = slash == nullptr ? path : slash + 1;
    char folder[PATH_MAX], real[PATH_MAX], whole[2 * PATH_MAX];
    const size_t length = static_cast<size_t>(name - path);
    if (length >= sizeof folder) return false;
    memcpy(folder, path, length);
    folder[length] = '\0';
    if (realpath(length == 0 ? "." : folder, real) == nullptr) return false;
    snprintf(whole, sizeof whole, "%s/%s", real, name);
    return is_of_the_run(whole);
}

bool is_of_the_run(int descriptor) {
    if (fault().run == nullptr) return false;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return false;
    path[length] = '\0';
    return is_of_the_run(path);
}

enum class Answer { pass, fail, half };

/// Counts a call; says what is to become of it.
Answer answer(const char* name) {
    Fault& f = fault();
    if (f.log >= 0) {
        static const auto write_file = next<ssize_t (*)(int, const void*, size_t)>("write");
        char line[64];
        const int length = snprintf(line, sizeof line, "%s\n", name);
        if (write_file(f.log, line, static_cast<size_t>(length)) != length) abort();
    }
    if (f.calls++ != f.at) return Answer::pass;
    if (f.mark != nullptr) {
        const int made = open_really(f.mark, O_WRONLY | O_CREAT | O_EXCL);
        if (made < 0) return Answer::pass;
        static const auto close_file = next<int (*)(int)>("close");
        close_file(made);
    }
    switch (f.effect) {
        case Effect::fail:
            errno = f.error;
            return Answer::fail;
        case Effect::half:
            return Answer::half;
        case Effect::kill:
            kill(getpid(), SIGKILL);
            break;
        case Effect::hold:
            break;
    }
    for (;;) pause();
}

bool fails(const char* name) {
    return answer(name) == Answer::fail;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
    mode_t mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    static const auto real = next<int (*)(const char*, int, ...)>("open");
    // Reading is not what a save does to the disk.
    const bool counted =
        names_the_run(path) && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_DIRECTORY) != 0);
    if (counted && fails("open")) return -1;
    return real(path, flags, mode);
}

ssize_t write(int descriptor, const void* bytes, size_t count) {
    static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
    if (is_of_the_run(descriptor)) {
        const Answer what = answer("write");
        if (what == Answer::fail) return -1;
        if (what == Answer::half && count > 1) count /= 2;
    }
    return real(descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
    static const auto real = next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
    if (is_of_the_run(descriptor)) {
        const Answer what = answer("pwrite");
        if (what == Answer::fail) return -1;
        if (what == Answer::half && count > 1) count /= 2;
    }
    return real(descriptor, bytes, count, offset);
}

int fsync(int descriptor) {
    static const auto real = next<int (*)(int)>("fsync");
    if (is_of_the_run(descriptor) && fails("fsync")) return -1;
    return real(descriptor);
}

int ftruncate(int descriptor, off_t length) {
    static const auto real = next<int (*)(int, off_t)>("ftruncate");
    if (is_of_the_run(descriptor) && fails("ftruncate")) return -1;
    return real(descriptor, length);
}

int close(int descriptor) {
    static const auto real = next<int (*)(int)>("close");
    const bool failing = is_of_the_run(descriptor) && fails("close");
    const int reason = errno;
    const int result = real(descriptor);  // As Linux does: the descriptor is gone either way.
    if (!failing) return result;
    errno = reason;
    return -1;
}

int rename(const char* from, const char* to) {
    static const auto real = next<int (*)(const char*, const char*)>("rename");
    if (names_the_run(to) && fails("rename")) return -1;
    return real(from, to);
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) {
    static const auto real = next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
    if (names_the_run(to) && fails("renameat2")) return -1;
    return real(from_directory, from, to_directory, to, flags);
}

int unlink(const char* path) {
    static const auto real = next<int (*)(const char*)>("unlink");
    if (names_the_run(path) && fails("unlink")) return -1;
    return real(path);
}

int rmdir(const char* path) {
    static const auto real = next<int (*)(const char*)>("rmdir");
    if (names_the_run(path) && fails("rmdir")) return -1;
    return real(path);
}

int mkdir(const char* path, mode_t mode) {
    static const auto real = next<int (*)(const char*, mode_t)>("mkdir");
    if (names_the_run(path) && fails("mkdir")) return -1;
    return real(path, mode);
}

}  // extern "C"
