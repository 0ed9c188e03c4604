// io/documents/block_parser.h
//
// A block to its documents. What is wrong with one of them is reported with its
// place and counted, never guessed.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/documents/document.h"
#include "io/documents/document_block.h"

namespace lockstep {

struct BadDocument {
    std::uint64_t offset = 0;  ///< As Document::source_offset; of text the line that is at fault.
    std::string problem;
};

struct BlockCounts {
    std::uint64_t documents = 0;
    std::uint64_t empty = 0;     ///< Not delivered, counted.
    std::uint64_t repaired = 0;  ///< Of the documents, those with U+FFFD for invalid UTF-8.
    std::vector<BadDocument> bad;
};

/// One a thread: it keeps the parser's memory from block to block.
class BlockParser {
  public:
    explicit BlockParser(const DocumentOptions& options);
    ~BlockParser();
    BlockParser(BlockParser&&) noexcept;
    BlockParser& operator=(BlockParser&&) = delete;

    /// Deliver the documents in order; their views live until the call returns.
    /// @param source  the source's name, for errors.
    /// @throws Error{corrupt_data} for a document beyond the limit; whatever `deliver` throws.
    BlockCounts parse(const DocumentBlock& block, const std::string& source,
                      const std::function<void(const Document&)>& deliver);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
