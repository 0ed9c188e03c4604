// adapter_config.json up to the first zero byte, then adapter_model.safetensors.

#include <algorithm>
#include <vector>

#include "tests/fuzz/support/fuzz_target.h"
#include "tests/worker/model_cases.h"
#include "worker/model/adapter_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    static const ModelConfig model = model_cases(24, 31, 17)[2].config;
    const std::string_view bytes = fuzz::text_of(data, size);
    const std::size_t end = std::min(bytes.find('\0'), bytes.size());
    fuzz::memory_file(adapter_config_name, bytes.substr(0, end));
    fuzz::memory_file(adapter_weights_name, bytes.substr(std::min(end + 1, bytes.size())));
    fuzz::read_or_refuse([&] {
        const AdapterFolder folder = AdapterFolder::open(fuzz::memory_folder(), model);
        std::vector<float> state(lora_layout(model, folder.settings()).size());
        folder.read(state);
    });
    return 0;
}
