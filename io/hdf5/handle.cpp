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
    // A file whose close failed stays open inside the library, whose exit handler then crashes over it: the
    // documented exit code of a full disk would become a segmentation fault. We close what we open, so
    // nothing needs that handler.
    static const herr_t without_exit_handler = H5dont_atexit();
    static_cast<void>(without_exit_handler);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

void Hdf5Calls::fail(std::string_view action, std::string_view object) const {
    std::string message = "cannot " + std::string(action);
    if (!object.empty()) message += " '" + std::string(object) + "' in";
    message += " '" + file_.string() + "': " + innermost_message();
    if (on_failure_ == ErrorCode::corrupt_data) message += "; restore the file or make it again";
    throw Error(on_failure_, message);
}

Hdf5Properties file_access_properties(const Hdf5Calls& calls) {
    constexpr std::string_view action = "set properties of";
    constexpr hsize_t alignment_bytes = 64;
    Hdf5Properties properties(calls.checked(H5Pcreate(H5P_FILE_ACCESS), action));
    calls.checked(H5Pset_fclose_degree(properties.id(), H5F_CLOSE_SEMI), action);
    calls.checked(H5Pset_libver_bounds(properties.id(), H5F_LIBVER_V110, H5F_LIBVER_V110), action);
    calls.checked(H5Pset_file_locking(properties.id(), false, true), action);
    calls.checked(H5Pset_sieve_buf_size(properties.id(), 0), action);
    calls.checked(H5Pset_alignment(properties.id(), 1, alignment_bytes), action);
    return properties;
}

}  // namespace lockstep
