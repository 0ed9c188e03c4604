// The files of a plan for people and tools: the first byte says which one the rest is. Documents with a
// digest of their own are sealed again, when they are JSON.

#include "io/files/atomic_file.h"
#include "tests/fuzz/support/fuzz_artifacts.h"
#include "tests/fuzz/support/fuzz_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    static constexpr const char* names[] = {"fingerprints.json", "metadata.json", "stats.json", "plan.jsonl"};
    if (size == 0) return 0;
    const std::filesystem::path folder = fuzz::sound_artifacts().plan_folder();
    const std::size_t which = data[0] % 4;
    const std::filesystem::path file = folder / names[which];
    const std::string before = read_file(file);
    const std::string_view text = fuzz::text_of(data + 1, size - 1);
    fuzz::memory_file(std::filesystem::relative(file, fuzz::memory_folder()),
                      which < 2 ? fuzz::sealed_again(text) : std::string(text));
    fuzz::read_or_refuse([&] {
        const PlanFile plan = PlanFile::open(folder);
        plan.check_structure();
        check_plan_files(plan);
    });
    fuzz::memory_file(std::filesystem::relative(file, fuzz::memory_folder()), before);
    return 0;
}
