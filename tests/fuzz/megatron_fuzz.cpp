// Megatron's index and tokens: two bytes say how long the index is, the rest are the tokens.

#include <algorithm>

#include "tests/fuzz/support/fuzz_documents.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    if (size < 2) return 0;
    const std::string_view bytes = fuzz::text_of(data + 2, size - 2);
    const std::size_t index = std::min<std::size_t>(bytes.size(), data[0] + 256U * data[1]);
    fuzz::memory_file("input.bin", bytes.substr(index));
    fuzz::read_as_document("input.idx", bytes.substr(0, index));
    return 0;
}
