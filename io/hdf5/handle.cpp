#include "io/hdf5/handle.h"

#include <string>

namespace lockstep {

namespace {

std::mutex& session_mutex() {
    static std::mutex mutex;
    return mutex;
}

// C code calls this; an exception must not pass through it.
herr_t keep_first(unsigned position, const H5E_error2_t* entry, void* text) noexcept {
    if (position != 0 || entry->desc == nullptr) return 0;
    try {
        *static_cast<std::string*>(text) = entry->desc;
    } catch (...) {
        return -1;
    }
    return 0;
}

/// The innermost message of the error stack, which is the one that knows the reason. Messages about system
/// calls also tell time and addresses; only the system's own words are kept of those.
std::string innermost_message() {
    std::string text;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &text);
    H5Eclear2(H5E_DEFAULT);
    constexpr std::string_view marker = "error message = '";
    if (const std::size_t begin = text.find(marker); begin != std::string::npos) {
        const std::size_t first = begin + marker.size();
        return text.substr(first, text.find('\'', first) - first);
    }
    return text.empty() ? "HDF5 gives no reason" : text;
}

}  // namespace

Hdf5Session::Hdf5Session() : lock_(session_mutex()) {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

void Hdf5Calls::fail(std::string_view action, std::string_view object) const {
    std::string message = "cannot " + std::string(action);
    if (!object.empty()) message += " '" + std::string(object) + "' in";
    message += " '" + file_.string() + "': " + innermost_message();
    if (on_failure_ == ErrorCode::corrupt_data) message += "; restore the file or make it again";
    throw Error(on_failure_, message);
}

}  // namespace lockstep
