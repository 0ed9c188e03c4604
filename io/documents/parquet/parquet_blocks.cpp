#include "io/documents/parquet/parquet_blocks.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "io/base/error.h"
#include "io/documents/document.h"
#include "io/documents/parquet/parquet_column.h"
#include "io/documents/parquet/parquet_footer.h"

namespace lockstep {

namespace {

constexpr std::size_t block_bytes = std::size_t{4} << 20U;
constexpr std::uint64_t page_overhead_max = std::uint64_t{16} << 20U;
/// Rows without bytes never fill a block, but each takes memory.
constexpr std::size_t block_rows_max = std::size_t{1} << 16U;

class ParquetBlocks : public BlockReader {
  public:
    ParquetBlocks(const std::filesystem::path& path, const SourceSpan& span, const DocumentOptions& options)
        : options_(options),
          file_(open_source(path)),
          growth_(file_, options.expansion_max),
          footer_(read_parquet_footer(file_)),
          source_index_(span.source_index),
          next_group_(span.begin),
          end_group_(std::min<std::uint64_t>(span.end, footer_.row_groups.size())) {
        const std::string name = path.string();
        text_ = find_parquet_column(footer_, options.text_field, name);
        prompt_ = find_parquet_column(footer_, "prompt", name);
        response_ = find_parquet_column(footer_, "response", name);
        key_ = find_parquet_column(footer_, options.key_field, name);
        if (!options.score_field.empty()) {
            score_ = find_parquet_column(footer_, options.score_field, name);
            if (!score_) {
                throw Error(ErrorCode::invalid_argument,
                            "'" + name + "' has no column '" + options.score_field +
                                "', which --score-field names (there are " + column_names() + ")");
            }
        }
        if (text_) prompt_ = response_ = std::nullopt;
        if (!text_ && !(prompt_ && response_)) {
            throw Error(ErrorCode::invalid_argument,
                        "'" + name + "' has no column '" + options.text_field +
                            "', nor 'prompt' and 'response'; name the column with --text-field (there are " +
                            column_names() + ")");
        }
    }

    bool next(DocumentBlock& block) override {
        while (rows_left_ == 0) {
            if (!end_group()) return false;
        }
        block = DocumentBlock();
        block.content = SourceContent::parquet;
        block.source_index = source_index_;
        block.offset = row_;
        while (rows_left_ != 0 && block.bytes.size() < block_bytes && block.rows.size() < block_rows_max) {
            add_row(block);
            ++row_;
            --rows_left_;
        }
        block.file_position = readers_.front()->file_position();
        block.bytes.resize(block.bytes.size() + DocumentBlock::padding);
        return true;
    }

  private:
    /// Close the row group at hand and open the next one. @return false after the last.
    bool end_group() {
        for (const auto& reader : readers_) reader->expect_end();
        readers_.clear();
        if (next_group_ >= end_group_) return false;
        const ParquetRowGroup& group = footer_.row_groups[next_group_++];
        row_ = group.first_row;
        rows_left_ = group.num_rows;
        const auto open = [&](std::optional<std::size_t> column,
                              ParquetUse use = ParquetUse::text) -> ParquetColumnReader* {
            if (!column) return nullptr;
            readers_.push_back(std::make_unique<ParquetColumnReader>(
                file_, footer_.columns[*column], group.chunks[*column],
                options_.document_bytes_max + page_overhead_max, growth_, use));
            return readers_.back().get();
        };
        text_reader_ = open(text_);
        prompt_reader_ = open(prompt_);
        response_reader_ = open(response_);
        key_reader_ = open(key_);
        score_reader_ = open(score_, ParquetUse::number);
        return true;
    }

    void add_row(DocumentBlock& block) {
        BlockRow row;
        row.number = row_;
        row.text.begin = block.bytes.size();
        if (text_reader_ != nullptr) {
            if (!append(*text_reader_, block)) row.problem = "the text is null";
        } else {
            if (!append(*prompt_reader_, block)) row.problem = "the prompt is null";
            row.has_prompt = true;
            row.prompt_bytes = block.bytes.size() - row.text.begin;
            if (!append(*response_reader_, block)) row.problem = "the response is null";
        }
        row.text.end = block.bytes.size();
        row.key.begin = row.text.end;
        if (key_reader_ != nullptr) append(*key_reader_, block);
        row.key.end = block.bytes.size();
        if (score_reader_ != nullptr) {
            row.score = score_reader_->take_number();
            if (row.score && !std::isfinite(*row.score)) row.problem = "the score is not finite";
        }
        block.rows.push_back(row);
    }

    bool append(ParquetColumnReader& reader, DocumentBlock& block) const {
        return reader.append_next(block.bytes, options_.document_bytes_max);
    }

    std::string column_names() const {
        std::string names;
        for (const ParquetColumn& column : footer_.columns) {
            if (names.size() > 200) return names + ", …";
            names += (names.empty() ? "'" : ", '") + *column.field + "'";
        }
        return names.empty() ? "none" : names;
    }

    DocumentOptions options_;
    PosixFile file_;
    ParquetGrowth growth_;
    ParquetFooter footer_;
    std::uint32_t source_index_;
    std::uint64_t next_group_;
    std::uint64_t end_group_;
    std::optional<std::size_t> text_, prompt_, response_, key_, score_;
    std::vector<std::unique_ptr<ParquetColumnReader>> readers_;
    ParquetColumnReader* text_reader_ = nullptr;
    ParquetColumnReader* prompt_reader_ = nullptr;
    ParquetColumnReader* response_reader_ = nullptr;
    ParquetColumnReader* key_reader_ = nullptr;
    ParquetColumnReader* score_reader_ = nullptr;
    std::uint64_t row_ = 0;
    std::uint64_t rows_left_ = 0;
};

}  // namespace

std::unique_ptr<BlockReader> read_parquet_blocks(const std::filesystem::path& path, const SourceSpan& span,
                                                 const DocumentOptions& options) {
    return std::make_unique<ParquetBlocks>(path, span, options);
}

std::vector<SourceSpan> divide_parquet(const std::filesystem::path& path, std::uint32_t source_index,
                                       std::uint64_t span_bytes) {
    const ParquetFooter footer = read_parquet_footer(open_source(path));
    std::vector<SourceSpan> spans{{source_index, 0}};
    std::uint64_t bytes = 0;
    for (std::uint64_t group = 0; group < footer.row_groups.size(); ++group) {
        if (bytes >= span_bytes) {
            spans.back().end = group;
            spans.push_back({source_index, group});
            bytes = 0;
        }
        for (const ParquetChunk& chunk : footer.row_groups[group].chunks) bytes += chunk.end - chunk.begin;
    }
    return spans;
}

}  // namespace lockstep
