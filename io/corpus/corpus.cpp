#include "io/corpus/corpus.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/columns/fingerprint_attribute.h"
#include "io/corpus/corpus_format.h"

namespace lockstep {

namespace {

namespace columns = corpus_format::columns;

// Up to this size the content fingerprint is computed anew at open; it takes under 50 ms.
constexpr std::uint64_t fingerprint_at_open_bytes_max = std::uint64_t{64} << 20U;

static_assert(sizeof(LossSpan) == 2 * sizeof(std::uint32_t), "spans are read straight from the map");

/// Texts end to end, as two columns.
struct TextView {
    std::span<const std::uint64_t> begin;  ///< (count + 1)
    std::span<const char> bytes;

    std::size_t count() const { return begin.size() - 1; }
    std::string_view at(std::size_t i) const { return {bytes.data() + begin[i], begin[i + 1] - begin[i]}; }
};

}  // namespace

struct Corpus::State {
    ColumnFile file;
    CorpusTokenizer tokenizer;
    ColumnType token_type = ColumnType::u16;
    Fingerprint content_fingerprint;
    Fingerprint lengths_fingerprint;
    std::uint64_t num_tokens = 0;
    const std::byte* stored = nullptr;  ///< The tokens' place, of blocks not yet checked too.
    std::optional<std::uint64_t> max_token_id;

    std::span<const std::uint64_t> sample_begin;
    std::span<const std::uint64_t> loss_span_begin;  ///< Empty: no spans.
    std::span<const LossSpan> loss_spans;
    std::optional<TextView> keys;
    std::span<const double> sample_score;
    std::span<const std::uint32_t> source_index;
    std::span<const std::uint64_t> source_offset;
    std::span<const std::uint64_t> source_digest;
    TextView source_names;
    std::span<const std::uint64_t> source_bytes;
    std::span<const std::uint64_t> source_file_digest;
    TextView left_out_reasons;
    std::span<const std::uint64_t> left_out_documents;

    explicit State(const std::filesystem::path& path)
        : file(ColumnFile::open(path, corpus_format::format, corpus_format::version)) {
        read_attributes();
        read_samples();
        read_provenance();
        check_samples();
        check_loss_spans();
        check_provenance();
        check_fingerprints();
    }

    std::uint64_t num_samples() const { return sample_begin.size() - 1; }

    [[noreturn]] void corrupt(const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data,
                    "corpus '" + file.path().string() + "': " + problem + "; ingest it again");
    }

    void require_equal(std::string_view what, std::uint64_t found, std::uint64_t expected) const {
        if (found == expected) return;
        corrupt(std::string(what) + " is " + std::to_string(found) + ", expected " +
                std::to_string(expected));
    }

    template <class T>
    std::span<const T> column(std::string_view name, std::uint64_t rows, std::size_t width = 1) const {
        const ColumnFile::Info info = file.info(name);
        require_equal("the number of rows of '" + info.name + "'", info.rows, rows);
        require_equal("the width of '" + info.name + "'", info.width, width);
        return file.column<T>(name);
    }

    /// A running sum: first 0, never falling, last `total`.
    std::span<const std::uint64_t> offsets(std::string_view name, std::uint64_t rows,
                                           std::uint64_t total) const {
        const auto values = column<std::uint64_t>(name, rows);
        if (values.empty()) corrupt("'" + std::string(name) + "' is empty, expected at least one row");
        require_equal("the first value of '" + std::string(name) + "'", values.front(), 0);
        require_equal("the last value of '" + std::string(name) + "'", values.back(), total);
        const auto fall = std::ranges::adjacent_find(values, std::greater<>());
        if (fall != values.end()) {
            corrupt("'" + std::string(name) + "' falls after row " + std::to_string(fall - values.begin()));
        }
        return values;
    }

    TextView texts(std::string_view begin_name, std::string_view bytes_name, std::uint64_t count) const {
        const std::uint64_t num_bytes = file.info(bytes_name).rows;
        const auto bytes = column<std::uint8_t>(bytes_name, num_bytes);
        return {offsets(begin_name, count + 1, num_bytes),
                {reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
    }

    std::optional<std::uint32_t> special_id(const char* name) const {
        if (!file.has_attribute("/", name)) return std::nullopt;
        const std::uint64_t id = file.attribute_u64("/", name);
        if (id >= tokenizer.vocabulary_size) {
            corrupt(std::string(name) + " is " + std::to_string(id) +
                    ", expected less than the vocabulary of " + std::to_string(tokenizer.vocabulary_size));
        }
        return static_cast<std::uint32_t>(id);
    }

    std::optional<TokenizerFile> tokenizer_file() const {
        if (!file.has_attribute("/", corpus_format::tokenizer_file_attribute)) return std::nullopt;
        const auto text = [this](std::string_view name) { return file.attribute_text("/", name); };
        const std::string digest = text(corpus_format::tokenizer_digest_attribute);
        try {
            return TokenizerFile{text(corpus_format::tokenizer_file_attribute),
                                 text(corpus_format::tokenizer_pattern_attribute), Digest::from_hex(digest)};
        } catch (const Error&) {
            corrupt("'tokenizer_file_digest' is '" + digest + "', expected 32 hexadecimal digits");
        }
    }

    void read_attributes() {
        tokenizer.description_json = file.attribute_text("/", "tokenizer");
        tokenizer.fingerprint = read_fingerprint(file, "/", "tokenizer_fingerprint");
        tokenizer.vocabulary_size = file.attribute_u64("/", "vocabulary_size");
        if (tokenizer.vocabulary_size == 0 || tokenizer.vocabulary_size > corpus_format::vocabulary_max) {
            corrupt("the vocabulary size is " + std::to_string(tokenizer.vocabulary_size) +
                    ", expected 1 to 2^32");
        }
        tokenizer.bos_id = special_id("bos_id");
        tokenizer.eos_id = special_id("eos_id");
        tokenizer.pad_id = special_id("pad_id");
        tokenizer.file = tokenizer_file();
        content_fingerprint = read_fingerprint(file, "/", "content_fingerprint");
        lengths_fingerprint = read_fingerprint(file, "/", "lengths_fingerprint");
        num_tokens = file.attribute_u64("/", "num_tokens");
        if (num_tokens != 0) {
            max_token_id = file.attribute_u64("/", "max_token_id");
            if (*max_token_id >= tokenizer.vocabulary_size) {
                corrupt("the greatest token id is " + std::to_string(*max_token_id) +
                        ", expected less than the vocabulary of " +
                        std::to_string(tokenizer.vocabulary_size));
            }
        }
    }

    void read_samples() {
        const std::uint64_t samples = file.attribute_u64("/", "num_samples");
        if (samples == 0) corrupt("it holds no sample");
        const ColumnFile::Info info = file.info(columns::tokens);
        token_type = corpus_format::token_type(tokenizer.vocabulary_size);
        if (info.type != token_type) {
            corrupt("its tokens are not stored in the width that a vocabulary of " +
                    std::to_string(tokenizer.vocabulary_size) + " asks for");
        }
        require_equal("the number of rows of '/tokens'", info.rows, num_tokens);
        require_equal("the width of '/tokens'", info.width, 1);
        with_tokens(0, 0, [&](auto none) { stored = reinterpret_cast<const std::byte*>(none.data()); });
        sample_begin = offsets(columns::sample_begin, samples + 1, num_tokens);
        if (file.has_column(columns::loss_spans)) {
            const std::uint64_t num_spans = file.info(columns::loss_spans).rows;
            const auto words = column<std::uint32_t>(columns::loss_spans, num_spans, 2);
            loss_spans = {reinterpret_cast<const LossSpan*>(words.data()), words.size() / 2};
            loss_span_begin = offsets(columns::loss_span_begin, samples + 1, num_spans);
        }
        if (file.has_column(columns::key_begin))
            keys = texts(columns::key_begin, columns::key_bytes, samples);
        if (file.has_column(columns::sample_score))
            sample_score = column<double>(columns::sample_score, samples);
    }

    void read_provenance() {
        source_index = column<std::uint32_t>(columns::source_index, num_samples());
        source_offset = column<std::uint64_t>(columns::source_offset, num_samples());
        source_digest = column<std::uint64_t>(columns::source_digest, num_samples(), 2);
        const std::uint64_t num_sources = file.info(columns::file_bytes).rows;
        source_bytes = column<std::uint64_t>(columns::file_bytes, num_sources);
        source_file_digest = column<std::uint64_t>(columns::file_digest, num_sources, 2);
        source_names = texts(columns::file_name_begin, columns::file_name_bytes, num_sources);
        const std::uint64_t num_reasons = file.info(columns::reason_documents).rows;
        left_out_documents = column<std::uint64_t>(columns::reason_documents, num_reasons);
        left_out_reasons = texts(columns::reason_begin, columns::reason_bytes, num_reasons);
    }

    void check_samples() const {
        for (std::uint64_t sample = 0; sample < num_samples(); ++sample) {
            if ((sample_begin[sample + 1] - sample_begin[sample]) >> 32U != 0) {
                corrupt("sample " + std::to_string(sample) + " has 2^32 tokens or more");
            }
        }
        const auto bad =
            std::ranges::find_if(sample_score, [](double score) { return !std::isfinite(score); });
        if (bad != sample_score.end())
            corrupt("the score of sample " + std::to_string(bad - sample_score.begin()) + " is not finite");
    }

    void check_loss_spans() const {
        if (loss_span_begin.empty()) return;
        for (std::uint64_t sample = 0; sample < num_samples(); ++sample) {
            const std::uint64_t sample_tokens = sample_begin[sample + 1] - sample_begin[sample];
            std::uint32_t end = 0;
            for (const LossSpan& span : spans_of(sample)) {
                if (span.begin < end || span.begin >= span.end || span.end > sample_tokens) {
                    corrupt("loss span [" + std::to_string(span.begin) + ", " + std::to_string(span.end) +
                            ") of sample " + std::to_string(sample) + " is not ascending within its " +
                            std::to_string(sample_tokens) + " tokens");
                }
                end = span.end;
            }
        }
    }

    void check_provenance() const {
        const auto beyond = std::ranges::find_if(
            source_index, [&](std::uint32_t index) { return index >= source_names.count(); });
        if (beyond != source_index.end()) {
            corrupt("sample " + std::to_string(beyond - source_index.begin()) + " comes from source " +
                    std::to_string(*beyond) + " of " + std::to_string(source_names.count()));
        }
    }

    void check_fingerprints() const {
        const Fingerprint found = corpus_format::lengths_fingerprint_of(
            sample_begin, keys ? keys->begin : std::span<const std::uint64_t>(),
            keys ? keys->bytes : std::span<const char>());
        if (found != lengths_fingerprint) {
            corrupt("its lengths have fingerprint " + found.hex() + ", expected " +
                    lengths_fingerprint.hex());
        }
        if (num_tokens * column_type_bytes(token_type) <= fingerprint_at_open_bytes_max) check_content();
    }

    /// Every token against the vocabulary, and the content fingerprint.
    void check_content() const {
        check_max_token_id();
        corpus_format::Content content;
        content.tokenizer = tokenizer.fingerprint;
        content.vocabulary_size = tokenizer.vocabulary_size;
        corpus_format::TokenTree tree;
        with_tokens(0, num_tokens, [&](auto tokens) { tree.update(std::as_bytes(tokens)); });
        content.token_root = tree.finish(num_tokens, token_type);
        content.sample_begin = sample_begin;
        content.loss_span_begin = loss_span_begin;
        content.loss_spans = {reinterpret_cast<const std::uint32_t*>(loss_spans.data()),
                              2 * loss_spans.size()};
        if (keys) {
            content.key_begin = keys->begin;
            content.key_bytes = keys->bytes;
        }
        const Fingerprint found = corpus_format::fingerprint_of(content);
        if (found != content_fingerprint) {
            corrupt("its content has fingerprint " + found.hex() + ", expected " + content_fingerprint.hex());
        }
    }

    void check_max_token_id() const {
        if (!max_token_id) return;
        std::uint64_t found = 0;
        with_tokens(0, num_tokens, [&](auto tokens) { found = std::ranges::max(tokens); });
        require_equal("the greatest token id", found, *max_token_id);
    }

    std::span<const LossSpan> spans_of(std::uint64_t sample) const {
        const std::uint64_t begin = loss_span_begin[sample];
        return loss_spans.subspan(begin, loss_span_begin[sample + 1] - begin);
    }

    /// Calls `use` with tokens [begin, end) as they are stored.
    template <class Use>
    void with_tokens(std::uint64_t begin, std::uint64_t end, Use use) const {
        if (token_type == ColumnType::u16) {
            use(file.column_range<std::uint16_t>(columns::tokens, begin, end));
        } else {
            use(file.column_range<std::uint32_t>(columns::tokens, begin, end));
        }
    }
};

Corpus::Corpus() = default;
Corpus::~Corpus() = default;
Corpus::Corpus(Corpus&&) noexcept = default;
Corpus& Corpus::operator=(Corpus&&) noexcept = default;

Corpus Corpus::open(const std::filesystem::path& path) {
    Corpus corpus;
    corpus.state_ = std::make_unique<State>(path);
    return corpus;
}

const std::filesystem::path& Corpus::path() const {
    return state_->file.path();
}

std::uint64_t Corpus::num_samples() const {
    return state_->num_samples();
}

std::uint64_t Corpus::num_tokens() const {
    return state_->num_tokens;
}

const CorpusTokenizer& Corpus::tokenizer() const {
    return state_->tokenizer;
}

Fingerprint Corpus::content_fingerprint() const {
    return state_->content_fingerprint;
}

Fingerprint Corpus::lengths_fingerprint() const {
    return state_->lengths_fingerprint;
}

std::span<const std::uint64_t> Corpus::sample_begin() const {
    return state_->sample_begin;
}

std::uint64_t Corpus::sample_tokens(std::uint64_t sample) const {
    LOCKSTEP_EXPECTS(sample < num_samples());
    return state_->sample_begin[sample + 1] - state_->sample_begin[sample];
}

bool Corpus::has_loss_spans() const {
    return !state_->loss_span_begin.empty();
}

std::span<const LossSpan> Corpus::loss_spans(std::uint64_t sample) const {
    LOCKSTEP_EXPECTS(sample < num_samples());
    return has_loss_spans() ? state_->spans_of(sample) : std::span<const LossSpan>();
}

bool Corpus::has_keys() const {
    return state_->keys.has_value();
}

std::string_view Corpus::key(std::uint64_t sample) const {
    LOCKSTEP_EXPECTS(sample < num_samples());
    return state_->keys ? state_->keys->at(sample) : std::string_view();
}

std::span<const double> Corpus::sample_score() const {
    return state_->sample_score;
}

void Corpus::read_tokens(std::uint64_t sample, std::uint64_t offset, std::span<std::uint32_t> out) const {
    LOCKSTEP_EXPECTS(offset <= sample_tokens(sample) && out.size() <= sample_tokens(sample) - offset);
    const std::uint64_t begin = state_->sample_begin[sample] + offset;
    state_->with_tokens(begin, begin + out.size(),
                        [&](auto tokens) { std::ranges::copy(tokens, out.begin()); });
}

void Corpus::prefetch_tokens(std::uint64_t sample, std::uint64_t offset) const {
    constexpr std::size_t line_bytes = 64;
    constexpr std::size_t lines = 4;  // From there on the processor sees where it goes.
    const std::size_t token_bytes = column_type_bytes(state_->token_type);
    const std::uint64_t begin = (state_->sample_begin[sample] + offset) * token_bytes;
    const std::uint64_t end =
        std::min(state_->sample_begin[sample + 1] * token_bytes, begin + lines * line_bytes);
    for (std::uint64_t at = begin; at < end; at += line_bytes) __builtin_prefetch(state_->stored + at);
}

std::vector<std::uint64_t> Corpus::count_tokens() const {
    std::vector<std::uint64_t> counts(state_->tokenizer.vocabulary_size);
    state_->with_tokens(0, num_tokens(), [&](auto tokens) {
        for (const std::uint64_t token : tokens) {
            if (token >= counts.size()) {
                state_->corrupt("token id " + std::to_string(token) + " is beyond the vocabulary of " +
                                std::to_string(counts.size()) + " tokens");
            }
            ++counts[token];
        }
    });
    return counts;
}

Corpus::Provenance Corpus::provenance(std::uint64_t sample) const {
    LOCKSTEP_EXPECTS(sample < num_samples());
    return {state_->source_index[sample], state_->source_offset[sample],
            Digest{state_->source_digest[2 * sample], state_->source_digest[2 * sample + 1]}};
}

std::vector<SourceFile> Corpus::sources() const {
    std::vector<SourceFile> result;
    for (std::size_t i = 0; i < state_->source_names.count(); ++i) {
        result.push_back({std::string(state_->source_names.at(i)), state_->source_bytes[i],
                          Digest{state_->source_file_digest[2 * i], state_->source_file_digest[2 * i + 1]}});
    }
    return result;
}

std::vector<std::pair<std::string, std::uint64_t>> Corpus::left_out() const {
    std::vector<std::pair<std::string, std::uint64_t>> result;
    for (std::size_t i = 0; i < state_->left_out_reasons.count(); ++i) {
        result.emplace_back(state_->left_out_reasons.at(i), state_->left_out_documents[i]);
    }
    return result;
}

std::string Corpus::ingest_record() const {
    return state_->file.has_attribute("/", corpus_format::ingest_attribute)
               ? state_->file.attribute_text("/", corpus_format::ingest_attribute)
               : std::string();
}

std::span<const std::byte> Corpus::stored_tokens(std::uint64_t begin, std::uint64_t end) const {
    LOCKSTEP_EXPECTS(begin <= end && end <= num_samples());
    std::span<const std::byte> bytes;
    state_->with_tokens(state_->sample_begin[begin], state_->sample_begin[end],
                        [&](auto tokens) { bytes = std::as_bytes(tokens); });
    return bytes;
}

void Corpus::verify_everything() const {
    state_->file.verify_everything();
    state_->check_content();
}

}  // namespace lockstep
