// How fast are texts tokenized, and do threads that share a tokenizer stand in each other's way?
//
//   LOCKSTEP_BENCH_TEXT=big.txt tokenizer_bench --benchmark_min_time=2
//
// Byte-level BPE of 16,000 tokens learned from the text itself, the project's own documentation unless named.
// With threads each tokenizes the whole text; the rate is that of all together.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/training/tokenizer_training.h"
#include "tests/bench/bench_texts.h"

namespace {

using namespace lockstep;

/// Texts as documents come, and a tokenizer of their own.
struct Material {
    static constexpr std::size_t document_bytes = 4096;  ///< About; cut at a line's end.

    std::vector<std::string> documents;
    std::size_t bytes = 0;
    std::unique_ptr<Tokenizer> tokenizer;

    Material() {
        for (const std::string& text : texts_to_tokenize()) {
            for (std::size_t begin = 0; begin < text.size();) {
                const std::size_t line_end = text.find('\n', std::min(begin + document_bytes, text.size()));
                const std::size_t end = line_end == std::string::npos ? text.size() : line_end + 1;
                documents.push_back(text.substr(begin, end - begin));
                bytes += end - begin;
                begin = end;
            }
        }
        TrainingOptions options;
        options.vocabulary_size = 16'000;
        const auto give = [&](FunctionRef<void(std::string_view)> take) {
            for (const std::string& document : documents) take(document);
        };
        const auto ignore = [](std::size_t) {};
        const TrainedTokenizer trained = train_byte_pairs(give, options, ignore);
        tokenizer = make_json_tokenizer(trained.file, trained.config, "", SpecialsPolicy{});
    }

    static const Material& get() {
        static const Material material;
        return material;
    }
};

void encode(benchmark::State& state) {
    const Material& material = Material::get();
    std::vector<std::uint32_t> ids;
    for (auto _ : state) {
        for (const std::string& document : material.documents) {
            ids.clear();
            material.tokenizer->encode(document, ids);
            benchmark::DoNotOptimize(ids.data());
        }
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(material.bytes));
}

BENCHMARK(encode)->ThreadRange(1, 2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
