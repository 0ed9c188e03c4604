// How much of the tokenizer's own speed is left when documents come from a file and go to a corpus?
//
//   ingest_bench bytes|TOKENIZER DATA FOLDER [ROUNDS] [THREADS]     (3, 1; the corpus is written to FOLDER)
//
// The bare tokenizer encodes the same texts out of memory, by one thread. It and whole ingests, from the file
// to a durable corpus, take turns. THREADS of them tokenize; one more reads, digests and writes.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/ingest/ingest.h"
#include "io/base/error.h"
#include "io/comm/serial_communicator.h"
#include "io/documents/document_reader.h"
#include "io/tokenizer/tokenizer_files.h"

namespace {

using namespace lockstep;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

double tokenize_all(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                    std::uint64_t& tokens) {
    const Clock::time_point begin = Clock::now();
    std::vector<std::uint32_t> ids;
    tokens = 0;
    for (const std::string& text : texts) {
        ids.clear();
        encode_document(tokenizer, {}, text, ids);
        tokens += ids.size();
    }
    return seconds_since(begin);
}

double ingest(const std::shared_ptr<const Tokenizer>& tokenizer, const std::filesystem::path& data,
              const std::filesystem::path& corpus, int threads, std::uint64_t& tokens) {
    const auto comm = make_serial_communicator();
    IngestOutputs outputs;
    outputs.corpus = corpus;
    const Clock::time_point begin = Clock::now();
    const auto totals = run_ingest(
        *comm,
        [&] {
            IngestJob job;
            job.set_tokenizer(tokenizer);
            plan_pieces(job, {data}, IngestJob::piece_bytes_usual);
            return job;
        },
        outputs, threads, [](std::uint64_t, std::uint64_t) {});
    const double seconds = seconds_since(begin);
    tokens = totals->corpus.num_tokens;
    std::filesystem::remove(corpus);
    return seconds;
}

std::shared_ptr<const Tokenizer> named_tokenizer(const std::string& name) {
    if (name == "bytes") return make_bytes_tokenizer();
    return load_tokenizer(name);
}

void measure(const std::string& tokenizer_name, const std::filesystem::path& data,
             const std::filesystem::path& folder, int rounds, int threads) {
    const std::shared_ptr<const Tokenizer> tokenizer = named_tokenizer(tokenizer_name);
    std::vector<std::string> texts;
    std::uint64_t bad = 0;
    const SourceSummary source = read_documents(
        data, 0, {}, bad, [&](const Document& document) { texts.emplace_back(document.text); });
    std::vector<double> bare, whole;
    for (int round = 0; round < rounds; ++round) {
        std::uint64_t bare_tokens = 0;
        std::uint64_t corpus_tokens = 0;
        bare.push_back(tokenize_all(*tokenizer, texts, bare_tokens));
        whole.push_back(ingest(tokenizer, data, folder / "ingest-bench.h5", threads, corpus_tokens));
        if (bare_tokens != corpus_tokens)
            throw Error(ErrorCode::bug, std::to_string(corpus_tokens) + " tokens in the corpus, expected " +
                                            std::to_string(bare_tokens));
        std::printf("tokenizer %.2f s, ingest %.2f s\n", bare.back(), whole.back());
    }
    const double megabytes = 1e-6 * static_cast<double>(source.bytes);
    std::printf(
        "median: %zu documents, %.0f MB; tokenizer %.1f MB/s, ingest %.1f MB/s with %d thread(s) = "
        "%.2f of it\n",
        texts.size(), megabytes, megabytes / median(bare), megabytes / median(whole), threads,
        median(bare) / median(whole));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr, "ingest_bench bytes|TOKENIZER DATA FOLDER [ROUNDS] [THREADS]\n");
        return 2;
    }
    try {
        measure(argv[1], argv[2], argv[3], argc > 4 ? std::stoi(argv[4]) : 3,
                argc > 5 ? std::stoi(argv[5]) : 1);
        return 0;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
