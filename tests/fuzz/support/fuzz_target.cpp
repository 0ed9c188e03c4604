#include "tests/fuzz/support/fuzz_target.h"

#include <stdlib.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <stdexcept>

#include "io/base/error.h"

namespace lockstep::fuzz {

namespace {

namespace fs = std::filesystem;

struct MemoryFolder {
    fs::path path;

    MemoryFolder() {
        const fs::path memory = fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
        std::string name = (memory / "lockstep-fuzz-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
        path = name;
    }
    ~MemoryFolder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

[[noreturn]] void finding(const std::string& what) {
    std::fprintf(stderr, "FINDING: %s\n", what.c_str());
    std::abort();
}

bool says_the_input_is_bad(ErrorCode code) {
    switch (code) {
        case ErrorCode::check_failed:
        case ErrorCode::invalid_argument:
        case ErrorCode::corrupt_data:
        case ErrorCode::incompatible_version:
        case ErrorCode::fingerprint_mismatch:
        case ErrorCode::not_found:
            return true;
        default:
            return false;
    }
}

}  // namespace

bool read_or_refuse(const std::function<void()>& reader) {
    try {
        reader();
        return true;
    } catch (const Error& error) {
        const std::string text = error.what();
        if (!says_the_input_is_bad(error.code())) {
            finding("exit code " + std::to_string(exit_code_of(error.code())) + ": " + text);
        }
        if (text.size() < 10 || text.size() > 8000) finding("a message nobody can use: " + text);
        if (text.find_first_of(std::string_view("\n\r\0", 3)) != std::string::npos) {
            finding("a message of several lines: " + text);
        }
        return false;
    } catch (const std::exception& failure) {
        finding(std::string("not a lockstep::Error: ") + failure.what());
    }
}

const fs::path& memory_folder() {
    static const MemoryFolder folder;
    return folder.path;
}

fs::path memory_file(const fs::path& name, std::string_view bytes) {
    const fs::path path = memory_folder() / name;
    std::ofstream stream(path, std::ios::binary | std::ios::trunc);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!stream.flush()) finding("cannot write " + path.string());
    return path;
}

}  // namespace lockstep::fuzz
