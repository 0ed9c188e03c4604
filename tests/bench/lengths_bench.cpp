// How fast is a lengths file read, and how far is that from merely copying its bytes?
//
//   lengths_bench --benchmark_filter=lines/ --benchmark_min_time=1
//
// Ids as people have them: padded numbers, plain numbers behind a word, random hexadecimal digits.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/base/philox.h"
#include "io/corpus/length_cache.h"

namespace {

using namespace lockstep;

enum class Ids { none, padded, counted, random };

std::function<std::string(std::uint64_t)> key_maker(Ids ids) {
    switch (ids) {
        case Ids::none:
            break;
        case Ids::padded:
            return [](std::uint64_t i) {
                char text[32];
                std::snprintf(text, sizeof text, "sample_%08" PRIu64, i);
                return std::string(text);
            };
        case Ids::counted:
            return [](std::uint64_t i) { return "doc-" + std::to_string(i); };
        case Ids::random:
            return [philox = Philox(2, "ids")](std::uint64_t i) {
                const PhiloxCounter words = philox.block(i);
                char text[40];
                std::snprintf(text, sizeof text, "%08x%08x%08x", words[0], words[1], words[2]);
                return std::string(text);
            };
    }
    return nullptr;
}

LengthCache cache_of(std::uint64_t num_samples, Ids ids, bool with_more) {
    const Philox random(1, "bench-lengths");
    const auto key_of = key_maker(ids);
    LengthColumns columns;
    columns.tokenizer_hash = "a1b2c3d4e5f60718";
    for (std::uint64_t i = 0; i < num_samples; ++i) {
        columns.sample_tokens.push_back(static_cast<std::uint32_t>(1 + random.below(i, 4096)));
        if (key_of) columns.add_key(key_of(i));
        if (!with_more) continue;
        columns.loss_tokens.push_back(columns.sample_tokens.back() / 2);
        columns.sample_score.push_back(static_cast<double>(random.below(i, 1000)) / 1000);
    }
    return LengthCache(std::move(columns));
}

/// A file that goes with its owner.
struct ScratchFile {
    std::filesystem::path path;
    explicit ScratchFile(const std::string& name)
        : path(std::filesystem::temp_directory_path() /
               ("lockstep-bench-" + std::to_string(getpid()) + "-" + name)) {}
    ~ScratchFile() {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
    ScratchFile(const ScratchFile&) = delete;
    ScratchFile& operator=(const ScratchFile&) = delete;
};

void count_file(benchmark::State& state, const std::filesystem::path& path) {
    state.SetBytesProcessed(static_cast<std::int64_t>(std::filesystem::file_size(path)) * state.iterations());
    state.SetItemsProcessed(state.range(0) * state.iterations());
}

void lines(benchmark::State& state, Ids ids, bool with_more) {
    const ScratchFile file("lengths.jsonl");
    write_lengths_jsonl(file.path, cache_of(static_cast<std::uint64_t>(state.range(0)), ids, with_more),
                        Overwrite::yes);
    for (auto _ : state) benchmark::DoNotOptimize(read_lengths_jsonl(file.path));
    count_file(state, file.path);
}

void copy_of_the_lines(benchmark::State& state, Ids ids, bool with_more) {
    const ScratchFile file("lengths.jsonl");
    write_lengths_jsonl(file.path, cache_of(static_cast<std::uint64_t>(state.range(0)), ids, with_more),
                        Overwrite::yes);
    const std::vector<char> from(std::filesystem::file_size(file.path), 1);
    std::vector<char> to(from.size());
    for (auto _ : state) {
        std::memcpy(to.data(), from.data(), from.size());
        benchmark::ClobberMemory();
    }
    count_file(state, file.path);
}

void columns(benchmark::State& state, Ids ids, bool with_more) {
    const ScratchFile file("lengths.h5");
    write_lengths_columns(file.path, cache_of(static_cast<std::uint64_t>(state.range(0)), ids, with_more),
                          Overwrite::yes);
    for (auto _ : state) benchmark::DoNotOptimize(LengthCache::open_columns(file.path));
    count_file(state, file.path);
}

const bool all_registered = [] {
    struct Case {
        const char* name;
        Ids ids;
        bool with_more;
    };
    for (const Case& each : {Case{"no_ids", Ids::none, false}, Case{"padded_ids", Ids::padded, false},
                             Case{"counted_ids", Ids::counted, false}, Case{"random_ids", Ids::random, false},
                             Case{"random_ids_loss_and_score", Ids::random, true}}) {
        const auto named = [&](const std::string& what, auto run) {
            for (const std::int64_t samples : {1'000, 1'000'000}) {
                benchmark::RegisterBenchmark((what + "/" + each.name).c_str(), run, each.ids, each.with_more)
                    ->Arg(samples)
                    ->Unit(benchmark::kMillisecond);
            }
        };
        named("lines", lines);
        named("memcpy", copy_of_the_lines);
        named("columns", columns);
    }
    return true;
}();

}  // namespace
