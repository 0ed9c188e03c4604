// model.safetensors.index.json, beside two sound files of tensors.

#include "io/safetensors.h"
#include "tests/fuzz/support/fuzz_target.h"

namespace {

using namespace lockstep;

/// The folder, with a.safetensors and b.safetensors of two tensors each.
const std::filesystem::path& shards() {
    static const std::filesystem::path folder = [] {
        std::filesystem::create_directories(fuzz::memory_folder() / "shards");
        for (const std::string name : {"a", "b"}) {
            const SafetensorsWriter::Tensor tensors[] = {{name + "1", TensorType::f32, {1}},
                                                         {name + "2", TensorType::f32, {1}}};
            SafetensorsWriter writer(fuzz::memory_folder() / "shards" / (name + ".safetensors"), tensors, {},
                                     Overwrite::no);
            writer.append_array(std::span<const float>(std::vector<float>{1, 2}));
            writer.publish();
        }
        return fuzz::memory_folder() / "shards";
    }();
    return folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::filesystem::path folder = shards();
    fuzz::memory_file("shards/model.safetensors.index.json", fuzz::text_of(data, size));
    fuzz::read_or_refuse([&] {
        const SafetensorsFolder model = SafetensorsFolder::open(folder);
        for (const auto& [name, place] : model.tensors()) {
            float value = 0;
            place.file->read(*place.tensor, 0, std::span(&value, 1));
        }
    });
    return 0;
}
