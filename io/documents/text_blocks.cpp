#include "io/documents/text_blocks.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/documents/text_cuts.h"

namespace lockstep {

namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
constexpr std::size_t read_ahead_bytes = std::size_t{64} << 10U;
constexpr std::uint64_t most_bytes = std::numeric_limits<std::ptrdiff_t>::max();

class TextBlocks : public BlockReader {
  public:
    TextBlocks(const std::filesystem::path& path, std::unique_ptr<ByteStream> stream, const SourceSpan& span,
               const TextBlocksOptions& options)
        : name_(path.string()),
          stream_(std::move(stream)),
          span_(span),
          options_(options),
          cuts_(options_.content, options_.document),
          offset_(first_byte_of_stream(span, options)) {}

    bool next(DocumentBlock& block) override {
        if (!started_) start();
        if (ended_) return false;
        const std::size_t target = static_cast<std::size_t>(
            std::min<std::uint64_t>(offset_ + options_.block_bytes, span_.end) - offset_);
        const std::size_t end = cut_at(target, true);
        // A source without a byte is still a document, an empty one, when sources are documents.
        const bool empty_document = !cuts_.divides() && !gave_any_;
        ended_ = end < target || offset_ + end >= span_.end || (complete_ && end == window_.size());
        if (end == 0 && !empty_document) return false;
        give(end, block);
        gave_any_ = true;
        return true;
    }

  private:
    void start() {
        started_ = true;
        const bool begins_source = offset_ == 0 && options_.begins_source;
        if (begins_source) {
            fill(byte_order_mark.size());
            if (std::string_view(window_.data(), window_.size()).starts_with(byte_order_mark))
                drop(byte_order_mark.size());
        }
        if (span_.begin == 0) {
            // The first line is the first span's, also if that ends inside the mark.
            span_.end = std::max(span_.end, offset_ + 1);
            return;
        }
        const std::uint64_t at = std::max(span_.begin, offset_ + 1) - offset_;
        drop(cut_at(static_cast<std::size_t>(at), begins_source));
        ended_ = offset_ >= span_.end;
    }

    /// The first cut at or after byte `at` of the window.
    std::size_t cut_at(std::size_t at, bool begins_line) {
        // One byte beyond the limit says that a document is too long; no more is kept of it.
        const std::uint64_t longest = std::min(options_.document.document_bytes_max, most_bytes - at - 1);
        const std::size_t most = at + static_cast<std::size_t>(longest) + 1;
        for (std::size_t wanted = at + read_ahead_bytes;; wanted = std::min(2 * wanted, most)) {
            fill(wanted);
            const std::string_view window(window_.data(), window_.size());
            if (const auto cut = cuts_.find(window, at, begins_line, complete_)) return *cut;
            if (window_.size() - std::min(at, window_.size()) > options_.document.document_bytes_max) {
                refuse_long_document(name_, offset_ + last_cut_before(at, begins_line),
                                     options_.document.document_bytes_max);
            }
        }
    }

    /// Where the document that goes on at byte `at` of the window begins, as far as the window shows.
    std::size_t last_cut_before(std::size_t at, bool begins_line) const {
        const std::string_view window(window_.data(), window_.size());
        std::size_t last = 0;
        for (auto cut = cuts_.find(window, 1, begins_line, false); cut && *cut < at;
             cut = cuts_.find(window, last + 1, begins_line, false))
            last = *cut;
        return last;
    }

    /// At least so many bytes in the window, or all there are.
    void fill(std::size_t bytes) {
        if (complete_ || window_.size() >= bytes) return;
        const std::size_t before = window_.size();
        window_.resize(bytes);
        const std::size_t got = stream_->read(std::span(window_).subspan(before));
        window_.resize(before + got);
        complete_ = window_.size() < bytes;
    }

    void drop(std::size_t bytes) {
        window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(bytes));
        offset_ += bytes;
    }

    void give(std::size_t bytes, DocumentBlock& block) {
        const auto rest = window_.begin() + static_cast<std::ptrdiff_t>(bytes);
        std::vector<char> tail(rest, window_.end());
        window_.resize(bytes);
        window_.resize(bytes + DocumentBlock::padding);
        block = DocumentBlock();
        block.content = options_.content;
        block.source_index = span_.source_index;
        block.offset = offset_;
        block.bytes = std::exchange(window_, std::move(tail));
        block.file_position = stream_->file_position();
        offset_ += bytes;
    }

    std::string name_;
    std::unique_ptr<ByteStream> stream_;
    SourceSpan span_;
    TextBlocksOptions options_;
    TextCuts cuts_;
    std::vector<char> window_;
    std::uint64_t offset_;  ///< Of the window's first byte.
    bool complete_ = false;
    bool started_ = false;
    bool ended_ = false;
    bool gave_any_ = false;
};

}  // namespace

std::unique_ptr<BlockReader> read_text_blocks(const std::filesystem::path& path,
                                              std::unique_ptr<ByteStream> stream, const SourceSpan& span,
                                              const TextBlocksOptions& options) {
    return std::make_unique<TextBlocks>(path, std::move(stream), span, options);
}

std::uint64_t first_byte_of_stream(const SourceSpan& span, const TextBlocksOptions& options) {
    const std::uint64_t look_back = TextCuts(options.content, options.document).look_back();
    const std::uint64_t first = span.begin - std::min(span.begin, look_back);
    // A line after a byte order mark begins the source, which only the whole mark tells.
    return first <= byte_order_mark.size() ? 0 : first;
}

void refuse_long_document(const std::string& source, std::uint64_t offset, std::uint64_t document_bytes_max) {
    throw Error(ErrorCode::corrupt_data,
                "'" + source + "': the document at byte " + std::to_string(offset) + " is longer than " +
                    std::to_string(document_bytes_max) +
                    " bytes; divide it (--document line, for text), or raise --document-bytes-max");
}

}  // namespace lockstep
