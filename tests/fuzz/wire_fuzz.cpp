// A message between ranks: only one that was framed here is taken.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ranges>

#include "coordinator/wire.h"
#include "tests/fuzz/support/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    const auto bytes = std::as_bytes(std::span(data, size));
    fuzz::read_or_refuse([&] {
        const auto payload = unframe_message(bytes, "the message");
        if (std::ranges::equal(frame_message(payload), bytes)) return;
        std::fprintf(stderr, "FINDING: a message was taken that frame_message never made\n");
        std::abort();
    });
    return 0;
}
