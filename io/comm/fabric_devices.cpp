#include "io/comm/fabric_devices.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>

namespace lockstep {

namespace {

namespace fs = std::filesystem;

/// Without these the kernel's view is not all there.
constexpr std::array always_there = {"sys/class/net", "dev"};
/// The kernel's classes of such devices. RoCE, EFA, usNIC and Omni-Path are infiniband to it.
constexpr std::array device_classes = {"sys/class/infiniband", "sys/class/infiniband_verbs", "sys/class/cxi",
                                       "sys/class/cxi_user", "sys/class/bxi"};
/// Names in /dev: Omni-Path, True Scale, Slingshot, BXI.
constexpr std::array<std::string_view, 5> device_names = {"hfi", "ipath", "qib", "cxi", "bxi"};

/// Variables of message layers, and of what only they use, begin so.
constexpr std::array<std::string_view, 4> layer_variables = {
    "OMPI_MCA_pml", "OMPI_MCA_mtl", "OMPI_MCA_opal_common_ucx", "OMPI_MCA_vprotocol"};

bool user_has_decided() {
    for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
        const std::string_view text = *variable;
        if (std::ranges::any_of(layer_variables, [&](std::string_view of) { return text.starts_with(of); })) {
            return true;
        }
    }
    return false;
}

}  // namespace

bool may_have_fabric(const fs::path& root) {
    std::error_code unreadable;
    for (const char* folder : always_there) {
        if (!fs::is_directory(root / folder, unreadable)) return true;
    }
    for (const char* folder : device_classes) {
        const bool there = fs::exists(root / folder, unreadable);
        if (unreadable || (there && !fs::is_empty(root / folder, unreadable))) return true;
    }
    fs::directory_iterator entry(root / "dev", unreadable);
    for (; !unreadable && entry != fs::directory_iterator(); entry.increment(unreadable)) {
        const std::string name = entry->path().filename().string();
        if (std::ranges::any_of(device_names, [&](std::string_view of) { return name.starts_with(of); })) {
            return true;
        }
    }
    return static_cast<bool>(unreadable);
}

void skip_absent_fabrics(const fs::path& root) {
    if (!user_has_decided() && !may_have_fabric(root)) setenv("OMPI_MCA_pml", "ob1", 1);
}

}  // namespace lockstep
