#include "io/base/error.h"

#include <cerrno>
#include <filesystem>
#include <new>
#include <system_error>

namespace lockstep {

namespace {

std::string one_line(std::string message) {
    for (char& c : message) {
        if (c == '\n' || c == '\r' || c == '\t') {
            c = ' ';
        } else if (static_cast<unsigned char>(c) < ' ' || c == 0x7F) {
            c = '?';
        }
    }
    return message;
}

}  // namespace

Error::Error(ErrorCode code, const std::string& message)
    : std::runtime_error(one_line(message)), code_(code) {}

int exit_code_of(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::check_failed:
            return 1;
        case ErrorCode::invalid_argument:
            return 2;
        case ErrorCode::corrupt_data:
        case ErrorCode::incompatible_version:
        case ErrorCode::fingerprint_mismatch:
            return 65;
        case ErrorCode::not_found:
            return 66;
        case ErrorCode::bug:
            return 70;
        case ErrorCode::output_exists:
            return 73;
        case ErrorCode::io_failure:
            return 74;
        case ErrorCode::stopped:
            return 75;
        case ErrorCode::peer_lost:
            return 76;
        case ErrorCode::environment:
            return 78;
    }
    return 70;
}

Error error_of(const std::exception& failure) {
    if (const auto* known = dynamic_cast<const Error*>(&failure)) return *known;
    if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&failure)) {
        return {ErrorCode::io_failure,
                "cannot access '" + file->path1().string() + "': " + file->code().message()};
    }
    if (dynamic_cast<const std::bad_alloc*>(&failure) != nullptr) {
        return {ErrorCode::environment, "not enough memory; lower the token budget or use a larger machine"};
    }
    return {ErrorCode::bug,
            std::string("unexpected failure: ") + failure.what() + "; please report this bug"};
}

void throw_errno(const std::string& action, const std::string& path, int errno_value,
                 const std::string& advice) {
    std::string message =
        "cannot " + action + " '" + path + "': " + std::generic_category().message(errno_value);
    if (!advice.empty()) message += "; " + advice;
    const bool absent = errno_value == ENOENT || errno_value == ENOTDIR;
    throw Error(absent ? ErrorCode::not_found : ErrorCode::io_failure, message);
}

}  // namespace lockstep
