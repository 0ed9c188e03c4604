// index.json of a folder that an export is to replace: an export of ours, or left alone.

#include "coordinator/plan_export.h"
#include "tests/fuzz/support/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    fuzz::memory_file("index.json", fuzz::text_of(data, size));
    fuzz::read_or_refuse([] { is_plan_export(fuzz::memory_folder()); });
    return 0;
}
