#include "launch/cli/ingest.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "io/base/error.h"
#include "io/base/log.h"
#include "io/column_file.h"
#include "io/tokenizer/tokenizer_files.h"
#include "launch/cli/progress.h"

namespace lockstep {

namespace {

AddSpecial parse_add_special(const std::string& option, const std::string& text) {
    if (text == "auto") return AddSpecial::automatic;
    if (text == "none") return AddSpecial::none;
    throw Error(ErrorCode::invalid_argument, option + " is '" + text + "'; expected auto or none");
}

SpecialsPolicy parse_policy(const DocumentArguments& arguments) {
    SpecialsPolicy policy;
    policy.bos = parse_add_special("--bos", arguments.bos);
    policy.eos = parse_add_special("--eos", arguments.eos);
    if (arguments.specials != "text" && arguments.specials != "parse") {
        throw Error(ErrorCode::invalid_argument,
                    "--specials is '" + arguments.specials + "'; expected text or parse");
    }
    policy.literal = arguments.specials == "parse" ? LiteralSpecials::parse : LiteralSpecials::text;
    return policy;
}

std::unique_ptr<Tokenizer> make_tokenizer(const DocumentArguments& arguments, const SpecialsPolicy& policy,
                                          const std::vector<std::filesystem::path>& sources) {
    if (arguments.tokenizer == "bytes") return make_bytes_tokenizer(policy);
    if (arguments.tokenizer == "chars") {
        std::vector<char32_t> code_points;
        std::uint64_t bad = 0;
        for (std::size_t i = 0; i < sources.size(); ++i) {
            read_documents(
                sources[i], static_cast<std::uint32_t>(i), arguments.options, bad,
                [&](const Document& document) { collect_code_points(document.text, code_points); });
        }
        return make_chars_tokenizer(std::move(code_points), policy);
    }
    return load_tokenizer(arguments.tokenizer, {policy, arguments.pattern});
}

/// Tokens of prompt and response apart, so that the boundary is exact; specials as for a whole document.
TokenizedDocument tokenize(const Tokenizer& tokenizer, const SpecialsPolicy& policy, const Document& document,
                           std::vector<std::uint32_t>& ids) {
    ids.clear();
    if (!document.has_prompt) {
        encode_document(tokenizer, policy, document.text, ids);
        return {ids, false, {}, document};
    }
    append_ids_before(tokenizer, policy, ids);
    tokenizer.encode(document.prompt, ids);
    const auto begin = static_cast<std::uint32_t>(ids.size());
    tokenizer.encode(document.text.substr(document.prompt.size()), ids);
    append_ids_after(tokenizer, policy, ids);
    return {ids, true, {begin, static_cast<std::uint32_t>(ids.size())}, document};
}

struct IngestArguments {
    DocumentArguments documents;
    std::string output;
    bool force = false;
};

/// --force replaces a corpus, and nothing else: neither a source nor somebody's other file.
void require_replaceable(const std::string& output) {
    std::error_code absent;
    if (!std::filesystem::exists(output, absent)) return;
    bool corpus = false;
    try {
        corpus = std::filesystem::is_regular_file(output) &&
                 ColumnFile::open_any(output).format() == "lockstep-corpus";
    } catch (const Error& error) {
        // What is ours but damaged may be replaced; a file that never was ours may not.
        corpus = std::string_view(error.what()).find("another kind of file") == std::string_view::npos;
    }
    if (!corpus) {
        throw Error(ErrorCode::output_exists,
                    "'" + output + "' exists and is not a corpus; --force replaces only a corpus");
    }
}

int run_ingest(const Invocation& invocation, const IngestArguments& arguments) {
    require_one_rank("ingest");
    if (arguments.force) require_replaceable(arguments.output);
    const auto begin = std::chrono::steady_clock::now();
    std::optional<CorpusWriter> writer;
    TokenizeVisitor visitor;
    visitor.on_tokenizer = [&](const Tokenizer& tokenizer) {
        CorpusTokenizer description;
        description.description_json = tokenizer.description_json();
        description.fingerprint = tokenizer.fingerprint();
        description.vocabulary_size = tokenizer.vocabulary_size();
        description.bos_id = tokenizer.bos_id();
        description.eos_id = tokenizer.eos_id();
        description.pad_id = tokenizer.pad_id();
        writer.emplace(arguments.output, description, arguments.force ? Overwrite::yes : Overwrite::no);
    };
    visitor.on_source = [&](const std::string& name) { return writer->add_source({name, 0, {}}); };
    visitor.on_document = [&](const TokenizedDocument& item) {
        SampleRecord record;
        record.tokens = item.tokens;
        record.has_loss_spans = item.has_loss_span;
        if (item.has_loss_span && item.loss_span.begin < item.loss_span.end)
            record.loss_spans = {&item.loss_span, 1};
        record.key = item.document.key;
        record.source_index = item.document.source_index;
        record.source_offset = item.document.source_offset;
        record.source_digest = item.document.digest;
        writer->add(record);
    };
    visitor.on_source_end = [&](std::uint32_t index, const SourceSummary& summary) {
        writer->set_source(index, {summary.name, summary.bytes, summary.digest});
        if (summary.bad_lines > 0) writer->count_left_out("bad_line", summary.bad_lines);
        if (summary.empty > 0) writer->count_left_out("empty", summary.empty);
    };
    const TokenizedTotals totals = tokenize_documents(arguments.documents, visitor);
    if (totals.documents == 0) {
        throw Error(
            ErrorCode::invalid_argument,
            "no documents were found; a corpus needs at least one (check -d, --document and --text-field)");
    }
    writer->publish();
    const Corpus corpus = Corpus::open(arguments.output);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    invocation.say(with_commas(totals.documents) + " documents, " + with_commas(totals.tokens) +
                   " tokens from " + bytes_text(totals.bytes) + " in " + fixed(seconds, 1) + " s -> " +
                   arguments.output);
    if (totals.bad_lines > 0)
        invocation.say("  " + with_commas(totals.bad_lines) + " bad lines skipped and counted");
    if (totals.empty > 0)
        invocation.say("  " + with_commas(totals.empty) + " empty documents left out and counted");
    invocation.say("  content " + corpus.content_fingerprint().brief() + "…  tokenizer " +
                   corpus.tokenizer().fingerprint.brief() + "…  vocabulary " +
                   std::to_string(corpus.tokenizer().vocabulary_size));
    invocation.give({{"corpus", arguments.output},
                     {"documents", totals.documents},
                     {"tokens", totals.tokens},
                     {"bytes", totals.bytes},
                     {"bad_lines", totals.bad_lines},
                     {"empty", totals.empty},
                     {"seconds", seconds},
                     {"content_fingerprint", corpus.content_fingerprint().hex()},
                     {"lengths_fingerprint", corpus.lengths_fingerprint().hex()},
                     {"tokenizer_fingerprint", corpus.tokenizer().fingerprint.hex()}});
    return 0;
}

}  // namespace

void add_document_options(CLI::App& verb, DocumentArguments& arguments) {
    verb.add_option("-d,--data", arguments.files, "Files or folders: *.jsonl is JSONL, all else plain text")
        ->required();
    verb.add_option("-t,--tokenizer", arguments.tokenizer,
                    "bytes, chars, or a tokenizer.json, its folder, a .tiktoken or a SentencePiece .model")
        ->required();
    verb.add_option("--pattern", arguments.pattern,
                    ".tiktoken of unknown ranks: the encoding whose pattern it follows (cl100k_base, …)");
    verb.add_option("--document", arguments.document, "Plain text: file, line, blank or separator:STR");
    verb.add_option("--text-field", arguments.options.text_field, "JSONL: field that holds the text");
    verb.add_option("--key-field", arguments.options.key_field, "JSONL: field that holds your id");
    verb.add_option("--skip-bad", arguments.options.skip_bad_max, "Bad lines to tolerate and count")
        ->check(CLI::NonNegativeNumber);
    verb.add_option("--bos", arguments.bos, "auto or none: begin-of-text token a document");
    verb.add_option("--eos", arguments.eos, "auto or none: end-of-text token a document");
    verb.add_option("--specials", arguments.specials, "text or parse: special tokens written in documents");
}

TokenizedTotals tokenize_documents(const DocumentArguments& arguments, const TokenizeVisitor& visitor) {
    DocumentArguments parsed = arguments;
    parse_document_rule(arguments.document, parsed.options);
    const SpecialsPolicy policy = parse_policy(arguments);
    std::vector<std::string> left_out;
    const std::vector<std::filesystem::path> sources = expand_sources(arguments.files, left_out);
    if (!left_out.empty()) {
        log_root(LogLevel::info, std::to_string(left_out.size()) +
                                     " file(s) left out as not text, the first is '" + left_out.front() +
                                     "'");
    }
    std::uint64_t total_bytes = 0;
    for (const auto& source : sources) {
        std::error_code absent;
        if (std::filesystem::is_character_file(source, absent) ||
            std::filesystem::is_block_file(source, absent)) {
            throw Error(ErrorCode::invalid_argument, "'" + source.string() + "' is a device, not a document");
        }
        const auto size = std::filesystem::file_size(source, absent);
        if (!absent) total_bytes += size;
    }
    const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(parsed, policy, sources);
    visitor.on_tokenizer(*tokenizer);

    TokenizedTotals totals;
    std::vector<std::uint32_t> ids;
    ProgressLine progress;
    const auto begin = std::chrono::steady_clock::now();
    std::uint64_t bytes_done = 0;
    std::uint64_t bad = 0;
    for (const auto& source : sources) {
        const std::uint32_t index = visitor.on_source(source.string());
        const SourceSummary summary = read_documents(
            source, index, parsed.options, bad,
            [&](const Document& document) {
                const TokenizedDocument item = tokenize(*tokenizer, policy, document, ids);
                ++totals.documents;
                totals.tokens += item.tokens.size();
                visitor.on_document(item);
            },
            [&](std::uint64_t bytes_of_file) {
                if (!progress.due()) return;
                const double seconds =
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
                const auto done = static_cast<double>(bytes_done + bytes_of_file);
                const double rate = done / std::max(seconds, 1e-9);
                progress.show("tokenized " + bytes_text(bytes_done + bytes_of_file) + " of " +
                              bytes_text(total_bytes) + ", " + fixed(rate / 1e6, 1) + " MB/s, ETA " +
                              duration_text((static_cast<double>(total_bytes) - done) / rate));
            });
        bytes_done += summary.bytes;
        totals.bytes += summary.bytes;
        totals.bad_lines += summary.bad_lines;
        totals.empty += summary.empty;
        visitor.on_source_end(index, summary);
    }
    return totals;
}

void add_ingest(CLI::App& app, Invocation& invocation) {
    auto arguments = std::make_shared<IngestArguments>();
    CLI::App* verb = add_verb(app, invocation, "ingest", "Documents to tokens: a corpus",
                              "  lockstep ingest -d texts/ -t bytes --document separator:% -o corpus.h5\n"
                              "  lockstep ingest -d chat.jsonl -t chars --skip-bad 10 -o corpus.h5",
                              [&invocation, arguments] { return run_ingest(invocation, *arguments); });
    add_document_options(*verb, arguments->documents);
    verb->add_option("-o,--output", arguments->output, "Corpus to write")->required();
    verb->add_flag("--force", arguments->force, "Replace an existing corpus");
}

}  // namespace lockstep
