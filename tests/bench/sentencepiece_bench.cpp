// How fast are SentencePiece vocabularies tokenized as a tokenizer.json, beside SentencePiece's own library?
//
//   LOCKSTEP_BENCH_TEXT=big.txt sentencepiece_bench --benchmark_min_time=2
//
// A Unigram and a byte-fallback BPE model of 8,000 pieces, trained by the library on the lines of the text,
// the project's own documentation unless named. Both sides encode the same lines, and must give the same ids
// (Unigram: but for ties).

#include <benchmark/benchmark.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/tokenizer_files.h"
#include "tests/bench/bench_texts.h"

namespace {

using namespace lockstep;
using nlohmann::json;

std::vector<std::string> lines_of_texts() {
    std::vector<std::string> lines;
    for (const std::string& text : texts_to_tokenize()) {
        for (std::size_t begin = 0; begin < text.size();) {
            const std::size_t end = std::min(text.find('\n', begin), text.size());
            if (end != begin) lines.push_back(text.substr(begin, end - begin));
            begin = end + 1;
        }
    }
    return lines;
}

class Lines : public sentencepiece::SentenceIterator {
  public:
    explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
    bool done() const override { return at_ == lines_.size(); }
    void Next() override { ++at_; }
    const std::string& value() const override { return lines_[at_]; }
    sentencepiece::util::Status status() const override { return {}; }

  private:
    const std::vector<std::string>& lines_;
    std::size_t at_ = 0;
};

void require(const sentencepiece::util::Status& status) {
    if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

json unigram_of(const sentencepiece::SentencePieceProcessor& library) {
    json pieces = json::array();
    for (int id = 0; id < library.GetPieceSize(); ++id)
        pieces.push_back({library.IdToPiece(id), library.GetScore(id)});
    return {{"type", "Unigram"}, {"unk_id", library.unk_id()}, {"byte_fallback", true}, {"vocab", pieces}};
}

/// A piece can come of any two that make it up; the earlier piece is merged first.
json byte_pairs_of(const sentencepiece::SentencePieceProcessor& library) {
    json vocabulary = json::object();
    json merges = json::array();
    for (int id = 0; id < library.GetPieceSize(); ++id) vocabulary[library.IdToPiece(id)] = id;
    for (int id = 0; id < library.GetPieceSize(); ++id) {
        if (library.IsControl(id) || library.IsUnknown(id) || library.IsByte(id)) continue;
        const std::string& piece = library.IdToPiece(id);
        for (std::size_t cut = 1; cut < piece.size(); ++cut) {
            const std::string left = piece.substr(0, cut);
            const std::string right = piece.substr(cut);
            if (vocabulary.contains(left) && vocabulary.contains(right)) merges.push_back({left, right});
        }
    }
    return {{"type", "BPE"},         {"unk_token", library.IdToPiece(library.unk_id())},
            {"byte_fallback", true}, {"fuse_unk", true},
            {"vocab", vocabulary},   {"merges", merges}};
}

/// A model of the library's, and what a tokenizer.json makes of it.
struct Models {
    std::vector<std::string> lines = lines_of_texts();
    std::int64_t bytes = 0;
    sentencepiece::SentencePieceProcessor library;
    std::unique_ptr<Tokenizer> own;

    explicit Models(const std::string& type) {
        for (const std::string& line : lines) bytes += static_cast<std::int64_t>(line.size());
        Lines iterator(lines);
        std::string model;
        require(sentencepiece::SentencePieceTrainer::Train(
            std::unordered_map<std::string, std::string>{{"model_type", type},
                                                         {"vocab_size", "8000"},
                                                         {"hard_vocab_limit", "false"},
                                                         {"byte_fallback", "true"},
                                                         {"normalization_rule_name", "identity"},
                                                         {"remove_extra_whitespaces", "false"},
                                                         {"minloglevel", "2"}},
            &iterator, &model));
        require(library.LoadFromSerializedProto(model));
        const json file = {{"normalizer",
                            {{"type", "Sequence"},
                             {"normalizers",
                              {{{"type", "Prepend"}, {"prepend", "▁"}},
                               {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}}},
                           {"model", type == "bpe" ? byte_pairs_of(library) : unigram_of(library)}};
        own = make_json_tokenizer(file.dump(), "", "", SpecialsPolicy{});
        std::size_t same = 0;
        for (const std::string& line : lines) {
            std::vector<std::uint32_t> ids;
            own->encode(line, ids);
            if (std::ranges::equal(ids, library.EncodeAsIds(line))) ++same;
        }
        // Paths of equal score are the one thing in which Unigram engines differ.
        if (static_cast<double>(same) < (type == "bpe" ? 1 : 0.99) * static_cast<double>(lines.size()))
            throw std::runtime_error("the library gives other ids for " +
                                     std::to_string(lines.size() - same) + " of " +
                                     std::to_string(lines.size()) + " lines");
    }

    static const Models& get(const std::string& type) {
        static std::unordered_map<std::string, std::unique_ptr<Models>> all;
        auto& models = all[type];
        if (!models) models = std::make_unique<Models>(type);
        return *models;
    }
};

void encode_own(benchmark::State& state, const std::string& type) {
    const Models& models = Models::get(type);
    std::vector<std::uint32_t> ids;
    for (auto _ : state) {
        for (const std::string& line : models.lines) {
            ids.clear();
            models.own->encode(line, ids);
            benchmark::DoNotOptimize(ids.data());
        }
    }
    state.SetBytesProcessed(state.iterations() * models.bytes);
}

void encode_library(benchmark::State& state, const std::string& type) {
    const Models& models = Models::get(type);
    std::vector<int> ids;
    for (auto _ : state) {
        for (const std::string& line : models.lines) {
            models.library.Encode(line, &ids).IgnoreError();
            benchmark::DoNotOptimize(ids.data());
        }
    }
    state.SetBytesProcessed(state.iterations() * models.bytes);
}

BENCHMARK_CAPTURE(encode_own, unigram, "unigram")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode_library, unigram, "unigram")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode_own, bpe, "bpe")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode_library, bpe, "bpe")->Unit(benchmark::kMillisecond);

}  // namespace
