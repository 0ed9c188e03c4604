// run.json and revisions.json: the first byte says which, sealed again when it is JSON.

#include "coordinator/run_record.h"
#include "tests/fuzz/support/fuzz_artifacts.h"
#include "tests/fuzz/support/fuzz_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    if (size == 0) return 0;
    const std::filesystem::path folder = fuzz::memory_folder() / "record";
    static const bool made = std::filesystem::create_directories(folder);
    if (!made) return 0;
    const std::string_view text = fuzz::text_of(data + 1, size - 1);
    const bool revisions = data[0] % 4 == 1;
    std::filesystem::remove(folder / "revisions.json");
    std::filesystem::copy_file(run_record_path(fuzz::sound_artifacts().run()), run_record_path(folder),
                               std::filesystem::copy_options::overwrite_existing);
    const std::string name = revisions ? "revisions.json" : run_record_path(folder).filename().string();
    fuzz::memory_file("record/" + name, data[0] % 4 < 3 ? fuzz::sealed_again(text) : std::string(text));
    fuzz::read_or_refuse([&] {
        const RunRecord record = read_run_record(folder);
        plan_in_force(record.plans, 7);
        plan_behind(record.plans, 7);
    });
    return 0;
}
