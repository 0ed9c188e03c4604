// io/run/manifest_check.h
//
// What makes a manifest sound in itself, before any file it names is opened.

#pragma once

#include <string>
#include <string_view>

namespace lockstep {

struct Manifest;

/// The first thing wrong with the values of a manifest (slices, names, steps), or nothing.
std::string problem_of(const Manifest& manifest);

/// Whether a manifest of any version is as it was written: its digest field is that of the rest.
bool manifest_digest_holds(std::string_view json);

}  // namespace lockstep
