// coordinator/version.h
//
// Version of the tool, as recorded beside artifacts. Never inside a fingerprint.

#pragma once

namespace lockstep {

inline constexpr const char* tool_version = "0.1.0";

}  // namespace lockstep
