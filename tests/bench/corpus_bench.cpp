// How fast are packs of 4096 tokens gathered from random samples of a corpus in page cache, and how far is
// that from merely copying their bytes?
//
//   corpus_bench --benchmark_filter=/128 --benchmark_min_time=1
//
// The argument is the corpus' size in million tokens. Bytes are those stored: two a token; `gather` widens
// them to four, as training reads them.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/base/philox.h"
#include "io/corpus/corpus.h"
#include "io/tokenizer/tokenizer.h"

namespace {

using namespace lockstep;

constexpr std::uint64_t pack_tokens = 4096;
constexpr std::uint64_t vocabulary = 50'000;
constexpr std::uint64_t sample_tokens_max = 1200;  ///< Mean 600.

/// A corpus of made-up tokens, gone with the program.
class ScratchCorpus {
  public:
    explicit ScratchCorpus(std::uint64_t million_tokens)
        : path_(std::filesystem::temp_directory_path() / ("lockstep-bench-" + std::to_string(getpid()) + "-" +
                                                          std::to_string(million_tokens) + ".h5")) {
        CorpusTokenizer tokenizer;
        tokenizer.description_json = "{}";
        tokenizer.fingerprint = FingerprintBuilder("bench").finish();
        tokenizer.vocabulary_size = vocabulary;
        CorpusWriter writer(path_, tokenizer, Overwrite::yes);
        writer.add_source({"made up", 0, {}});
        const Philox random(1, "corpus-bench");
        std::vector<std::uint32_t> tokens;
        std::uint64_t made = 0;
        for (std::uint64_t sample = 0; made < million_tokens * 1'000'000; ++sample) {
            tokens.resize(1 + random.below(sample, sample_tokens_max));
            for (std::size_t i = 0; i < tokens.size(); ++i)
                tokens[i] = static_cast<std::uint32_t>((sample * 7919 + i * 31) % vocabulary);
            SampleRecord record;
            record.tokens = tokens;
            writer.add(record);
            made += tokens.size();
        }
        writer.publish();
        corpus_ = std::make_unique<Corpus>(Corpus::open(path_));
    }
    ~ScratchCorpus() {
        std::error_code ignored;
        std::filesystem::remove(path_, ignored);
    }
    ScratchCorpus(const ScratchCorpus&) = delete;
    ScratchCorpus& operator=(const ScratchCorpus&) = delete;

    static const Corpus& of(std::int64_t million_tokens) {
        static std::map<std::int64_t, std::unique_ptr<ScratchCorpus>> made;
        auto& corpus = made[million_tokens];
        if (!corpus) corpus = std::make_unique<ScratchCorpus>(static_cast<std::uint64_t>(million_tokens));
        return *corpus->corpus_;
    }

  private:
    std::filesystem::path path_;
    std::unique_ptr<Corpus> corpus_;
};

/// Random samples that fill a pack.
void draw_pack(const Corpus& corpus, const Philox& random, std::uint64_t& draw,
               std::vector<std::uint64_t>& samples) {
    samples.clear();
    for (std::uint64_t filled = 0; filled < pack_tokens; filled += corpus.sample_tokens(samples.back()))
        samples.push_back(random.below(draw++, corpus.num_samples()));
}

/// Calls `copy(sample, tokens, at)` for each of them.
template <class Copy>
void fill_pack(const Corpus& corpus, const std::vector<std::uint64_t>& samples, Copy copy) {
    std::uint64_t filled = 0;
    for (const std::uint64_t sample : samples) {
        const std::uint64_t tokens = std::min(corpus.sample_tokens(sample), pack_tokens - filled);
        copy(sample, tokens, filled);
        filled += tokens;
    }
}

void count_packs(benchmark::State& state) {
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(2 * pack_tokens));
    state.SetItemsProcessed(state.iterations());
}

void gather(benchmark::State& state) {
    const Corpus& corpus = ScratchCorpus::of(state.range(0));
    const Philox random(2, "gather");
    std::uint64_t draw = 0;
    std::vector<std::uint32_t> pack(pack_tokens);
    std::vector<std::uint64_t> samples;
    constexpr std::size_t ahead = 4;  // As in worker/replay.cpp.
    for (auto _ : state) {
        draw_pack(corpus, random, draw, samples);
        for (std::size_t i = 0; i < std::min(ahead, samples.size()); ++i)
            corpus.prefetch_tokens(samples[i], 0);
        auto next = samples.begin() + static_cast<std::ptrdiff_t>(std::min(ahead, samples.size()));
        fill_pack(corpus, samples, [&](std::uint64_t sample, std::uint64_t tokens, std::uint64_t at) {
            if (next != samples.end()) corpus.prefetch_tokens(*next++, 0);
            corpus.read_tokens(sample, 0, std::span(pack).subspan(at, tokens));
        });
        benchmark::DoNotOptimize(pack.data());
        benchmark::ClobberMemory();
    }
    count_packs(state);
}

/// The same samples' bytes from the same map, neither looked up by name nor widened.
void plain_copy(benchmark::State& state) {
    const Corpus& corpus = ScratchCorpus::of(state.range(0));
    const std::span<const std::byte> stored = corpus.stored_tokens(0, corpus.num_samples());
    const auto begin = corpus.sample_begin();
    const Philox random(2, "gather");
    std::uint64_t draw = 0;
    std::vector<std::byte> pack(2 * pack_tokens);
    std::vector<std::uint64_t> samples;
    for (auto _ : state) {
        draw_pack(corpus, random, draw, samples);
        fill_pack(corpus, samples, [&](std::uint64_t sample, std::uint64_t tokens, std::uint64_t at) {
            std::memcpy(pack.data() + 2 * at, stored.data() + 2 * begin[sample], 2 * tokens);
        });
        benchmark::DoNotOptimize(pack.data());
        benchmark::ClobberMemory();
    }
    count_packs(state);
}

/// What ingest is measured against: the bytes tokenizer alone, on texts of a kilobyte.
void bytes_tokenizer(benchmark::State& state) {
    const auto tokenizer = make_bytes_tokenizer();
    const std::string text(1000, 'x');
    std::vector<std::uint32_t> ids;
    for (auto _ : state) {
        ids.clear();
        encode_document(*tokenizer, {}, text, ids);
        benchmark::DoNotOptimize(ids.data());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

BENCHMARK(bytes_tokenizer);
BENCHMARK(gather)->Arg(1)->Arg(128)->Unit(benchmark::kMicrosecond);
BENCHMARK(plain_copy)->Name("memcpy")->Arg(1)->Arg(128)->Unit(benchmark::kMicrosecond);

}  // namespace
