// corpus.h5: raw bytes, or a sound one edited and sealed again.

#include <vector>

#include "tests/fuzz/support/fuzz_artifacts.h"

namespace {

using namespace lockstep;

void read_all(const Corpus& corpus) {
    std::vector<std::uint32_t> tokens;
    for (std::uint64_t sample = 0; sample < corpus.num_samples(); ++sample) {
        tokens.resize(corpus.sample_tokens(sample));
        corpus.read_tokens(sample, 0, tokens);
        corpus.loss_spans(sample);
        corpus.key(sample);
        corpus.provenance(sample);
    }
    corpus.sample_score();
    corpus.count_tokens();
    corpus.sources();
    corpus.left_out();
    corpus.ingest_record();
    corpus.verify_everything();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::filesystem::path file = fuzz::memory_folder() / "input.h5";
    const std::filesystem::path sound = fuzz::sound_artifacts().folder() / "answered.h5";
    if (!fuzz::columns_from(fuzz::text_of(data, size), sound, file)) return 0;
    fuzz::read_or_refuse([&] { read_all(Corpus::open(file)); });
    return 0;
}
