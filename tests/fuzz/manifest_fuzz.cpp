// manifest.json: as it is, and sealed again when it is JSON.

#include "io/run/checkpoint.h"
#include "io/run/manifest_check.h"
#include "tests/fuzz/support/fuzz_json.h"
#include "tests/fuzz/support/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    const std::string_view text = fuzz::text_of(data, size);
    for (const std::string& json : {std::string(text), fuzz::sealed_again(text)}) {
        fuzz::read_or_refuse([&] {
            const Manifest manifest = manifest_from_json(json, "manifest.json");
            problem_of(manifest);
            to_json(manifest);
        });
    }
    return 0;
}
