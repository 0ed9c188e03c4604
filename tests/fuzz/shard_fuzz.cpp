// A shard among its generation: raw bytes, or a sound one edited, sealed and named by the manifest again.

#include "io/columns/column_file.h"
#include "io/run/checkpoint.h"
#include "io/run/state_digest.h"
#include "tests/fuzz/support/fuzz_artifacts.h"

namespace {

using namespace lockstep;

/// The sound generation, with a copy of its files that may change.
struct Generation {
    Manifest manifest;
    std::filesystem::path run, shard, sound_shard;

    Generation() : run(fuzz::memory_folder() / "run") {
        const std::filesystem::path sound = fuzz::sound_artifacts().run();
        std::filesystem::copy(sound, run, std::filesystem::copy_options::recursive);
        std::vector<std::string> rejected;
        manifest = newest_valid_generation(run, rejected).value();
        const std::filesystem::path name = manifest.shards.front().file;
        shard = generation_directory(run, manifest.step) / name;
        sound_shard = generation_directory(sound, manifest.step) / name;
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Generation sound;
    if (!fuzz::columns_from(fuzz::text_of(data, size), sound.sound_shard, sound.shard)) return 0;
    Manifest manifest = sound.manifest;
    fuzz::read_or_refuse([&] {
        const ColumnFile file = ColumnFile::open_any(sound.shard);
        manifest.shards.front().file_bytes = file.file_bytes();
        manifest.shards.front().digest_hex = file.digest_hex();
    });
    fuzz::read_or_refuse([&] {
        const GenerationReader reader = GenerationReader::open(sound.run, manifest);
        state_digest_of(reader, manifest.state_elements);
    });
    return 0;
}
