#include "io/documents/reread.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "io/documents/block_parser.h"
#include "io/documents/parquet/parquet_footer.h"
#include "io/documents/text_blocks.h"

namespace lockstep {

namespace {

/// Small, so that little more than the document is read.
constexpr std::size_t reread_block_bytes = std::size_t{64} << 10U;

class Rereader {
  public:
    Rereader(const std::filesystem::path& path, const DocumentOptions& options,
             std::span<const std::uint64_t> offsets, const std::function<void(const Document&)>& deliver)
        : path_(path), options_(options), parser_(options), offsets_(offsets), deliver_(deliver) {}

    /// Documents of one block that are wanted.
    void parse(const DocumentBlock& block) {
        parser_.parse(block, path_.string(), [this](const Document& document) {
            if (std::ranges::binary_search(offsets_, document.source_offset)) deliver_(document);
        });
    }

    /// Blocks in order, until the last wanted document is behind.
    void read(BlockReader& blocks, std::uint64_t last) {
        for (DocumentBlock block; blocks.next(block) && block.offset <= last;) parse(block);
    }

    /// A plain file: a little from each offset on.
    void read_at(SourceContent content, std::uint64_t offset) {
        TextBlocksOptions options{content, options_};
        options.block_bytes = reread_block_bytes;
        options.begins_source = offset == 0;
        // A document begins at its offset, so the stream may as well begin there.
        auto stream = open_stream(path_, Compression::none, offset, options_.expansion_max);
        const auto blocks = read_text_blocks(path_, std::move(stream), {0, 0, 1}, options);
        DocumentBlock block;
        if (!blocks->next(block)) return;
        const std::uint64_t only[] = {offset};
        block.offset += offset;
        const auto all = std::exchange(offsets_, std::span<const std::uint64_t>(only));
        parse(block);
        offsets_ = all;
    }

  private:
    const std::filesystem::path& path_;
    const DocumentOptions& options_;
    BlockParser parser_;
    std::span<const std::uint64_t> offsets_;
    const std::function<void(const Document&)>& deliver_;
};

/// The row groups that hold the rows wanted.
std::vector<SourceSpan> groups_with(const std::filesystem::path& path, std::span<const std::uint64_t> rows) {
    const ParquetFooter footer = read_parquet_footer(open_source(path));
    std::vector<SourceSpan> spans;
    for (std::size_t group = 0; group < footer.row_groups.size(); ++group) {
        const std::uint64_t begin = footer.row_groups[group].first_row;
        const auto row = std::ranges::lower_bound(rows, begin);
        if (row != rows.end() && *row < begin + footer.row_groups[group].num_rows)
            spans.push_back({0, group, group + 1});
    }
    return spans;
}

}  // namespace

std::uint64_t reread_documents(const std::filesystem::path& path, const DocumentOptions& options,
                               std::span<const std::uint64_t> offsets, std::uint64_t within,
                               const std::function<void(const Document&)>& deliver) {
    if (offsets.empty()) return 0;
    const SourceKind kind = source_kind_of(path);
    if (kind.content == SourceContent::parquet) {
        Rereader rereader(path, options, offsets, deliver);
        for (const SourceSpan& span : groups_with(path, offsets))
            rereader.read(*open_blocks(path, kind, span, options), offsets.back());
        return 0;
    }
    if (kind.content == SourceContent::megatron) {
        Rereader rereader(path, options, offsets, deliver);
        for (const std::uint64_t document : offsets)
            rereader.read(*open_blocks(path, kind, {0, document, document + 1}, options), document);
        return 0;
    }
    if (kind.compression != Compression::none) {
        const auto near = offsets.first(
            static_cast<std::size_t>(std::ranges::upper_bound(offsets, within) - offsets.begin()));
        Rereader rereader(path, options, near, deliver);
        if (!near.empty()) rereader.read(*open_blocks(path, kind, {0}, options), near.back());
        return offsets.size() - near.size();
    }
    Rereader rereader(path, options, offsets, deliver);
    for (const std::uint64_t offset : offsets) rereader.read_at(kind.content, offset);
    return 0;
}

}  // namespace lockstep
