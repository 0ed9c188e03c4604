// lengths.h5: raw bytes, or a sound one edited and sealed again.

#include "tests/fuzz/support/fuzz_artifacts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    const std::filesystem::path file = fuzz::memory_folder() / "input.h5";
    const std::filesystem::path sound = fuzz::sound_artifacts().folder() / "lengths.h5";
    if (!fuzz::columns_from(fuzz::text_of(data, size), sound, file)) return 0;
    fuzz::read_or_refuse([&] {
        const LengthCache lengths = open_lengths(file);
        for (std::uint64_t sample = 0; sample < lengths.num_samples(); ++sample) lengths.key(sample);
        lengths.verify_everything();
    });
    return 0;
}
