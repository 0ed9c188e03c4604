// JSONL behind gzip, any number of members.

#include "tests/fuzz/support/fuzz_documents.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    lockstep::fuzz::read_as_document("input.jsonl.gz", lockstep::fuzz::text_of(data, size));
    return 0;
}
