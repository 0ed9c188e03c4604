#include "io/files/file_digest.h"

#include <cstddef>
#include <span>
#include <vector>

namespace lockstep {

std::uint64_t digest_rest(PosixFile& file, DigestStream& digest) {
    std::vector<std::byte> buffer(std::size_t{1} << 20U);
    std::uint64_t bytes = 0;
    for (std::size_t got = buffer.size(); got == buffer.size(); bytes += got) {
        got = file.read(buffer);
        digest.update(std::span(buffer).first(got));
    }
    return bytes;
}

}  // namespace lockstep
