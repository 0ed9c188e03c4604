// How fast is a lengths file read, and how far is that from merely copying its bytes?
//
// Usage: lengths_bench [samples = 1000000]
// Ids as people have them: padded numbers, plain numbers behind a word, random hexadecimal digits.

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/base/philox.h"
#include "io/length_cache.h"

namespace {

using namespace lockstep;

double best_seconds(const std::function<void()>& work) {
    double best = 1e300;
    for (int repeat = 0; repeat < 3; ++repeat) {
        const auto start = std::chrono::steady_clock::now();
        work();
        best =
            std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

LengthCache cache_of(std::uint64_t num_samples, const std::function<std::string(std::uint64_t)>& key_of,
                     bool with_more) {
    const Philox random(1, "bench-lengths");
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

void measure(const char* what, const LengthCache& lengths) {
    const auto folder = std::filesystem::temp_directory_path();
    const auto lines = folder / "lockstep-lengths-bench.jsonl";
    const auto columns = folder / "lockstep-lengths-bench.h5";
    write_lengths_jsonl(lines, lengths, Overwrite::yes);
    write_lengths_columns(columns, lengths, Overwrite::yes);
    const std::uint64_t bytes = std::filesystem::file_size(lines);
    const double read = best_seconds([&] { read_lengths_jsonl(lines); });
    const double open = best_seconds([&] { LengthCache::open_columns(columns); });
    const std::vector<char> from(bytes, 1);
    std::vector<char> to(bytes);
    const double copy = best_seconds([&] { std::memcpy(to.data(), from.data(), bytes); });
    std::printf("%-28s %7.1f MB  lines %.3f s %5.2f GB/s (%.1f x memcpy)  columns open %.4f s\n", what,
                static_cast<double>(bytes) / 1e6, read, static_cast<double>(bytes) / 1e9 / read, read / copy,
                open);
    std::filesystem::remove(lines);
    std::filesystem::remove(columns);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const std::uint64_t num_samples = argc > 1 ? std::stoull(argv[1]) : 1'000'000;
        const auto padded = [](std::uint64_t i) {
            char text[32];
            std::snprintf(text, sizeof text, "sample_%08" PRIu64, i);
            return std::string(text);
        };
        const auto counted = [](std::uint64_t i) { return "doc-" + std::to_string(i); };
        const auto random = [philox = Philox(2, "ids")](std::uint64_t i) {
            const PhiloxCounter words = philox.block(i);
            char text[40];
            std::snprintf(text, sizeof text, "%08x%08x%08x", words[0], words[1], words[2]);
            return std::string(text);
        };
        measure("no ids", cache_of(num_samples, nullptr, false));
        measure("padded ids", cache_of(num_samples, padded, false));
        measure("counted ids", cache_of(num_samples, counted, false));
        measure("random ids", cache_of(num_samples, random, false));
        measure("random ids, loss and score", cache_of(num_samples, random, true));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lengths_bench: %s\n", error.what());
        return 2;
    }
}
