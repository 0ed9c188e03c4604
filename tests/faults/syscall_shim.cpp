// A library to be loaded before all others (LD_PRELOAD): the n-th system call that
// touches a run's checkpoints or ledger fails, or the process ends there. Once;
// whatever follows works.
//
// LOCKSTEP_FAULT=N:WHAT   WHAT is an errno (ENOSPC, EIO, EINTR, EDQUOT), "short" (half of a write is done),
//                         or "kill" (SIGKILL instead of the call). N counts from 0; -1: only count.
// LOCKSTEP_FAULT_LOG=FILE append the name of every counted call.

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace {

template <class Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

struct Fault {
    long at = -1;
    int error = 0;  // 0: kill; -1: short.
    int log = -1;
    long calls = 0;

    Fault() {
        if (const char* file = getenv("LOCKSTEP_FAULT_LOG")) {
            static const auto open_file = next<int (*)(const char*, int, ...)>("open");
            log = open_file(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        }
        const char* spec = getenv("LOCKSTEP_FAULT");
        if (spec == nullptr) return;
        at = strtol(spec, nullptr, 10);
        const char* what = strchr(spec, ':');
        what = what == nullptr ? "" : what + 1;
        const struct {
            const char* name;
            int error;
        } known[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},  {"EINTR", EINTR},
                     {"EDQUOT", EDQUOT}, {"short", -1}, {"kill", 0}};
        for (const auto& k : known) {
            if (strcmp(what, k.name) == 0) error = k.error;
        }
    }
};

Fault& fault() {
    static Fault the_fault;
    return the_fault;
}

bool is_of_the_run(const char* path) {
    return path != nullptr && (strstr(path, "/checkpoints") != nullptr || strstr(path, "/ledger") != nullptr);
}

bool is_of_the_run(int descriptor) {
    char link[64], path[4096];
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
    if (f.error == 0) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (f.error == -1) return Answer::half;
    errno = f.error;
    return Answer::fail;
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
        is_of_the_run(path) && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_DIRECTORY) != 0);
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
    if (is_of_the_run(to) && fails("rename")) return -1;
    return real(from, to);
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) {
    static const auto real = next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
    if (is_of_the_run(to) && fails("renameat2")) return -1;
    return real(from_directory, from, to_directory, to, flags);
}

int unlink(const char* path) {
    static const auto real = next<int (*)(const char*)>("unlink");
    if (is_of_the_run(path) && fails("unlink")) return -1;
    return real(path);
}

int rmdir(const char* path) {
    static const auto real = next<int (*)(const char*)>("rmdir");
    if (is_of_the_run(path) && fails("rmdir")) return -1;
    return real(path);
}

int mkdir(const char* path, mode_t mode) {
    static const auto real = next<int (*)(const char*, mode_t)>("mkdir");
    if (is_of_the_run(path) && fails("mkdir")) return -1;
    return real(path, mode);
}

}  // extern "C"
