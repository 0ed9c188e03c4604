#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/columns/fingerprint_attribute.h"
#include "io/corpus/corpus.h"
#include "io/corpus/corpus_format.h"
#include "io/corpus/corpus_tokens.h"
#include "io/corpus/length_keys.h"
#include "io/corpus/token_column.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

namespace columns = corpus_format::columns;

constexpr std::size_t spool_buffer_bytes = std::size_t{1} << 20U;
constexpr std::uint64_t sample_tokens_end = std::uint64_t{1} << 32U;

template <class T>
std::span<const T> tokens_in(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

/// Texts of any length end to end, as two columns.
struct TextColumn {
    std::vector<std::uint64_t> begin{0};
    std::string bytes;

    void add(std::string_view text) {
        bytes += text;
        begin.push_back(bytes.size());
    }
    void write(ColumnFileWriter& file, std::string_view begin_name, std::string_view bytes_name) const {
        file.column<std::uint64_t>(begin_name, begin);
        file.column(bytes_name, std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
    }
};

/// Tokens on their way, in a file without a name: it is gone with the process, however that ends.
class TokenSpool {
  public:
    TokenSpool(const std::filesystem::path& beside, ColumnType type)
        : type_(type), file_(spool_path(beside), O_RDWR | O_CREAT | O_TRUNC) {
        if (::unlink(file_.path().c_str()) != 0) throw_errno("unlink", file_.path().string(), errno);
    }

    std::uint64_t num_tokens() const { return num_tokens_; }

    void add(std::span<const std::uint32_t> tokens) {
        if (type_ == ColumnType::u32) {
            put(std::as_bytes(tokens));
        } else {
            narrow_.resize(tokens.size());
            std::ranges::transform(tokens, narrow_.begin(),
                                   [](std::uint32_t token) { return static_cast<std::uint16_t>(token); });
            put(std::as_bytes(std::span(narrow_)));
        }
        num_tokens_ += tokens.size();
    }

    /// Hand everything over, in order.
    void unload(const CorpusWriter::TokenSink& sink) {
        flush();
        std::vector<std::byte> piece(spool_buffer_bytes);
        std::uint64_t rest = num_tokens_ * column_type_bytes(type_);
        for (std::uint64_t offset = 0; rest != 0;) {
            const auto part =
                std::span(piece).first(static_cast<std::size_t>(std::min<std::uint64_t>(rest, piece.size())));
            file_.read_at(offset, part);
            sink(part);
            offset += part.size();
            rest -= part.size();
        }
    }

  private:
    static std::filesystem::path spool_path(std::filesystem::path beside) {
        beside += ".tokens.tmp";
        return beside;
    }

    void put(std::span<const std::byte> bytes) {
        buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
        if (buffer_.size() >= spool_buffer_bytes) flush();
    }

    void flush() {
        file_.write(buffer_);
        buffer_.clear();
    }

    ColumnType type_;
    PosixFile file_;
    std::vector<std::byte> buffer_;
    std::vector<std::uint16_t> narrow_;
    std::uint64_t num_tokens_ = 0;
};

CorpusTokenizer checked_tokenizer(const CorpusTokenizer& tokenizer) {
    if (tokenizer.vocabulary_size == 0 || tokenizer.vocabulary_size > corpus_format::vocabulary_max) {
        throw Error(
            ErrorCode::invalid_argument,
            "a vocabulary of " + std::to_string(tokenizer.vocabulary_size) + " tokens, expected 1 to 2^32");
    }
    for (const auto& id : {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id}) {
        if (id && *id >= tokenizer.vocabulary_size) {
            throw Error(ErrorCode::invalid_argument,
                        "special token id " + std::to_string(*id) + " is beyond the vocabulary of " +
                            std::to_string(tokenizer.vocabulary_size) + " tokens");
        }
    }
    return tokenizer;
}

std::filesystem::path checked_output(const std::filesystem::path& path, Overwrite overwrite) {
    require_writable_output(path, overwrite);
    return path;
}

}  // namespace

struct CorpusWriter::State {
    std::filesystem::path path;
    CorpusTokenizer tokenizer;
    Overwrite overwrite;
    TokenSpool spool;
    std::uint64_t num_tokens = 0;
    std::string ingest_record;
    std::vector<SourceFile> sources;
    std::map<std::string, std::uint64_t, std::less<>> left_out;

    std::vector<std::uint64_t> sample_begin{0};
    // Kept for every sample from the first one that has any; samples before it are filled in then.
    std::vector<std::uint64_t> loss_span_begin;
    std::vector<std::uint32_t> loss_spans;
    TextColumn keys;
    bool has_keys = false;
    std::vector<double> sample_score;
    std::vector<std::uint32_t> source_index;
    std::vector<std::uint64_t> source_offset;
    std::vector<std::uint64_t> source_digest;
    std::unique_ptr<ColumnFileWriter> prepared;  ///< Not yet published.

    State(const std::filesystem::path& file, const CorpusTokenizer& made_by, Overwrite mode)
        : path(checked_output(file, mode)),
          tokenizer(checked_tokenizer(made_by)),
          overwrite(mode),
          spool(path, corpus_format::token_type(tokenizer.vocabulary_size)) {}

    std::uint64_t num_samples() const { return sample_begin.size() - 1; }

    [[noreturn]] void refuse(const std::string& problem) const {
        throw Error(ErrorCode::invalid_argument, "sample " + std::to_string(num_samples()) + ": " + problem);
    }

    void check(const StoredSample& sample) const {
        if (sample.num_tokens >= sample_tokens_end) {
            refuse(std::to_string(sample.num_tokens) + " tokens, expected fewer than 2^32");
        }
        if (sample.source_index >= sources.size()) {
            refuse("source " + std::to_string(sample.source_index) + " is not one of the " +
                   std::to_string(sources.size()) + " sources added");
        }
        check_spans(sample);
        check_score(sample);
    }

    void check_tokens(std::span<const std::uint32_t> tokens) const {
        const auto beyond = std::ranges::find_if(
            tokens, [&](std::uint32_t token) { return token >= tokenizer.vocabulary_size; });
        if (beyond == tokens.end()) return;
        refuse("token id " + std::to_string(*beyond) + " at position " +
               std::to_string(beyond - tokens.begin()) + " is beyond the vocabulary of " +
               std::to_string(tokenizer.vocabulary_size) + " tokens");
    }

    void check_spans(const StoredSample& sample) const {
        std::uint32_t end = 0;
        for (const LossSpan& span : sample.loss_spans) {
            if (span.begin < end || span.end < span.begin || span.end > sample.num_tokens) {
                refuse("loss span [" + std::to_string(span.begin) + ", " + std::to_string(span.end) +
                       ") is not ascending within its " + std::to_string(sample.num_tokens) + " tokens");
            }
            end = span.end;
        }
    }

    void check_score(const StoredSample& sample) const {
        if (num_samples() > 0 && sample.score.has_value() != !sample_score.empty()) {
            refuse(sample.score ? "a score, which the samples before it have not"
                                : "no score, which the samples before it have");
        }
        if (sample.score && !std::isfinite(*sample.score)) refuse("a score that is not finite");
    }

    /// A span that names no token is left out.
    void add_span(std::uint64_t begin, std::uint64_t end) {
        if (begin == end) return;
        loss_spans.push_back(static_cast<std::uint32_t>(begin));
        loss_spans.push_back(static_cast<std::uint32_t>(end));
    }

    /// Where no spans are given the whole sample is trained, which among samples with spans must be said.
    void add_spans(const StoredSample& sample) {
        if (!sample.has_loss_spans && loss_span_begin.empty()) return;
        if (loss_span_begin.empty()) {
            loss_span_begin.push_back(0);
            for (std::size_t i = 0; i < num_samples(); ++i) {
                add_span(0, sample_begin[i + 1] - sample_begin[i]);
                loss_span_begin.push_back(loss_spans.size() / 2);
            }
        }
        if (sample.has_loss_spans) {
            for (const LossSpan& span : sample.loss_spans) add_span(span.begin, span.end);
        } else {
            add_span(0, sample.num_tokens);
        }
        loss_span_begin.push_back(loss_spans.size() / 2);
    }

    void add(const SampleRecord& sample) {
        check_tokens(sample.tokens);
        add({sample.tokens.size(), sample.has_loss_spans, sample.loss_spans, sample.key, sample.source_index,
             sample.source_offset, sample.source_digest, sample.score});
        spool.add(sample.tokens);
    }

    void add(const StoredSample& sample) {
        check(sample);
        add_spans(sample);
        keys.add(sample.key);
        has_keys = has_keys || !sample.key.empty();
        if (sample.score) sample_score.push_back(*sample.score);
        source_index.push_back(sample.source_index);
        source_offset.push_back(sample.source_offset);
        source_digest.push_back(sample.source_digest.low);
        source_digest.push_back(sample.source_digest.high);
        num_tokens += sample.num_tokens;
        sample_begin.push_back(num_tokens);
    }

    void write_samples(ColumnFileWriter& file) const {
        file.column<std::uint64_t>(columns::sample_begin, sample_begin);
        if (!loss_span_begin.empty()) {
            file.column<std::uint64_t>(columns::loss_span_begin, loss_span_begin);
            file.column<std::uint32_t>(columns::loss_spans, loss_spans, 2);
        }
        if (has_keys) keys.write(file, columns::key_begin, columns::key_bytes);
        if (!sample_score.empty()) file.column<double>(columns::sample_score, sample_score);
        file.column<std::uint32_t>(columns::source_index, source_index);
        file.column<std::uint64_t>(columns::source_offset, source_offset);
        file.column<std::uint64_t>(columns::source_digest, source_digest, 2);
    }

    void write_sources(ColumnFileWriter& file) const {
        TextColumn source_names;
        std::vector<std::uint64_t> bytes;
        std::vector<std::uint64_t> digests;
        for (const SourceFile& source : sources) {
            source_names.add(source.name);
            bytes.push_back(source.bytes);
            digests.push_back(source.digest.low);
            digests.push_back(source.digest.high);
        }
        source_names.write(file, columns::file_name_begin, columns::file_name_bytes);
        file.column<std::uint64_t>(columns::file_bytes, bytes);
        file.column<std::uint64_t>(columns::file_digest, digests, 2);
    }

    void write_left_out(ColumnFileWriter& file) const {
        TextColumn reasons;
        std::vector<std::uint64_t> documents;
        for (const auto& [reason, count] : left_out) {
            reasons.add(reason);
            documents.push_back(count);
        }
        reasons.write(file, columns::reason_begin, columns::reason_bytes);
        file.column<std::uint64_t>(columns::reason_documents, documents);
    }

    PublishedCorpus write_attributes(ColumnFileWriter& file, const Fingerprint& token_root,
                                     std::uint32_t max_token_id) const {
        corpus_format::Content content;
        content.tokenizer = tokenizer.fingerprint;
        content.vocabulary_size = tokenizer.vocabulary_size;
        content.token_root = token_root;
        content.sample_begin = sample_begin;
        content.loss_span_begin = loss_span_begin;
        content.loss_spans = loss_spans;
        if (has_keys) {
            content.key_begin = keys.begin;
            content.key_bytes = keys.bytes;
        }
        const PublishedCorpus published{
            num_samples(),
            num_tokens,
            corpus_format::fingerprint_of(content),
            corpus_format::lengths_fingerprint_of(sample_begin, content.key_begin, content.key_bytes),
            {}};
        write_fingerprint(file, "/", "content_fingerprint", published.content);
        write_fingerprint(file, "/", "lengths_fingerprint", published.lengths);
        write_fingerprint(file, "/", "tokenizer_fingerprint", tokenizer.fingerprint);
        file.attribute("/", "tokenizer", std::string_view(tokenizer.description_json));
        file.attribute("/", "vocabulary_size", tokenizer.vocabulary_size);
        const std::pair<const char*, std::optional<std::uint32_t>> specials[] = {
            {"bos_id", tokenizer.bos_id}, {"eos_id", tokenizer.eos_id}, {"pad_id", tokenizer.pad_id}};
        for (const auto& [name, id] : specials) {
            if (id) file.attribute("/", name, std::uint64_t{*id});
        }
        if (tokenizer.file) {
            const std::string digest = tokenizer.file->digest.hex();
            file.attribute("/", corpus_format::tokenizer_file_attribute,
                           std::string_view(tokenizer.file->name));
            file.attribute("/", corpus_format::tokenizer_pattern_attribute,
                           std::string_view(tokenizer.file->pattern));
            file.attribute("/", corpus_format::tokenizer_digest_attribute, std::string_view(digest));
        }
        file.attribute("/", "num_samples", num_samples());
        file.attribute("/", "num_tokens", num_tokens);
        if (num_tokens != 0) file.attribute("/", "max_token_id", std::uint64_t{max_token_id});
        file.attribute("/", "tool_version", std::string_view(LOCKSTEP_VERSION));
        if (!ingest_record.empty())
            file.attribute("/", corpus_format::ingest_attribute, std::string_view(ingest_record));
        return published;
    }

    std::string place_of(std::uint64_t sample) const {
        return "sample " + std::to_string(sample) + " ('" + sources[source_index[sample]].name + "' at " +
               std::to_string(source_offset[sample]) + ")";
    }

    void require_samples() const {
        if (num_samples() == 0) {
            throw Error(
                ErrorCode::invalid_argument,
                "'" + path.string() + "' would hold no sample; check that the sources contain documents");
        }
        refuse_repeated_keys();
    }

    /// All that stands behind the tokens.
    PublishedCorpus complete(std::unique_ptr<ColumnFileWriter> file, const TokenColumn::Content& content,
                             int threads) {
        if (content.num_tokens != num_tokens) {
            throw Error(ErrorCode::bug, "'" + path.string() + "' was given " +
                                            std::to_string(content.num_tokens) + " tokens, expected " +
                                            std::to_string(num_tokens));
        }
        if (num_tokens != 0 && content.max_token_id >= tokenizer.vocabulary_size) {
            throw Error(ErrorCode::invalid_argument,
                        "token id " + std::to_string(content.max_token_id) + " is beyond the vocabulary of " +
                            std::to_string(tokenizer.vocabulary_size) + " tokens");
        }
        write_samples(*file);
        write_sources(*file);
        write_left_out(*file);
        PublishedCorpus published = write_attributes(*file, content.root, content.max_token_id);
        published.file_digest = file->seal(threads).digest_hex;
        prepared = std::move(file);
        return published;
    }

    /// Samples without an id are not alike for that.
    void refuse_repeated_keys() const {
        if (!has_keys) return;
        for (const RepeatedKey& repeated : find_repeated_keys(keys.begin, keys.bytes)) {
            const std::uint64_t begin = keys.begin[repeated.index];
            const std::string key = keys.bytes.substr(begin, keys.begin[repeated.index + 1] - begin);
            if (key.empty()) continue;
            throw Error(ErrorCode::corrupt_data, "'" + path.string() + "': " + place_of(repeated.index) +
                                                     " has the id '" + key + "' of " +
                                                     place_of(repeated.first) +
                                                     "; ids name one sample each, see --key-field");
        }
    }
};

CorpusWriter::CorpusWriter(const std::filesystem::path& path, const CorpusTokenizer& tokenizer,
                           Overwrite overwrite)
    : state_(std::make_unique<State>(path, tokenizer, overwrite)) {}

CorpusWriter::~CorpusWriter() = default;

std::uint32_t CorpusWriter::add_source(const SourceFile& source) {
    state_->sources.push_back(source);
    return static_cast<std::uint32_t>(state_->sources.size() - 1);
}

void CorpusWriter::set_source(std::uint32_t index, const SourceFile& source) {
    LOCKSTEP_EXPECTS(index < state_->sources.size());
    state_->sources[index] = source;
}

void CorpusWriter::add(const SampleRecord& sample) {
    state_->add(sample);
}

void CorpusWriter::count_left_out(std::string_view reason, std::uint64_t documents) {
    if (documents != 0) state_->left_out[std::string(reason)] += documents;
}

void CorpusWriter::add_stored(const StoredSample& sample) {
    LOCKSTEP_EXPECTS(state_->spool.num_tokens() == 0);
    state_->add(sample);
}

void CorpusWriter::set_ingest_record(std::string_view json) {
    state_->ingest_record = json;
}

PublishedCorpus CorpusWriter::publish() {
    return publish([this](const TokenSink& sink) { state_->spool.unload(sink); });
}

PublishedCorpus CorpusWriter::publish(const std::function<void(const TokenSink&)>& give) {
    const PublishedCorpus published = prepare(give);
    publish_prepared();
    return published;
}

PublishedCorpus CorpusWriter::prepare(const std::function<void(const TokenSink&)>& give, int threads) {
    LOCKSTEP_EXPECTS(!state_->prepared);
    state_->require_samples();
    auto file = std::make_unique<ColumnFileWriter>(state_->path, std::string(corpus_format::format),
                                                   corpus_format::version, state_->overwrite);
    const ColumnType type = corpus_format::token_type(state_->tokenizer.vocabulary_size);
    file->begin_column(columns::tokens, type, state_->num_tokens);
    TokenColumn tokens(type, state_->num_tokens * column_type_bytes(type), threads,
                       [&](std::span<const std::byte> bytes) {
                           if (type == ColumnType::u16) {
                               file->append(columns::tokens, tokens_in<std::uint16_t>(bytes));
                           } else {
                               file->append(columns::tokens, tokens_in<std::uint32_t>(bytes));
                           }
                       });
    give([&](std::span<const std::byte> bytes) { tokens.append(bytes); });
    const auto content = tokens.finish();  // Into the file, so before that is given away.
    return state_->complete(std::move(file), content, threads);
}

PublishedCorpus CorpusWriter::prepare(CorpusTokens tokens, int threads) {
    LOCKSTEP_EXPECTS(!state_->prepared);
    state_->require_samples();
    const TokenColumn::Content content = tokens.finish();
    auto file =
        std::make_unique<ColumnFileWriter>(state_->path, std::move(tokens).take_column(), state_->overwrite);
    return state_->complete(std::move(file), content, threads);
}

const std::filesystem::path& CorpusWriter::prepared_path() const {
    LOCKSTEP_EXPECTS(state_->prepared != nullptr);
    return state_->prepared->temporary();
}

void CorpusWriter::publish_prepared() {
    LOCKSTEP_EXPECTS(state_->prepared != nullptr);
    // Whatever happens, no temporary of ours outlives the attempt.
    const auto file = std::move(state_->prepared);
    file->publish();
}

}  // namespace lockstep
