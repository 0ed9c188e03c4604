// tests/fuzz/support/fuzz_target.h
//
// What every target needs: the entry both libFuzzer and the replay call, files
// that live in memory, and the one rule. A reader of bad bytes throws
// lockstep::Error, in one line, with a code that says so of the input.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace lockstep::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

/// Runs a reader. Ends the program with a message if the rule is broken.
/// @return whether the input was read to its end.
bool read_or_refuse(const std::function<void()>& reader);

/// A folder of this process in memory, gone at exit.
const std::filesystem::path& memory_folder();

/// Writes the file anew; parents exist. @return memory_folder() / name.
std::filesystem::path memory_file(const std::filesystem::path& name, std::string_view bytes);

/// An input is a file, or, after the letter E, a script of edits to a sound one, which is then sealed
/// again: so that what digests would refuse reaches the readers behind them.
/// @param sound  the file that edits start from.
/// @return false if there is nothing to be read.
bool columns_from(std::string_view input, const std::filesystem::path& sound,
                  const std::filesystem::path& file);

}  // namespace lockstep::fuzz
