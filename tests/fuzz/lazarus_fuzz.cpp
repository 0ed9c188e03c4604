// A plan folder of Lazarus: meta.json up to the first zero byte, then epoch_0.jsonl.

#include <algorithm>

#include "coordinator/lazarus_files.h"
#include "tests/fuzz/support/fuzz_artifacts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    const std::string_view bytes = fuzz::text_of(data, size);
    const std::size_t end = std::min(bytes.find('\0'), bytes.size());
    const std::filesystem::path folder = fuzz::memory_folder() / "lazarus";
    static const std::vector<PlanInput> inputs = [&] {
        std::filesystem::create_directories(folder);
        std::vector<PlanInput> opened;
        opened.push_back(PlanInput::open(fuzz::sound_artifacts().folder() / "lengths.jsonl", "answered"));
        return opened;
    }();
    fuzz::memory_file("lazarus/meta.json", bytes.substr(0, end));
    fuzz::memory_file("lazarus/epoch_0.jsonl", bytes.substr(std::min(end + 1, bytes.size())));
    fuzz::read_or_refuse([&] { import_lazarus(folder, inputs, 2); });
    return 0;
}
