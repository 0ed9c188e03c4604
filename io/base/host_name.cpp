#include "io/base/host_name.h"

#include <unistd.h>

#include <array>

namespace lockstep {

std::string own_host_name() {
    // One byte more than asked for: a name that is cut need not end in a zero.
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) != 0) return "?";
    return name.data();
}

}  // namespace lockstep
