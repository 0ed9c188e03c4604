#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "io/base/error.h"
#include "io/documents/document_reader.h"
#include "io/documents/source_list.h"
#include "io/files/atomic_file.h"
#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/training/tokenizer_training.h"
#include "launch/cli/data/ingest.h"
#include "launch/cli/progress.h"
#include "launch/cli/tokenizer/tokenizer_verbs.h"

namespace lockstep {

namespace {

struct TrainArguments {
    TrainingOptions training;
    DocumentOptions documents;
    std::vector<std::string> files;
    std::string type = "bpe", document = "file", output;
    bool force = false;
};

/// Where the parts go: one file, or a folder that also says what the file cannot.
struct Outputs {
    std::filesystem::path file, config;
};

Outputs outputs_of(const TrainArguments& arguments) {
    const std::filesystem::path path = arguments.output;
    if (path.extension() == ".json") return {path, {}};
    std::error_code absent;
    if (std::filesystem::exists(path, absent) && !std::filesystem::is_directory(path, absent))
        throw Error(ErrorCode::invalid_argument,
                    "'" + arguments.output + "' is a file; give a folder or a name that ends in .json");
    return {path / "tokenizer.json", path / "tokenizer_config.json"};
}

void require_writable(const Outputs& outputs, bool force) {
    for (const auto& path : {outputs.file, outputs.config})
        if (!path.empty()) require_writable_output(path, force ? Overwrite::yes : Overwrite::no);
}

class TrainedTexts {
  public:
    explicit TrainedTexts(const TrainArguments& arguments) : options_(arguments.documents) {
        parse_document_rule(arguments.document, options_);
        std::vector<std::string> left_out;
        sources_ = expand_sources(arguments.files, left_out);
    }

    void each(FunctionRef<void(std::string_view)> take) {
        std::uint64_t bad = 0;
        std::uint32_t index = 0;
        for (const auto& source : sources_) {
            const auto summary =
                read_documents(source, index++, options_, bad, [&](const Document& document) {
                    if (document.has_tokens)
                        throw Error(ErrorCode::invalid_argument,
                                    "'" + source.string() + "' holds tokens, not text to train on");
                    take(document.text);
                    ++documents_;
                });
            bytes_ += summary.bytes;
            repaired_ += summary.repaired;
        }
    }

    std::uint64_t documents() const { return documents_; }
    std::uint64_t bytes() const { return bytes_; }
    std::uint64_t repaired() const { return repaired_; }

  private:
    DocumentOptions options_;
    std::vector<std::filesystem::path> sources_;
    std::uint64_t documents_ = 0, bytes_ = 0, repaired_ = 0;
};

TrainedTokenizer train(TrainedTexts& texts, const TrainArguments& arguments) {
    const auto source = [&](FunctionRef<void(std::string_view)> take) { texts.each(take); };
    if (arguments.type == "unigram") return train_unigram(source, arguments.training);
    ProgressLine line;
    return train_byte_pairs(source, arguments.training, [&](std::size_t symbols) {
        if (line.due())
            line.show(with_commas(symbols) + " of " + with_commas(arguments.training.vocabulary_size) +
                      " tokens");
    });
}

/// What is written must read back as what was meant.
std::unique_ptr<Tokenizer> read_back(const TrainedTokenizer& trained, const Outputs& outputs,
                                     const TrainingOptions& options) {
    auto tokenizer =
        make_json_tokenizer(trained.file, outputs.config.empty() ? "" : trained.config, "", SpecialsPolicy{});
    const auto eos = tokenizer->eos_id();
    const std::string found = eos ? tokenizer->token_bytes(*eos) : "";
    if (found != options.eos) {
        throw Error(ErrorCode::invalid_argument,
                    "tokenizer.json alone does not say that '" + options.eos +
                        "' ends a text; give a folder with -o, it also gets a tokenizer_config.json");
    }
    return tokenizer;
}

int run_train(const Invocation& invocation, TrainArguments arguments) {
    require_one_rank("tokenizer train");
    const auto begin = std::chrono::steady_clock::now();
    if (arguments.type != "bpe" && arguments.type != "unigram")
        throw Error(ErrorCode::invalid_argument,
                    "--type is '" + arguments.type + "'; expected bpe or unigram");
    const TrainingOptions untouched;
    if (arguments.type == "unigram" && (arguments.training.split != untouched.split ||
                                        arguments.training.count_min != untouched.count_min)) {
        throw Error(ErrorCode::invalid_argument,
                    "--split and --count-min are for --type bpe; SentencePiece's trainer has no such rules");
    }
    const Outputs outputs = outputs_of(arguments);
    require_writable(outputs, arguments.force);
    if (outputs.config.empty()) require_parent(outputs.file);
    if (arguments.training.threads == 0)
        arguments.training.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));

    TrainedTexts texts(arguments);
    const TrainedTokenizer trained = train(texts, arguments);
    const auto tokenizer = read_back(trained, outputs, arguments.training);
    if (!outputs.config.empty()) std::filesystem::create_directories(outputs.file.parent_path());
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    // The file last: with it the folder is a tokenizer.
    if (!outputs.config.empty()) write_file_atomically(outputs.config, trained.config, overwrite);
    write_file_atomically(outputs.file, trained.file, overwrite);

    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const std::size_t wanted = arguments.training.vocabulary_size;
    invocation.say(with_commas(trained.vocabulary_size) + " tokens from " + with_commas(texts.documents()) +
                   " documents, " + bytes_text(texts.bytes()) + ", in " + fixed(seconds, 1) + " s -> " +
                   arguments.output);
    say_repaired(texts.repaired());
    if (trained.vocabulary_size < wanted) {
        invocation.say("  fewer than the " + with_commas(wanted) +
                       " asked for: no further pair occurs --count-min times; train on more text");
    }
    const double per_token = static_cast<double>(trained.text_bytes) /
                             static_cast<double>(std::max<std::uint64_t>(1, trained.text_tokens));
    if (trained.text_tokens > 0) {
        invocation.say("  " + with_commas(trained.different_words) + " different words; " +
                       fixed(per_token, 2) + " bytes a token");
    }
    invocation.say("  fingerprint " + tokenizer->fingerprint().hex());
    nlohmann::ordered_json object = {{"tokenizer", outputs.file.string()},
                                     {"vocabulary", trained.vocabulary_size},
                                     {"documents", texts.documents()},
                                     {"bytes", texts.bytes()}};
    if (trained.text_tokens > 0) {
        object["different_words"] = trained.different_words;
        object["bytes_per_token"] = per_token;
    }
    object["seconds"] = seconds;
    object["tokenizer_fingerprint"] = tokenizer->fingerprint().hex();
    invocation.give(object);
    return 0;
}

}  // namespace

void add_tokenizer_train(CLI::App& tokenizer, Invocation& invocation) {
    auto arguments = std::make_shared<TrainArguments>();
    arguments->training.threads = 0;
    CLI::App* verb =
        add_verb(tokenizer, invocation, "train", "A vocabulary of your own, learned from texts",
                 "  lockstep tokenizer train --vocab-size 4096 -d texts/ -o tokenizer.json\n"
                 "  lockstep tokenizer train --vocab-size 32000 --split cl100k -d web.jsonl.zst "
                 "--special '<|user|>' -o mine/\n"
                 "  lockstep tokenizer train --type unigram --vocab-size 8000 -d texts/ -o mine/",
                 [&invocation, arguments] { return run_train(invocation, *arguments); });
    verb->add_option("-d,--data", arguments->files, "Files or folders, as ingest takes them")->required();
    verb->add_option("-o,--output", arguments->output,
                     "tokenizer.json, or a folder for it and tokenizer_config.json")
        ->required();
    verb->add_option("--vocab-size", arguments->training.vocabulary_size, "Ids in all, specials among them")
        ->required();
    verb->add_option("--type", arguments->type, "bpe (byte level) or unigram (SentencePiece's trainer)");
    verb->add_option("--split", arguments->training.split,
                     "bpe: how texts become words: gpt2, cl100k, qwen2 or o200k");
    verb->add_option("--count-min", arguments->training.count_min,
                     "bpe: a pair that occurs less often is not merged (2)");
    verb->add_option("--eos", arguments->training.eos, "End of text (<|endoftext|>)");
    verb->add_option("--special", arguments->training.specials, "Further tokens that are no text")
        ->allow_extra_args(false);
    verb->add_option("--document", arguments->document, "Plain text: file, line, blank or separator:STR");
    verb->add_option("--text-field", arguments->documents.text_field,
                     "JSONL, Parquet: field that holds the text");
    add_invalid_utf8_option(*verb, arguments->documents.invalid_utf8);
    verb->add_option("--skip-bad", arguments->documents.skip_bad_max, "Bad documents to tolerate")
        ->check(CLI::NonNegativeNumber);
    verb->add_option("--threads", arguments->training.threads,
                     "Threads (all cores); the result is the same for any number")
        ->check(CLI::Range(1, 1024));
    verb->add_flag("--force", arguments->force, "Replace what is there");
}

}  // namespace lockstep
