// lengths.jsonl, by both readings of an id that comes twice.

#include "io/corpus/length_cache.h"
#include "tests/fuzz/support/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    const std::filesystem::path file = fuzz::memory_file("lengths.jsonl", fuzz::text_of(data, size));
    for (const DuplicateIds duplicates : {DuplicateIds::refuse, DuplicateIds::last_wins}) {
        fuzz::read_or_refuse([&] { read_lengths_jsonl(file, duplicates).lengths_fingerprint(); });
    }
    fuzz::read_or_refuse([&] { open_lengths(file); });
    return 0;
}
