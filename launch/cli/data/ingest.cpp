#include "launch/cli/data/ingest.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "io/base/error.h"
#include "io/base/log.h"
#include "io/columns/column_file.h"
#include "io/tokenizer/tokenizer_files.h"
#include "launch/cli/progress.h"

namespace lockstep {

namespace {

AddSpecial parse_add_special(const std::string& option, const std::string& text) {
    if (text == "auto") return AddSpecial::automatic;
    if (text == "none") return AddSpecial::none;
    throw Error(ErrorCode::invalid_argument, option + " is '" + text + "'; expected auto or none");
}

}  // namespace

SpecialsPolicy specials_policy(const DocumentArguments& arguments) {
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

namespace {

/// What a chat format needs of the tokenizer, and what it would only like.
void check_chat_tokens(const std::string& format, const Tokenizer& tokenizer, const std::string& name) {
    const ChatFormat& chat = chat_format(format);
    if (chat.ends_in_eos() && !tokenizer.eos_id()) {
        throw Error(ErrorCode::invalid_argument, "chat format '" + format +
                                                     "' ends responses in EOS, which '" + name +
                                                     "' does not have; choose another of either");
    }
    for (const std::string& marker : chat.markers()) {
        if (tokenizer.id_of(marker)) continue;
        log_root(LogLevel::warning, "'" + name + "' has no token '" + marker + "' of chat format '" + format +
                                        "'; it is written as text");
    }
}

std::unique_ptr<Tokenizer> open_tokenizer_of(const DocumentArguments& arguments,
                                             const std::vector<std::filesystem::path>& sources) {
    const SpecialsPolicy policy = specials_policy(arguments);
    if (arguments.tokenizer == "bytes") return make_bytes_tokenizer(policy);
    if (arguments.tokenizer == "chars") {
        std::vector<char32_t> code_points;
        std::uint64_t bad = 0;
        for (std::size_t i = 0; i < sources.size(); ++i) {
            read_documents(
                sources[i], static_cast<std::uint32_t>(i), document_options(arguments), bad,
                [&](const Document& document) { collect_code_points(document.text, code_points); });
        }
        return make_chars_tokenizer(std::move(code_points), policy);
    }
    return load_tokenizer(arguments.tokenizer, {policy, arguments.pattern});
}

/// In one line, and only what would change something.
void say_ignored(const DocumentArguments& arguments, const Tokenizer& tokenizer) {
    std::error_code absent;
    if (!std::filesystem::exists(arguments.tokenizer, absent)) return;
    std::string names;
    for (const std::string& name : ignored_settings_of(arguments.tokenizer, tokenizer))
        names += (names.empty() ? "" : ", ") + name;
    if (!names.empty())
        log_root(LogLevel::warning, "'" + arguments.tokenizer +
                                        "' has settings that are not followed: " + names +
                                        " (documents are kept whole; BOS and EOS are the post-processor's)");
}

}  // namespace

std::unique_ptr<Tokenizer> choose_tokenizer(const DocumentArguments& arguments,
                                            const std::vector<std::filesystem::path>& sources) {
    auto tokenizer = open_tokenizer_of(arguments, sources);
    if (arguments.tokenizer != "bytes" && arguments.tokenizer != "chars") say_ignored(arguments, *tokenizer);
    if (!arguments.options.chat.empty())
        check_chat_tokens(arguments.options.chat, *tokenizer, arguments.tokenizer);
    return tokenizer;
}

std::optional<TokenizerFile> tokenizer_file(const DocumentArguments& arguments) {
    const std::string& name = arguments.tokenizer;
    std::error_code absent;
    if (name == "bytes" || name == "chars" || !std::filesystem::exists(name, absent)) return std::nullopt;
    return TokenizerFile{name, arguments.pattern, digest_of_tokenizer_files(name)};
}

void add_invalid_utf8_option(CLI::App& verb, InvalidUtf8& choice) {
    verb.add_option_function<std::string>(
        "--invalid-utf8",
        [&choice](const std::string& text) {
            if (text != "refuse" && text != "replace")
                throw CLI::ValidationError("--invalid-utf8", "is '" + text + "'; expected refuse or replace");
            choice = text == "replace" ? InvalidUtf8::replace : InvalidUtf8::refuse;
        },
        "Bytes that are no UTF-8: refuse, or replace by U+FFFD and count the texts");
}

void say_repaired(std::uint64_t texts) {
    if (texts != 0)
        log_root(LogLevel::info, with_commas(texts) + " texts had invalid UTF-8, which U+FFFD replaces");
}

void add_document_options(CLI::App& verb, DocumentArguments& arguments) {
    verb.add_option("-d,--data", arguments.files,
                    "Files or folders: JSONL (*.jsonl, *.json), text, either as .gz or .zst, Parquet, "
                    "Megatron's .idx")
        ->required();
    verb.add_option(
            "-t,--tokenizer", arguments.tokenizer,
            "bytes, chars, a tokenizer.json, its folder, a .tiktoken, a SentencePiece .model, or an OpenAI "
            "model's name (gpt-4o) if its ranks are here or in a folder of LOCKSTEP_TOKENIZERS")
        ->required();
    verb.add_option("--pattern", arguments.pattern,
                    ".tiktoken of unknown ranks: the encoding whose pattern it follows (cl100k_base, …)");
    verb.add_option("--document", arguments.document, "Plain text: file, line, blank or separator:STR");
    verb.add_option("--text-field", arguments.options.text_field,
                    "JSONL, Parquet: field that holds the text");
    verb.add_option("--key-field", arguments.options.key_field, "JSONL, Parquet: field that holds your id");
    verb.add_option("--score-field", arguments.options.score_field,
                    "JSONL, Parquet: field that holds a number of every document, for --order score-stages");
    verb.add_option("--chat", arguments.options.chat,
                    "JSONL of conversations (messages of role and content): write them as chatml, llama, "
                    "llama2, phi, gemma, zephyr, vicuna or alpaca; only what the assistant says is trained");
    add_invalid_utf8_option(verb, arguments.options.invalid_utf8);
    verb.add_option("--skip-bad", arguments.options.skip_bad_max, "Bad documents to tolerate and count")
        ->check(CLI::NonNegativeNumber);
    verb.add_option("--document-bytes-max", arguments.options.document_bytes_max,
                    "Longest document or line [bytes] (268435456)")
        ->check(CLI::PositiveNumber);
    verb.add_option("--expansion-max", arguments.options.expansion_max,
                    "Refuse compressed files that grow more than so many times (500)")
        ->check(CLI::PositiveNumber);
    verb.add_option("--bos", arguments.bos, "auto or none: begin-of-text token a document");
    verb.add_option("--eos", arguments.eos, "auto or none: end-of-text token a document");
    verb.add_option("--specials", arguments.specials, "text or parse: special tokens written in documents");
}

DocumentOptions document_options(const DocumentArguments& arguments) {
    DocumentOptions options = arguments.options;
    parse_document_rule(arguments.document, options);
    if (!options.chat.empty()) chat_format(options.chat);
    return options;
}

std::vector<std::filesystem::path> list_sources(const DocumentArguments& arguments) {
    std::vector<std::string> left_out;
    std::vector<std::filesystem::path> sources = expand_sources(arguments.files, left_out);
    if (!left_out.empty()) {
        log_root(LogLevel::info, std::to_string(left_out.size()) + " file(s) left out, the first is '" +
                                     left_out.front() + "'");
    }
    for (const auto& source : sources) {
        std::error_code absent;
        if (std::filesystem::is_character_file(source, absent) ||
            std::filesystem::is_block_file(source, absent)) {
            throw Error(ErrorCode::invalid_argument, "'" + source.string() + "' is a device, not a document");
        }
        const SourceContent content = source_kind_of(source).content;
        const bool has_fields = content == SourceContent::json_lines || content == SourceContent::parquet;
        if (!arguments.options.score_field.empty() && !has_fields) {
            throw Error(
                ErrorCode::invalid_argument,
                "'" + source.string() + "' has no fields; --score-field reads those of JSONL and Parquet");
        }
        if (!arguments.options.chat.empty() && content != SourceContent::json_lines) {
            throw Error(ErrorCode::invalid_argument,
                        "'" + source.string() + "' is not JSONL; --chat reads conversations of *.jsonl");
        }
    }
    return sources;
}

std::string ingest_progress_text(std::uint64_t done, std::uint64_t total, double seconds) {
    const double rate = static_cast<double>(done) / std::max(seconds, 1e-9);
    const double rest = static_cast<double>(std::max(total, done) - done);
    return "tokenized " + bytes_text(done) + " of " + bytes_text(total) + ", " + fixed(rate / 1e6, 1) +
           " MB/s, ETA " + (done == 0 ? "?" : duration_text(rest / rate));
}

TokenizedTotals tokenize_documents(const DocumentArguments& arguments, const TokenizeVisitor& visitor) {
    const DocumentOptions options = document_options(arguments);
    const SpecialsPolicy policy = specials_policy(arguments);
    const std::vector<std::filesystem::path> sources = list_sources(arguments);
    std::uint64_t total_bytes = 0;
    for (const auto& source : sources) {
        std::error_code absent;
        const auto size = std::filesystem::file_size(source, absent);
        if (!absent) total_bytes += size;
    }
    const std::unique_ptr<Tokenizer> tokenizer = choose_tokenizer(arguments, sources);
    visitor.on_tokenizer(*tokenizer);

    TokenizedTotals totals;
    std::vector<std::uint32_t> ids;
    ProgressLine progress;
    const auto begin = std::chrono::steady_clock::now();
    std::uint64_t bytes_done = 0;
    std::uint64_t bad = 0, repaired = 0;
    for (const auto& source : sources) {
        const std::uint32_t index = visitor.on_source(source.string());
        const SourceSummary summary = read_documents(
            source, index, options, bad,
            [&](const Document& document) {
                const TokenizedDocument item = tokenize_document(*tokenizer, policy, document, ids);
                ++totals.documents;
                totals.tokens += item.tokens.size();
                visitor.on_document(document, item);
            },
            [&](std::uint64_t bytes_of_file) {
                if (!progress.due()) return;
                const double seconds =
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
                progress.show(ingest_progress_text(bytes_done + bytes_of_file, total_bytes, seconds));
            });
        bytes_done += summary.bytes;
        totals.bytes += summary.bytes;
        totals.bad_lines += summary.bad_lines;
        totals.empty += summary.empty;
        repaired += summary.repaired;
        visitor.on_source_end(index, summary);
    }
    say_repaired(repaired);
    return totals;
}

}  // namespace lockstep
