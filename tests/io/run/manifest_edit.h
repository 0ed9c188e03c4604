// tests/io/run/manifest_edit.h
//
// Manifests changed on purpose, with a digest that is right again, so that a test
// meets the check behind the digest.

#pragma once

#include <string>
#include <vector>

namespace lockstep {

/// JSON pointers of every member and element ("/cursor/plan", "/shards/0"), "/digest" left out.
std::vector<std::string> pointers_of(const std::string& json);

/// The document with the value at `pointer` replaced or added; `value` is JSON text.
std::string with_value(const std::string& json, const std::string& pointer, const std::string& value);

std::string without_member(const std::string& json, const std::string& pointer);

/// XXH3-128 of the document without its digest, dumped compactly with sorted keys.
std::string digest_of_manifest(const std::string& json);

}  // namespace lockstep
