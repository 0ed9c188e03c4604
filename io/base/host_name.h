// io/base/host_name.h

#pragma once

#include <string>

namespace lockstep {

/// Name of this host, cut at 255 bytes; "?" if the system does not say.
std::string own_host_name();

}  // namespace lockstep
