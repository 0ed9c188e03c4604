#include "io/documents/block_parser.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "io/base/blanks.h"
#include "io/documents/json_document.h"
#include "io/documents/text_blocks.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

constexpr const char* invalid_utf8 =
    "invalid UTF-8; convert the file (iconv -t UTF-8), or pass --invalid-utf8 replace";

bool is_utf8(std::string_view text) {
    return simdjson::validate_utf8(text.data(), text.size());
}

/// One line without its terminator ("\n" or "\r\n").
struct Line {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t next = 0;  ///< Where the line after it begins.
};

class LineCursor {
  public:
    explicit LineCursor(std::string_view bytes, std::size_t begin = 0) : bytes_(bytes), next_(begin) {}

    std::optional<Line> take() {
        if (next_ >= bytes_.size()) return std::nullopt;
        Line line{next_, bytes_.find('\n', next_), 0};
        if (line.end == std::string_view::npos) {
            line.end = bytes_.size();
            line.next = bytes_.size();
        } else {
            line.next = line.end + 1;
        }
        if (line.end > line.begin && bytes_[line.end - 1] == '\r') --line.end;
        next_ = line.next;
        return line;
    }

  private:
    std::string_view bytes_;
    std::size_t next_;
};

/// The walk over one block.
class BlockWalk {
  public:
    BlockWalk(const DocumentBlock& block, const std::string& source, const DocumentOptions& options,
              JsonDocumentParser& json, std::string& joined, ChatText& chat,
              const std::function<void(const Document&)>& deliver)
        : block_(block),
          source_(source),
          bytes_(block.text()),
          options_(options),
          json_(json),
          joined_(joined),
          chat_(chat),
          deliver_(deliver) {}

    BlockCounts walk() {
        if (block_.content == SourceContent::json_lines) {
            json_lines();
        } else if (block_.content == SourceContent::text) {
            text();
        } else {
            for (const BlockRow& row : block_.rows) table_row(row);
        }
        return std::move(counts_);
    }

  private:
    std::string_view slice(std::size_t begin, std::size_t end) const {
        return bytes_.substr(begin, end - begin);
    }

    void text() {
        switch (options_.rule) {
            case DocumentRule::file:
                text_document(0, bytes_.size());
                break;
            case DocumentRule::line:
                for (LineCursor cursor(bytes_); const auto line = cursor.take();)
                    text_document(line->begin, line->end);
                break;
            case DocumentRule::blank:
                paragraphs();
                break;
            case DocumentRule::separator:
                separated();
                break;
        }
    }

    void paragraphs() {
        std::optional<Line> first;
        std::size_t end = 0;
        for (LineCursor cursor(bytes_); const auto line = cursor.take();) {
            if (!is_blank(slice(line->begin, line->end))) {
                if (!first) first = line;
                end = line->end;
            } else if (first) {
                text_document(first->begin, end);
                first.reset();
            }
        }
        if (first) text_document(first->begin, end);
    }

    void separated() {
        std::size_t begin = 0;
        std::size_t end = 0;
        for (LineCursor cursor(bytes_); const auto line = cursor.take();) {
            if (slice(line->begin, line->end) != options_.separator) {
                end = line->end;
                continue;
            }
            text_document(begin, std::max(begin, end));
            begin = line->next;
        }
        // Nothing after the last separator is the end of the block, not an empty document.
        if (begin < bytes_.size()) text_document(begin, end);
    }

    void text_document(std::size_t begin, std::size_t end) {
        const std::string_view bytes = slice(begin, end);
        require_length(begin, bytes.size());
        const bool separated = options_.rule == DocumentRule::separator;
        if (separated ? is_blank(bytes) : bytes.empty()) {
            ++counts_.empty;
            return;
        }
        const bool valid = is_utf8(bytes);
        if (!valid && options_.invalid_utf8 == InvalidUtf8::refuse) {
            bad(first_bad_line(begin, end), invalid_utf8);
        } else if (const void* nul = std::memchr(bytes.data(), 0, bytes.size())) {
            const auto at = static_cast<std::size_t>(static_cast<const char*>(nul) - bytes_.data());
            bad(at, "a NUL byte; this is no text");
        } else {
            if (!valid) repaired_ = lossy_utf8(bytes);
            Document document;
            document.text = valid ? bytes : repaired_;
            hand_over(document, block_.offset + begin, bytes, valid);
        }
    }

    std::size_t first_bad_line(std::size_t begin, std::size_t end) const {
        // A newline is never part of a longer character, so lines are valid or not each by itself.
        for (LineCursor cursor(bytes_.substr(0, end), begin); const auto line = cursor.take();) {
            if (!is_utf8(slice(line->begin, line->next))) return line->begin;
        }
        return begin;
    }

    void json_lines() {
        JsonFields fields;
        for (LineCursor cursor(bytes_); const auto line = cursor.take();) {
            const std::string_view text = slice(line->begin, line->end);
            require_length(line->begin, text.size());
            if (is_blank(text)) {
                ++counts_.empty;
                continue;
            }
            const bool repair = options_.invalid_utf8 == InvalidUtf8::replace && !is_utf8(text);
            if (repair) {
                repaired_ = lossy_utf8(text);
                repaired_.reserve(repaired_.size() + DocumentBlock::padding);
            }
            if (std::string problem = json_.parse(repair ? repaired_ : text, fields); !problem.empty()) {
                bad(line->begin, std::move(problem));
            } else {
                json_document(fields, block_.offset + line->begin, text, !repair);
            }
        }
    }

    void json_document(const JsonFields& fields, std::uint64_t offset, std::string_view line, bool valid) {
        Document document;
        if (fields.messages) {
            if (std::string problem = chat_format(options_.chat).write(*fields.messages, chat_);
                !problem.empty()) {
                bad(static_cast<std::size_t>(offset - block_.offset), std::move(problem));
                return;
            }
            document.text = chat_.text;
            document.chat = chat_.parts;
        } else if (fields.text) {
            document.text = *fields.text;
        } else {
            joined_ = *fields.prompt;
            joined_ += *fields.response;
            document.text = joined_;
            document.has_prompt = true;
            document.prompt = document.text.substr(0, fields.prompt->size());
        }
        if (document.text.empty()) {
            ++counts_.empty;
            return;
        }
        if (fields.key) document.key = *fields.key;
        document.score = fields.score;
        if (!misses_score(document, offset)) hand_over(document, offset, line, valid);
    }

    /// An empty document may: it is none.
    bool misses_score(const Document& document, std::uint64_t offset) {
        if (options_.score_field.empty() || document.score) return false;
        counts_.bad.push_back(
            {offset, "no score in '" + options_.score_field + "', which --score-field names"});
        return true;
    }

    void table_row(const BlockRow& row) {
        const std::string_view bytes = slice(row.text.begin, row.text.end);
        const std::string_view key = slice(row.key.begin, row.key.end);
        if (row.problem != nullptr) {
            counts_.bad.push_back({row.number, row.problem});
        } else if (bytes.empty()) {
            ++counts_.empty;
        } else if (block_.content == SourceContent::megatron) {
            Document document;
            document.key = key;
            document.has_tokens = true;
            document.tokens = {reinterpret_cast<const std::uint32_t*>(bytes.data()), bytes.size() / 4};
            hand_over(document, row.number, bytes, true);
        } else {
            text_row(row, bytes, key);
        }
    }

    void text_row(const BlockRow& row, std::string_view bytes, std::string_view key) {
        const std::string_view prompt = bytes.substr(0, row.prompt_bytes);
        Document document;
        document.has_prompt = row.has_prompt;
        document.score = row.score;
        if (misses_score(document, row.number)) return;
        const bool valid = is_utf8(bytes) && is_utf8(key);
        if (valid) {
            document.key = key;
            document.text = bytes;
            document.prompt = prompt;
        } else if (options_.invalid_utf8 == InvalidUtf8::refuse) {
            counts_.bad.push_back({row.number, "invalid UTF-8"});
            return;
        } else {
            // Each field by itself.
            repaired_ = lossy_utf8(prompt);
            const std::size_t prompt_bytes = repaired_.size();
            repaired_ += lossy_utf8(bytes.substr(row.prompt_bytes));
            repaired_key_ = lossy_utf8(key);
            document.key = repaired_key_;
            document.text = repaired_;
            document.prompt = document.text.substr(0, prompt_bytes);
        }
        hand_over(document, row.number, bytes, valid);
    }

    void require_length(std::size_t begin, std::size_t bytes) const {
        if (bytes > options_.document_bytes_max)
            refuse_long_document(source_, block_.offset + begin, options_.document_bytes_max);
    }

    /// @param bytes  of the source; @param valid  they are UTF-8 as they stand there.
    void hand_over(Document& document, std::uint64_t offset, std::string_view bytes, bool valid) {
        document.source_index = block_.source_index;
        document.source_offset = offset;
        document.digest = digest_of(std::as_bytes(std::span(bytes.data(), bytes.size())));
        ++counts_.documents;
        if (!valid) ++counts_.repaired;
        deliver_(document);
    }

    void bad(std::size_t at, std::string problem) {
        counts_.bad.push_back({block_.offset + at, std::move(problem)});
    }

    const DocumentBlock& block_;
    const std::string& source_;
    std::string_view bytes_;
    const DocumentOptions& options_;
    JsonDocumentParser& json_;
    std::string& joined_;
    ChatText& chat_;
    const std::function<void(const Document&)>& deliver_;
    std::string repaired_, repaired_key_;
    BlockCounts counts_;
};

}  // namespace

struct BlockParser::State {
    explicit State(const DocumentOptions& given) : options(given), json(options) {}

    DocumentOptions options;
    JsonDocumentParser json;
    std::string joined;
    ChatText chat;
};

BlockParser::BlockParser(const DocumentOptions& options) : state_(std::make_unique<State>(options)) {}

BlockParser::~BlockParser() = default;
BlockParser::BlockParser(BlockParser&&) noexcept = default;

BlockCounts BlockParser::parse(const DocumentBlock& block, const std::string& source,
                               const std::function<void(const Document&)>& deliver) {
    return BlockWalk(block, source, state_->options, state_->json, state_->joined, state_->chat, deliver)
        .walk();
}

}  // namespace lockstep
