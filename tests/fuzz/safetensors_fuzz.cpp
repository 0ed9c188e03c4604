// model.safetensors: header, and every tensor read as float.

#include <algorithm>
#include <array>

#include "io/safetensors.h"
#include "tests/fuzz/support/fuzz_target.h"

namespace {

using namespace lockstep;

void read_tensors(const SafetensorsFile& file) {
    std::array<float, 64> piece;
    for (const TensorEntry& tensor : file.tensors()) {
        for (std::uint64_t at = 0; at < tensor.elements; at += piece.size()) {
            const std::size_t count = std::min<std::uint64_t>(piece.size(), tensor.elements - at);
            if (!fuzz::read_or_refuse([&] { file.read(tensor, at, std::span(piece).first(count)); })) break;
        }
        shape_text(tensor.shape);
        quoted_name(tensor.name);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::filesystem::path file = fuzz::memory_file("model.safetensors", fuzz::text_of(data, size));
    fuzz::read_or_refuse([&] { read_tensors(SafetensorsFile::open(file)); });
    return 0;
}
