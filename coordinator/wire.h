// coordinator/wire.h
//
// Framing of messages between identical binaries: magic, length and digest in
// front, so that another build, a cut or an altered message fails loudly. Archives
// are Boost.Serialization's; they never touch a disk.

#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

std::vector<std::byte> frame_message(std::span<const std::byte> payload);

/// The payload within `message`. @throws Error{corrupt_data} naming `what`: other build, cut, or digest
/// mismatch.
std::span<const std::byte> unframe_message(std::span<const std::byte> message, const std::string& what);

}  // namespace lockstep
