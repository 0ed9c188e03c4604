#include "coordinator/ingest/ingest_job.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "coordinator/ingest/tokenize_document.h"
#include "io/base/error.h"
#include "io/documents/chat_format.h"
#include "io/documents/document_reader.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr std::uint64_t record_version = 1;
constexpr std::int64_t nanoseconds_per_second = 1'000'000'000;

/// The library would cast what is no whole number, whatever comes of it.
std::uint64_t number_of(const json& value) {
    if (!value.is_number_unsigned()) {
        throw Error(ErrorCode::corrupt_data, "a number of an ingest's record is " +
                                                 value.dump().substr(0, 40) +
                                                 ", expected a whole one of 0 or more");
    }
    return value.get<std::uint64_t>();
}

json document_json(const DocumentOptions& options) {
    json object = {{"document", document_rule_text(options)},
                   {"text_field", options.text_field},
                   {"key_field", options.key_field},
                   {"document_bytes_max", options.document_bytes_max},
                   {"expansion_max", options.expansion_max}};
    if (!options.score_field.empty()) object["score_field"] = options.score_field;
    if (!options.chat.empty()) object["chat"] = options.chat;
    if (options.invalid_utf8 == InvalidUtf8::replace) object["invalid_utf8"] = "replace";
    return object;
}

DocumentOptions document_of(const json& object) {
    DocumentOptions options;
    parse_document_rule(object.at("document").get<std::string>(), options);
    options.text_field = object.at("text_field").get<std::string>();
    options.key_field = object.at("key_field").get<std::string>();
    options.score_field = object.value("score_field", "");
    options.chat = object.value("chat", "");
    options.invalid_utf8 = object.contains("invalid_utf8") ? InvalidUtf8::replace : InvalidUtf8::refuse;
    options.document_bytes_max = number_of(object.at("document_bytes_max"));
    options.expansion_max = number_of(object.at("expansion_max"));
    return options;
}

json policy_json(const SpecialsPolicy& policy) {
    return {{"bos", policy.bos == AddSpecial::automatic},
            {"eos", policy.eos == AddSpecial::automatic},
            {"parse_specials", policy.literal == LiteralSpecials::parse}};
}

SpecialsPolicy policy_of_json(const json& object) {
    const auto add = [&](const char* name) {
        return object.at(name).get<bool>() ? AddSpecial::automatic : AddSpecial::none;
    };
    return {add("bos"), add("eos"),
            object.at("parse_specials").get<bool>() ? LiteralSpecials::parse : LiteralSpecials::text};
}

Digest digest_of_text(const std::string& text) {
    return digest_of(std::as_bytes(std::span(text)));
}

json pieces_object(const IngestJob& job) {
    json object = {{"document", document_json(job.document)},
                   {"policy", policy_json(job.policy)},
                   {"tokens", {job.filter.tokens_min, job.filter.tokens_max}},
                   {"text_bytes", {job.filter.text_bytes_min, job.filter.text_bytes_max}},
                   {"tokenizer", digest_of_text(job.tokenizer_record.description_json).hex()}};
    for (const IngestSource& source : job.sources) {
        object["sources"].push_back({source.name, source.kind.content, source.kind.compression,
                                     source.is_pipe, source.bytes, source.modified});
    }
    for (const IngestPiece& piece : job.pieces) {
        json spans = json::array();
        for (const SourceSpan& span : piece) spans.push_back({span.source_index, span.begin, span.end});
        object["pieces"].push_back(std::move(spans));
    }
    return object;
}

json assembly_object(const IngestJob& job) {
    json object = {{"skip_bad", job.document.skip_bad_max},
                   {"dedup", job.filter.dedup},
                   {"validation_share", job.filter.validation_share}};
    if (const auto& file = job.tokenizer_record.file)
        object["tokenizer_file"] = {file->name, file->pattern, file->digest.hex()};
    return object;
}

struct FileState {
    bool is_pipe = false;
    std::uint64_t bytes = 0;
    std::int64_t modified = 0;
};

FileState state_of_file(const std::filesystem::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) throw_errno("read", path.string(), errno);
    if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))
        throw Error(ErrorCode::invalid_argument, "'" + path.string() + "' is a device, not a document");
    if (!S_ISREG(status.st_mode)) return {true, 0, 0};
    return {false, static_cast<std::uint64_t>(status.st_size),
            status.st_mtim.tv_sec * nanoseconds_per_second + status.st_mtim.tv_nsec};
}

FileState state_of(const std::filesystem::path& path, const SourceKind& kind) {
    FileState all;
    for (const std::filesystem::path& file : files_of_source(path, kind)) {
        const FileState state = state_of_file(file);
        all.is_pipe = all.is_pipe || state.is_pipe;
        all.bytes += state.bytes;
        all.modified = std::max(all.modified, state.modified);
    }
    return all;
}

/// "caf\xE9", for terminals that could not show the byte.
std::string with_escapes(const std::string& text) {
    constexpr const char* digits = "0123456789ABCDEF";
    std::string shown;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        shown +=
            byte < 0x80 ? std::string(1, c) : std::string("\\x") + digits[byte >> 4U] + digits[byte & 0x0FU];
    }
    return shown;
}

void require_utf8(const std::string& text, const std::string& what) {
    try {
        expect_valid_utf8(text);
    } catch (const Error& error) {
        throw Error(ErrorCode::invalid_argument, what + " '" + with_escapes(text) + "' is no UTF-8 (" +
                                                     error.what() +
                                                     "), but a corpus records it as text; name it otherwise");
    }
}

void require_utf8_options(const DocumentOptions& options) {
    require_utf8(options.separator, "the separator of --document");
    require_utf8(options.text_field, "--text-field");
    require_utf8(options.key_field, "--key-field");
    require_utf8(options.score_field, "--score-field");
}

}  // namespace

void IngestJob::set_tokenizer(std::shared_ptr<const Tokenizer> made, std::optional<TokenizerFile> file) {
    tokenizer = std::move(made);
    tokenizer_record = corpus_tokenizer_of(*tokenizer, std::move(file));
}

bool IngestJob::has_pipe() const {
    return std::ranges::any_of(sources, &IngestSource::is_pipe);
}

std::uint64_t IngestJob::bytes_of(const SourceSpan& span) const {
    const IngestSource& source = sources[span.source_index];
    const bool by_bytes = !source.kind.is_table() && source.kind.compression == Compression::none;
    if (by_bytes) return std::min(span.end, source.bytes) - std::min(span.begin, source.bytes);
    return source.bytes / std::max<std::uint64_t>(source.num_spans, 1);
}

std::uint64_t IngestJob::bytes_of(const IngestPiece& piece) const {
    std::uint64_t bytes = 0;
    for (const SourceSpan& span : piece) bytes += bytes_of(span);
    return bytes;
}

std::string IngestJob::pieces_json() const {
    return pieces_object(*this).dump();
}

std::string IngestJob::assembly_json() const {
    return assembly_object(*this).dump();
}

std::string IngestJob::to_json() const {
    json object = pieces_object(*this);
    object.update(assembly_object(*this));
    object["tokenizer"] = tokenizer_record.description_json;
    object["tokenizer_fingerprint"] = tokenizer_record.fingerprint.hex();
    return object.dump();
}

namespace {

/// A number that stands for one of an enumeration's values.
template <class Enum>
Enum enumerated(const json& value, Enum last) {
    const std::uint64_t number = number_of(value);
    if (number > static_cast<std::uint64_t>(last))
        throw Error(ErrorCode::corrupt_data, "the ingest job names kind " + std::to_string(number) +
                                                 " of a source, expected at most " +
                                                 std::to_string(static_cast<std::uint64_t>(last)));
    return static_cast<Enum>(number);
}

IngestJob job_of(const json& object) {
    IngestJob job;
    job.document = document_of(object.at("document"));
    job.document.skip_bad_max = number_of(object.at("skip_bad"));
    job.policy = policy_of_json(object.at("policy"));
    job.filter.tokens_min = number_of(object.at("tokens").at(0));
    job.filter.tokens_max = number_of(object.at("tokens").at(1));
    job.filter.text_bytes_min = number_of(object.at("text_bytes").at(0));
    job.filter.text_bytes_max = number_of(object.at("text_bytes").at(1));
    job.filter.dedup = object.at("dedup").get<bool>();
    job.filter.validation_share = object.at("validation_share").get<double>();
    std::optional<TokenizerFile> file;
    if (const auto found = object.find("tokenizer_file"); found != object.end())
        file = {found->at(0).get<std::string>(), found->at(1).get<std::string>(),
                Digest::from_hex(found->at(2).get<std::string>())};
    job.set_tokenizer(make_tokenizer_from_description(object.at("tokenizer").get<std::string>()),
                      std::move(file));
    if (job.tokenizer_record.fingerprint.hex() != object.at("tokenizer_fingerprint").get<std::string>())
        throw Error(ErrorCode::corrupt_data,
                    "the tokenizer is another one when it is built from its description");
    for (const json& row : object.at("sources")) {
        IngestSource source;
        source.name = row.at(0).get<std::string>();
        source.kind = {enumerated(row.at(1), SourceContent::megatron),
                       enumerated(row.at(2), Compression::zstd)};
        source.is_pipe = row.at(3).get<bool>();
        source.bytes = number_of(row.at(4));
        if (!row.at(5).is_number_integer())
            throw Error(ErrorCode::corrupt_data,
                        "the ingest job has a source of no known time, expected nanoseconds");
        source.modified = row.at(5).get<std::int64_t>();
        job.sources.push_back(std::move(source));
    }
    for (const json& spans : object.at("pieces")) {
        IngestPiece piece;
        for (const json& span : spans) {
            const std::uint64_t source = number_of(span.at(0));
            if (source >= job.sources.size()) {
                throw Error(ErrorCode::corrupt_data, "the ingest job has a span of source " +
                                                         std::to_string(source) + ", expected one of " +
                                                         std::to_string(job.sources.size()));
            }
            piece.push_back(
                {static_cast<std::uint32_t>(source), number_of(span.at(1)), number_of(span.at(2))});
            ++job.sources[source].num_spans;
        }
        job.pieces.push_back(std::move(piece));
    }
    return job;
}

}  // namespace

IngestJob IngestJob::from_json(const std::string& text) {
    try {
        return job_of(json::parse(text));
    } catch (const json::exception& failure) {
        throw Error(ErrorCode::corrupt_data, std::string("the ingest job cannot be read: ") + failure.what());
    }
}

void plan_pieces(IngestJob& job, const std::vector<std::filesystem::path>& files, std::uint64_t piece_bytes) {
    require_utf8_options(job.document);
    if (const auto& file = job.tokenizer_record.file) require_utf8(file->name, "the tokenizer's name");
    std::uint64_t filled = 0;
    for (const std::filesystem::path& file : files) {
        require_utf8(file.string(), "the file name");
        const SourceKind kind = source_kind_of(file);
        const FileState state = state_of(file, kind);
        const auto index = static_cast<std::uint32_t>(job.sources.size());
        job.sources.push_back({file.string(), kind, state.is_pipe, state.bytes, state.modified, 0});
        const auto spans = divide_source(file, job.sources.back().kind, index, job.document, piece_bytes);
        job.sources.back().num_spans = spans.size();
        for (const SourceSpan& span : spans) {
            const std::uint64_t bytes = state.bytes / spans.size();
            if (job.pieces.empty() || filled + bytes > piece_bytes) {
                job.pieces.emplace_back();
                filled = 0;
            }
            job.pieces.back().push_back(span);
            filled += bytes;
        }
    }
}

void require_unchanged_sources(const IngestJob& job) {
    for (const IngestSource& source : job.sources) {
        if (source.is_pipe) continue;
        const FileState state = state_of(source.name, source.kind);
        if (state.bytes != source.bytes || state.modified != source.modified) {
            throw Error(ErrorCode::corrupt_data, "'" + source.name + "' was changed while it was ingested (" +
                                                     std::to_string(state.bytes) + " bytes, expected " +
                                                     std::to_string(source.bytes) + "); ingest again");
        }
    }
}

namespace {

Error damaged_record(const std::string& problem) {
    return {ErrorCode::corrupt_data, "the ingest record of the corpus is damaged: " + problem};
}

}  // namespace

std::string ingest_record_of(const DocumentOptions& document, const SpecialsPolicy& policy) {
    json object = document_json(document);
    object["version"] = record_version;
    object["policy"] = policy_json(policy);
    return object.dump();
}

IngestRecord parse_ingest_record(const std::string& text) {
    const json object = json::parse(text, nullptr, false);
    try {
        if (object.at("version") != record_version) {
            throw Error(ErrorCode::incompatible_version, "the ingest record of the corpus has version " +
                                                             object.at("version").dump() + ", expected 1");
        }
        const IngestRecord record{document_of(object), policy_of_json(object.at("policy"))};
        if (record.document.expansion_max == 0 || record.document.document_bytes_max == 0)
            throw damaged_record("a limit of 0, expected at least 1");
        if (!record.document.chat.empty()) chat_format(record.document.chat);
        return record;
    } catch (const json::exception& failure) {
        throw damaged_record(failure.what());
    } catch (const Error& error) {
        // A rule or format of no known name.
        if (error.code() == ErrorCode::invalid_argument) throw damaged_record(error.what());
        throw;
    }
}

}  // namespace lockstep
