// How long does a step stand still for a generation, and how does making one durable
// compare with writing the same bytes to the same disk without any format?
//
//   generation_bench FOLDER [PRESET] [ROUNDS]     (gpt2-124m, 5; FOLDER on the disk in question)
//
// A world of one. Raw writes and generations take turns, so that both meet the disk in
// the same mood; the loop advances every 20 ms as steps would.

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "io/base/error.h"
#include "io/comm/serial_communicator.h"
#include "io/files/atomic_file.h"
#include "io/files/posix_file.h"
#include "worker/generation_commit.h"
#include "worker/model/model_config.h"

namespace {

using namespace lockstep;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// write, fsync, rename, fsync of the directory. @return seconds.
double raw_durable_write(const std::filesystem::path& folder, const ShardedState& state) {
    const auto path = folder / "raw";
    const Clock::time_point begin = Clock::now();
    PosixFile file(temporary_path(path), O_WRONLY | O_CREAT | O_TRUNC);
    for (const auto part : {state.slice_weights(), state.adam_m(), state.adam_v()}) {
        file.write(std::as_bytes(part));
    }
    file.close();
    publish_file(temporary_path(path), path, Overwrite::yes);
    const double seconds = seconds_since(begin);
    std::filesystem::remove(path);
    return seconds;
}

/// The least that at least `share` of the values do not exceed. share: (0, 1].
double quantile(std::vector<double> values, double share) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size()))) - 1];
}

void measure(const std::filesystem::path& folder, const std::string& preset, int rounds) {
    const auto comm = make_serial_communicator();
    ThreadPool pool(2);
    const StateLayout layout(load_model_config(preset, 50257).config);
    ShardedState state(*comm, pool, layout);
    state.initialize(1);
    Cursor cursor;
    cursor.numerics = "fma256";
    cursor.ledger_root = empty_ledger_root();
    const auto run = folder / "generation-bench-run";
    std::filesystem::remove_all(run);
    GenerationCommitter committer(*comm, pool, state, {}, {run, {2, 0}, SnapshotMode::copy});
    GenerationCost cost;
    committer.on_committed = [&](const GenerationCost& c) { cost = c; };
    std::printf("%s: %zu elements, %.2f GB of state\n", preset.c_str(), layout.size(),
                12e-9 * static_cast<double>(layout.size()));
    std::vector<double> raw, durable, overhead;
    for (int round = 0; round < rounds; ++round) {
        raw.push_back(raw_durable_write(folder, state));
        LedgerRow row;
        row.step = row.pack = cursor.next_step++;
        cursor.ledger_root = advance_ledger_root(cursor.ledger_root, row.step, {&row, 1});
        committer.begin(cursor, std::span(&row, 1));
        while (committer.in_flight()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            committer.advance(committer.report());
        }
        durable.push_back(cost.durable_seconds);
        overhead.push_back(cost.stall_seconds - cost.copy_seconds);
        std::printf(
            "raw %.2f s, generation %.2f s (%.2f x; %.2f s of a processor), stall %.1f ms, copy %.1f ms\n",
            raw.back(), durable.back(), durable.back() / raw.back(), cost.processor_seconds,
            1e3 * cost.stall_seconds, 1e3 * cost.copy_seconds);
    }
    std::printf(
        "generation %.2f x raw (medians); stall beyond the copy: median %.2f ms, p99 %.2f ms, most %.2f ms\n",
        quantile(durable, 0.5) / quantile(raw, 0.5), 1e3 * quantile(overhead, 0.5),
        1e3 * quantile(overhead, 0.99), 1e3 * quantile(overhead, 1));
    std::filesystem::remove_all(run);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "generation_bench FOLDER [PRESET] [ROUNDS]\n");
        return 2;
    }
    try {
        const int rounds = argc > 3 ? std::stoi(argv[3]) : 5;
        if (rounds < 1)
            throw std::invalid_argument("generation_bench: ROUNDS is " + std::to_string(rounds) +
                                        ", expected 1 or more");
        measure(argv[1], argc > 2 ? argv[2] : "gpt2-124m", rounds);
        return 0;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
