// A SentencePiece model, through the library that reads it.

#include "tests/fuzz/support/fuzz_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    fuzz::read_or_refuse([&] {
        const auto tokenizer = make_sentencepiece_tokenizer(fuzz::text_of(data, size), {});
        fuzz::use_tokenizer(*tokenizer, "hello, world 12 \xc3\xa9");
    });
    return 0;
}
