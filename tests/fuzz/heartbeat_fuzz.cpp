// A rank's heartbeat, which another process may be writing: a whole one, or none.

#include <stdexcept>

#include "io/run/heartbeat.h"
#include "tests/fuzz/support/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    std::string text(fuzz::text_of(data, size));
    fuzz::read_or_refuse([&] {
        const auto beat = heartbeat_from_json(text);
        if (beat && describe(Rank{beat->rank}, beat).find('\n') != std::string::npos)
            throw std::logic_error("a rank described in several lines");
    });
    text.resize(heartbeat_bytes, ' ');
    fuzz::memory_file("heartbeat.json", text);
    fuzz::read_or_refuse([] {
        const auto beat = read_heartbeat(fuzz::memory_folder(), Rank{0});
        if (beat && to_json_line(*beat).size() != heartbeat_bytes)
            throw std::logic_error("a heartbeat of another length");
    });
    return 0;
}
