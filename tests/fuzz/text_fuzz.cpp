// Plain text; the first byte chooses how it is cut.

#include "tests/fuzz/support/fuzz_documents.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    if (size == 0) return 0;
    DocumentOptions options;
    options.rule = static_cast<DocumentRule>(data[0] % 4);
    options.separator = "%";
    fuzz::read_as_document("input.txt", fuzz::text_of(data + 1, size - 1), options);
    return 0;
}
