// launch/cli/data/corpus_looks.h
//
// A corpus' samples as people read them.

#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/corpus/corpus.h"
#include "io/tokenizer/tokenizer.h"
#include "launch/cli/invocation.h"

namespace lockstep {

class CorpusReader {
  public:
    explicit CorpusReader(const std::string& path);

    const Corpus& corpus() const { return corpus_; }
    std::vector<std::uint32_t> tokens(std::uint64_t sample) const;
    std::string text(std::uint64_t sample) const;
    /// "sample 12  'key'  texts.jsonl at 4096  247 tokens".
    std::string headline(std::uint64_t sample) const;
    nlohmann::ordered_json json(std::uint64_t sample, bool with_tokens) const;
    /// @throws Error{invalid_argument} naming how many samples there are.
    void require_sample(std::uint64_t sample) const;

  private:
    Corpus corpus_;
    std::unique_ptr<Tokenizer> tokenizer_;
    std::vector<SourceFile> sources_;
};

}  // namespace lockstep
