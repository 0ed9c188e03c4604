// config.json of a model.

#include "tests/fuzz/support/fuzz_target.h"
#include "worker/model/config_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    const std::filesystem::path file = fuzz::memory_file("config.json", fuzz::text_of(data, size));
    fuzz::read_or_refuse([&] {
        const LoadedModelConfig loaded = load_model_config(file.string(), 300);
        check_model_config(loaded.config);
        to_config_file(loaded.config);
        model_config_from_json(to_json(loaded.config));
    });
    return 0;
}
