// A ledger segment: raw bytes, or a sound one edited and sealed again.

#include "io/columns/column_file.h"
#include "io/run/ledger.h"
#include "tests/fuzz/support/fuzz_artifacts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    static const std::filesystem::path sound = fuzz::sound_artifacts().file_named("steps-00000000-");
    const std::filesystem::path file = fuzz::memory_folder() / sound.filename();
    if (!fuzz::columns_from(fuzz::text_of(data, size), sound, file)) return 0;
    fuzz::read_or_refuse([&] {
        const LedgerSegmentName name{file.filename().string(), ColumnFile::open_any(file).digest_hex()};
        ledger_chain(file.parent_path(), name);
    });
    // Under another name, what the name would tell is found by what is behind it.
    const std::filesystem::path copy = file.parent_path() / "copy.h5";
    std::filesystem::rename(file, copy);
    fuzz::read_or_refuse([&] { read_ledger_segment_file(copy); });
    return 0;
}
