// tests/io/run/damage.h
//
// Tries every single-bit flip and every length of a file, and counts what went unseen.

#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>

#include "io/base/error.h"
#include "io/files/atomic_file.h"

namespace lockstep {

/// @param read  reads the file; must throw Error when it is not as it was written.
/// @return number of flips that `read` did not notice.
template <class Read>
std::size_t unnoticed_bit_flips(const std::filesystem::path& file, const Read& read) {
    std::size_t unnoticed = 0;
    const std::string bytes = read_file(file);
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&stream](std::size_t position, char value) {
        stream.seekp(static_cast<std::streamoff>(position));
        stream.put(value).flush();
    };
    for (std::size_t position = 0; position < bytes.size(); ++position) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            put(position, static_cast<char>(static_cast<unsigned char>(bytes[position]) ^ (1U << bit)));
            try {
                read();
                ++unnoticed;
            } catch (const Error&) {
            }
        }
        put(position, bytes[position]);
    }
    read();  // As it was.
    return unnoticed;
}

/// @return number of shorter lengths that `read` did not notice; the file is whole again afterwards.
template <class Read>
std::size_t unnoticed_truncations(const std::filesystem::path& file, const Read& read) {
    std::size_t unnoticed = 0;
    const std::string bytes = read_file(file);
    for (std::size_t length = bytes.size(); length-- > 0;) {
        std::filesystem::resize_file(file, length);
        try {
            read();
            ++unnoticed;
        } catch (const Error&) {
        }
    }
    std::ofstream(file, std::ios::binary) << bytes;
    read();
    return unnoticed;
}

}  // namespace lockstep
