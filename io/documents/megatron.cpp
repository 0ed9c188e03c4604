#include "io/documents/megatron.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "io/base/error.h"
#include "io/documents/document.h"
#include "io/documents/text_blocks.h"
#include "io/files/directory.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

constexpr std::string_view magic{"MMIDIDX\0\0", 9};
constexpr std::uint64_t index_version = 1;
constexpr std::uint64_t header_bytes = 9 + 8 + 1 + 8 + 8;
constexpr std::size_t block_bytes = std::size_t{4} << 20U;
/// Megatron stores two bytes a token for vocabularies below this.
constexpr std::uint64_t two_byte_vocabulary_end = 65500;

/// Type codes of the format.
enum class MegatronType : std::uint8_t { u8 = 1, i8 = 2, i16 = 3, i32 = 4, i64 = 5, u16 = 8 };

std::size_t type_bytes(std::uint8_t code) {
    switch (static_cast<MegatronType>(code)) {
        case MegatronType::u8:
        case MegatronType::i8:
            return 1;
        case MegatronType::i16:
        case MegatronType::u16:
            return 2;
        case MegatronType::i32:
            return 4;
        case MegatronType::i64:
            return 8;
    }
    return 0;
}

template <class T>
T number_at(std::span<const std::byte> bytes, std::uint64_t at) {
    T value{};
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

/// The part of an index that tells where some documents lie, checked: sequences end to end inside the token
/// file, boundaries ascending. The parts that make up an index check all of it.
class MegatronIndex {
  public:
    /// Of documents [first, end), cut to what there is.
    MegatronIndex(const std::filesystem::path& path, std::uint64_t first, std::uint64_t end)
        : file_(open_source(path)) {
        read_header();
        token_file_bytes_ = open_source(megatron_tokens_path(path)).size();
        end_ = std::min(end, num_documents());
        first_ = std::min(first, end_);
        read_boundaries();
        read_sequences();
    }

    std::uint64_t num_documents() const { return boundaries_ - 1; }
    std::uint64_t first() const { return first_; }
    std::uint64_t end() const { return end_; }
    std::size_t token_bytes() const { return type_bytes(type_); }
    std::uint8_t type() const { return type_; }
    /// First byte of a document of this part in the token file; of `end()` the end of the one before.
    std::uint64_t byte_of(std::uint64_t document) const { return begin_[document - first_]; }

  private:
    [[noreturn]] void corrupt(const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data,
                    "'" + file_.path().string() + "': " + problem + "; make it again");
    }

    template <class T>
    std::vector<T> numbers(std::uint64_t at, std::uint64_t count) const {
        std::vector<T> values(count);
        file_.read_at(at, std::as_writable_bytes(std::span(values)));
        return values;
    }

    void read_header() {
        const std::uint64_t file_bytes = file_.size();
        std::array<std::byte, header_bytes> header{};
        if (file_bytes >= header_bytes) file_.read_at(0, header);
        const std::span<const std::byte> bytes = header;
        if (std::memcmp(header.data(), magic.data(), magic.size()) != 0)
            corrupt("it does not begin as a Megatron index (MMIDIDX)");
        if (const auto version = number_at<std::uint64_t>(bytes, 9); version != index_version) {
            throw Error(ErrorCode::incompatible_version, "'" + file_.path().string() +
                                                             "' is a Megatron index of version " +
                                                             std::to_string(version) + ", expected 1");
        }
        type_ = number_at<std::uint8_t>(bytes, 17);
        if (type_bytes(type_) == 0)
            corrupt("its tokens are of type " + std::to_string(type_) + ", expected an integer type");
        sequences_ = number_at<std::uint64_t>(bytes, 18);
        boundaries_ = number_at<std::uint64_t>(bytes, 26);
        const std::uint64_t room = file_bytes - header_bytes;
        // A byte a sequence may follow: the modes of multimodal files, which mean nothing here.
        if (sequences_ > room / 12 || boundaries_ > (room - 12 * sequences_) / 8 ||
            (room != 12 * sequences_ + 8 * boundaries_ && room != 13 * sequences_ + 8 * boundaries_)) {
            corrupt("it is cut short or too long for " + std::to_string(sequences_) + " sequences and " +
                    std::to_string(boundaries_) + " boundaries");
        }
        if (boundaries_ == 0) refuse_boundaries();
    }

    /// Into `begin_`, in sequences for now.
    void read_boundaries() {
        begin_ = numbers<std::uint64_t>(header_bytes + 12 * sequences_ + 8 * first_, end_ - first_ + 1);
        if ((first_ == 0 && begin_.front() != 0) || (end_ == num_documents() && begin_.back() != sequences_))
            refuse_boundaries();
        for (std::size_t i = 1; i < begin_.size(); ++i) {
            if (begin_[i] < begin_[i - 1])
                corrupt("document boundary " + std::to_string(first_ + i) +
                        " lies before the one in front of it");
        }
        if (begin_.back() > sequences_) refuse_boundaries();
    }

    /// From sequences to bytes.
    void read_sequences() {
        const std::uint64_t first = begin_.front();
        const std::uint64_t count = begin_.back() - first;
        const auto lengths = numbers<std::int32_t>(header_bytes + 4 * first, count);
        const auto offsets = numbers<std::uint64_t>(header_bytes + 4 * sequences_ + 8 * first, count);
        // What lies before belongs to another part, which ends where this one begins.
        std::uint64_t byte = first == 0 || count == 0 ? 0 : offsets.front();
        if (byte > token_file_bytes_) refuse_token_file(byte);
        std::size_t document = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            for (; begin_[document] == first + i; ++document) begin_[document] = byte;
            if (lengths[i] < 0 || offsets[i] != byte) {
                corrupt("sequence " + std::to_string(first + i) + " begins at byte " +
                        std::to_string(offsets[i]) + ", expected " + std::to_string(byte) +
                        " (only files with sequences end to end)");
            }
            byte += static_cast<std::uint64_t>(lengths[i]) * token_bytes();
        }
        for (; document < begin_.size(); ++document) begin_[document] = byte;
        const bool to_the_end = first + count == sequences_ && (count != 0 || sequences_ == 0);
        if (byte > token_file_bytes_ || (to_the_end && byte != token_file_bytes_)) refuse_token_file(byte);
    }

    [[noreturn]] void refuse_boundaries() const {
        corrupt("its document boundaries do not run from 0 to " + std::to_string(sequences_));
    }
    [[noreturn]] void refuse_token_file(std::uint64_t expected) const {
        corrupt("its token file has " + std::to_string(token_file_bytes_) + " bytes, expected " +
                std::to_string(expected));
    }

    PosixFile file_;
    std::uint8_t type_ = 0;
    std::uint64_t sequences_ = 0;
    std::uint64_t boundaries_ = 0;
    std::uint64_t token_file_bytes_ = 0;
    std::uint64_t first_ = 0;
    std::uint64_t end_ = 0;
    std::vector<std::uint64_t> begin_;  ///< (end - first + 1)
};

class MegatronBlocks : public BlockReader {
  public:
    MegatronBlocks(const std::filesystem::path& path, const SourceSpan& span, const DocumentOptions& options)
        : name_(path.string()),
          index_(path, span.begin, span.end),
          tokens_(open_source(megatron_tokens_path(path))),
          source_index_(span.source_index),
          next_(index_.first()),
          end_(index_.end()),
          document_bytes_max_(options.document_bytes_max) {}

    bool next(DocumentBlock& block) override {
        if (next_ >= end_) return false;
        const std::uint64_t begin = index_.byte_of(next_);
        std::uint64_t last = next_;
        while (last < end_ && (last == next_ || index_.byte_of(last + 1) - begin <= block_bytes)) ++last;
        block = DocumentBlock();
        block.content = SourceContent::megatron;
        block.source_index = source_index_;
        block.offset = next_;
        for (; next_ < last; ++next_) add(next_, block);
        block.file_position = index_.byte_of(next_);
        block.bytes.resize(block.bytes.size() + DocumentBlock::padding);
        return true;
    }

  private:
    void add(std::uint64_t document, DocumentBlock& block) {
        const std::uint64_t begin = index_.byte_of(document);
        const std::uint64_t bytes = index_.byte_of(document + 1) - begin;
        if (bytes > document_bytes_max_) refuse_long_document(name_, begin, document_bytes_max_);
        stored_.resize(bytes);
        tokens_.read_at(begin, stored_);
        BlockRow row;
        row.number = document;
        row.text.begin = block.bytes.size();
        widened_.resize(bytes / index_.token_bytes());
        for (std::size_t i = 0; i < widened_.size(); ++i) {
            const auto token = token_at(i);
            if (!token) row.problem = "a token id below 0 or beyond 2^32";
            widened_[i] = token.value_or(0);
        }
        row.text.end = row.text.begin + 4 * widened_.size();
        block.bytes.resize(row.text.end);
        if (!widened_.empty())
            std::memcpy(block.bytes.data() + row.text.begin, widened_.data(), 4 * widened_.size());
        block.rows.push_back(row);
    }

    std::optional<std::uint32_t> token_at(std::size_t i) const {
        const std::span<const std::byte> bytes = stored_;
        std::int64_t value = 0;
        switch (static_cast<MegatronType>(index_.type())) {
            case MegatronType::u8:
                return number_at<std::uint8_t>(bytes, i);
            case MegatronType::u16:
                return number_at<std::uint16_t>(bytes, 2 * i);
            case MegatronType::i8:
                value = number_at<std::int8_t>(bytes, i);
                break;
            case MegatronType::i16:
                value = number_at<std::int16_t>(bytes, 2 * i);
                break;
            case MegatronType::i32:
                value = number_at<std::int32_t>(bytes, 4 * i);
                break;
            case MegatronType::i64:
                value = number_at<std::int64_t>(bytes, 8 * i);
                break;
        }
        if (value < 0 || value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
        return static_cast<std::uint32_t>(value);
    }

    std::string name_;
    MegatronIndex index_;
    PosixFile tokens_;
    std::uint32_t source_index_;
    std::uint64_t next_;
    std::uint64_t end_;
    std::uint64_t document_bytes_max_;
    std::vector<std::byte> stored_;
    std::vector<std::uint32_t> widened_;
};

/// Numbers to a file, gathered.
class NumberFile {
  public:
    explicit NumberFile(const std::filesystem::path& path) : file_(path, O_WRONLY | O_CREAT | O_TRUNC) {}

    template <class T>
    void put(T value) {
        put_bytes(std::as_bytes(std::span(&value, 1)));
    }
    void put_bytes(std::span<const std::byte> bytes) {
        buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        if (buffer_.size() >= block_bytes) flush();
    }
    void close() {
        flush();
        file_.close();
    }

  private:
    void flush() {
        file_.write(std::as_bytes(std::span(buffer_)));
        buffer_.clear();
    }

    PosixFile file_;
    std::string buffer_;
};

void write_index(const std::filesystem::path& path, bool two_bytes,
                 const std::vector<std::uint64_t>& sample_tokens) {
    NumberFile file(path);
    file.put_bytes(std::as_bytes(std::span(magic)));
    file.put(index_version);
    file.put(static_cast<std::uint8_t>(two_bytes ? MegatronType::u16 : MegatronType::i32));
    file.put(std::uint64_t{sample_tokens.size()});
    file.put(std::uint64_t{sample_tokens.size() + 1});
    for (const std::uint64_t tokens : sample_tokens) file.put(static_cast<std::int32_t>(tokens));
    std::uint64_t offset = 0;
    for (const std::uint64_t tokens : sample_tokens) {
        file.put(offset);
        offset += tokens * (two_bytes ? 2 : 4);
    }
    for (std::uint64_t i = 0; i <= sample_tokens.size(); ++i) file.put(i);
    file.close();
}

}  // namespace

bool is_megatron_index(const std::filesystem::path& path) {
    PosixFile file(path, O_RDONLY);
    std::array<std::byte, magic.size()> head;
    return file.read(head) == head.size() && std::memcmp(head.data(), magic.data(), magic.size()) == 0;
}

std::filesystem::path megatron_tokens_path(std::filesystem::path index) {
    return index.replace_extension(".bin");
}

std::unique_ptr<BlockReader> read_megatron_blocks(const std::filesystem::path& index, const SourceSpan& span,
                                                  const DocumentOptions& options) {
    return std::make_unique<MegatronBlocks>(index, span, options);
}

std::vector<SourceSpan> divide_megatron(const std::filesystem::path& path, std::uint32_t source_index,
                                        std::uint64_t span_bytes) {
    const MegatronIndex index(path, 0, ~std::uint64_t{0});
    std::vector<SourceSpan> spans{{source_index, 0}};
    for (std::uint64_t document = 0, begin = 0; document < index.num_documents(); ++document) {
        if (index.byte_of(document) - begin < span_bytes) continue;
        begin = index.byte_of(document);
        spans.back().end = document;
        spans.push_back({source_index, document});
    }
    return spans;
}

void write_megatron(const std::filesystem::path& prefix, std::uint64_t vocabulary_size,
                    const std::vector<std::uint64_t>& sample_tokens,
                    const std::function<void(std::uint64_t sample, std::vector<std::uint32_t>& tokens)>& give,
                    Overwrite overwrite) {
    std::filesystem::path tokens_path = prefix;
    std::filesystem::path index_path = prefix;
    tokens_path += ".bin";
    index_path += ".idx";
    for (const auto& path : {tokens_path, index_path}) require_writable_output(path, overwrite);
    constexpr std::uint64_t end = std::uint64_t{1} << 31U;
    const auto too_long = std::ranges::find_if(sample_tokens, [](std::uint64_t n) { return n >= end; });
    if (too_long != sample_tokens.end() || vocabulary_size > end) {
        throw Error(ErrorCode::invalid_argument,
                    "Megatron's files hold samples and token ids below 2^31 only; this corpus has more");
    }
    const bool two_bytes = vocabulary_size < two_byte_vocabulary_end;
    const std::filesystem::path tokens_temporary = temporary_path(tokens_path);
    const std::filesystem::path index_temporary = temporary_path(index_path);
    bool publishing = false;
    try {
        NumberFile file(tokens_temporary);
        std::vector<std::uint32_t> tokens;
        std::vector<std::uint16_t> narrow;
        for (std::uint64_t sample = 0; sample < sample_tokens.size(); ++sample) {
            tokens.clear();
            give(sample, tokens);
            narrow.resize(tokens.size());
            std::ranges::transform(tokens, narrow.begin(),
                                   [](std::uint32_t token) { return static_cast<std::uint16_t>(token); });
            file.put_bytes(two_bytes ? std::as_bytes(std::span(narrow)) : std::as_bytes(std::span(tokens)));
        }
        file.close();
        write_index(index_temporary, two_bytes, sample_tokens);
        const std::filesystem::path temporaries[] = {tokens_temporary, index_temporary};
        sync_together(temporaries);
        // An old index never stands beside new tokens.
        if (overwrite == Overwrite::yes) remove_file(index_path);
        publishing = true;
        publish_file(tokens_temporary, tokens_path, overwrite);
        publish_file(index_temporary, index_path, overwrite);
    } catch (...) {
        for (const auto& path : {index_path, tokens_path}) {
            std::error_code ignored;
            // What lost its temporary was renamed: half of an output.
            if (!std::filesystem::remove(temporary_path(path), ignored) && !ignored && publishing)
                std::filesystem::remove(path, ignored);
        }
        throw;
    }
}

}  // namespace lockstep
