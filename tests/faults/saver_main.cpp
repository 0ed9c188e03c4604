// Saves as training does, and little else: takes the newest generation of a run,
// goes on to a step, commits there and prunes to two.
//   saver RUN STEP     exit codes as lockstep's; 0: the generation is committed

#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/comm/serial_communicator.h"
#include "worker/generation_commit.h"

namespace {

using namespace lockstep;

ModelConfig small_config() {
    ModelConfig config;
    config.family = ModelFamily::gpt2;
    config.layers = 1;
    config.width = 8;
    config.heads = config.kv_heads = 2;
    config.head_dim = 4;
    config.ffn = 16;
    config.positions = 8;
    config.vocabulary = 30;
    return config;
}

void save(const std::filesystem::path& run, std::uint64_t target) {
    const auto comm = make_serial_communicator();
    ThreadPool pool(1);
    const StateLayout layout(small_config());
    ShardedState state(*comm, pool, layout);
    Cursor cursor;
    cursor.numerics = "fma256";
    cursor.ledger_root = empty_ledger_root();
    CommitBase base;

    std::vector<std::string> rejected;
    const std::optional<Manifest> newest = newest_valid_generation(run, rejected);
    if (!rejected.empty()) throw Error(ErrorCode::corrupt_data, rejected.front());
    settle_run_directory(run, newest ? std::optional(newest->step) : std::nullopt,
                         newest ? newest->ledger_head : std::nullopt);
    if (newest) {
        const GenerationReader reader = GenerationReader::open(run, *newest);
        state.load(reader);
        cursor = reader.cursor();
        base = {newest->step, newest->step, newest->ledger_head, cursor.ledger_root};
    } else {
        state.initialize(1);
    }
    if (cursor.next_step >= target) return;

    GenerationCommitter committer(*comm, pool, state, base, {run, {2, 0}, SnapshotMode::copy});
    std::vector<LedgerRow> rows;
    for (; cursor.next_step < target; ++cursor.next_step) {
        LedgerRow row;
        row.step = row.pack = cursor.next_step;
        row.tokens = 10;
        rows.push_back(row);
        cursor.ledger_root = advance_ledger_root(cursor.ledger_root, row.step, {&rows.back(), 1});
        for (float& w : state.weights()) w += 1.0F;
    }
    committer.begin(cursor, rows);
    committer.drain();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    try {
        save(argv[1], std::stoull(argv[2]));
        return 0;
    } catch (const std::exception& failure) {
        const Error error = error_of(failure);
        std::fprintf(stderr, "%s\n", error.what());
        return exit_code_of(error.code());
    }
}
