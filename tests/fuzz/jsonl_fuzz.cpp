// Documents of JSONL, with and without tolerated bad lines.

#include "tests/fuzz/support/fuzz_documents.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    lockstep::fuzz::read_as_document("input.jsonl", lockstep::fuzz::text_of(data, size));
    lockstep::DocumentOptions scored;
    scored.score_field = "id";
    lockstep::fuzz::read_as_document("input.jsonl", lockstep::fuzz::text_of(data, size), scored);
    return 0;
}
