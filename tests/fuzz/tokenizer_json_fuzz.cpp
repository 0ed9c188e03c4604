// tokenizer.json up to the first zero byte, then a text for it.

#include <algorithm>

#include "tests/fuzz/support/fuzz_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    const std::string_view bytes = fuzz::text_of(data, size);
    const std::size_t end = std::min(bytes.find('\0'), bytes.size());
    fuzz::read_or_refuse([&] {
        const auto tokenizer = make_json_tokenizer(bytes.substr(0, end), "", "", {});
        fuzz::use_tokenizer(*tokenizer, bytes.substr(std::min(end + 1, bytes.size())));
        fuzz::use_tokenizer(*tokenizer, "hello, world 12 \xc3\xa9\n");
    });
    return 0;
}
