#include <cmath>
#include <filesystem>

#include "coordinator/ingest/drift.h"
#include "io/base/error.h"
#include "io/corpus_rewrite.h"
#include "io/documents/megatron.h"
#include "launch/cli/corpus_verbs.h"

namespace lockstep {

namespace {

void say_written(const Invocation& invocation, const std::string& path, const PublishedCorpus& corpus,
                 nlohmann::ordered_json& list) {
    invocation.say(with_commas(corpus.num_samples) + " samples, " + with_commas(corpus.num_tokens) +
                   " tokens -> " + path + "  content " + corpus.content.brief() + "…");
    list.push_back({{"corpus", path},
                    {"documents", corpus.num_samples},
                    {"tokens", corpus.num_tokens},
                    {"content_fingerprint", corpus.content.hex()},
                    {"lengths_fingerprint", corpus.lengths.hex()}});
}

std::vector<Corpus> open_all(const std::vector<std::string>& files) {
    std::vector<Corpus> corpora;
    for (const std::string& file : files) corpora.push_back(Corpus::open(file));
    return corpora;
}

struct MergeArguments {
    std::vector<std::string> files;
    std::string output;
    bool force = false;
};

int run_merge(const Invocation& invocation, const MergeArguments& arguments) {
    const std::vector<Corpus> corpora = open_all(arguments.files);
    const PublishedCorpus merged = rewrite_corpus(
        arguments.output, corpora, [](std::size_t, std::uint64_t) { return true; },
        arguments.force ? Overwrite::yes : Overwrite::no);
    auto list = nlohmann::ordered_json::array();
    say_written(invocation, arguments.output, merged, list);
    invocation.give(list.front());
    return 0;
}

struct SplitArguments {
    std::string file, output, rest;
    double share = 0;
    bool force = false;
};

int run_split(const Invocation& invocation, const SplitArguments& arguments) {
    const std::vector<Corpus> corpora = open_all({arguments.file});
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    for (const std::string& path : {arguments.output, arguments.rest})
        require_writable_output(path, overwrite);
    const auto end = static_cast<std::uint64_t>(std::ldexp(arguments.share, 32));
    // By the tokens alone, so that repetitions of one sample stay together.
    const auto in_share = [&](std::size_t, std::uint64_t sample) {
        return digest_of(corpora.front().stored_tokens(sample, sample + 1)).high >> 32U < end;
    };
    auto list = nlohmann::ordered_json::array();
    say_written(invocation, arguments.output, rewrite_corpus(arguments.output, corpora, in_share, overwrite),
                list);
    try {
        say_written(
            invocation, arguments.rest,
            rewrite_corpus(
                arguments.rest, corpora,
                [&](std::size_t input, std::uint64_t sample) { return !in_share(input, sample); }, overwrite),
            list);
    } catch (...) {
        std::error_code ignored;
        std::filesystem::remove(arguments.output, ignored);  // One of two is half an output.
        throw;
    }
    invocation.give({{"corpora", list}});
    return 0;
}

struct ExportArguments {
    std::string file, prefix;
    bool force = false;
};

int run_export(const Invocation& invocation, const ExportArguments& arguments) {
    const Corpus corpus = Corpus::open(arguments.file);
    std::vector<std::uint64_t> lengths;
    for (std::uint64_t sample = 0; sample < corpus.num_samples(); ++sample)
        lengths.push_back(corpus.sample_tokens(sample));
    write_megatron(
        arguments.prefix, corpus.tokenizer().vocabulary_size, lengths,
        [&](std::uint64_t sample, std::vector<std::uint32_t>& tokens) {
            tokens.resize(lengths[sample]);
            corpus.read_tokens(sample, 0, tokens);
        },
        arguments.force ? Overwrite::yes : Overwrite::no);
    invocation.say(with_commas(corpus.num_samples()) + " documents, " + with_commas(corpus.num_tokens()) +
                   " tokens -> " + arguments.prefix + ".bin, " + arguments.prefix + ".idx" +
                   (corpus.has_loss_spans() ? " (loss spans have no place there)" : ""));
    invocation.give(
        {{"prefix", arguments.prefix}, {"documents", corpus.num_samples()}, {"tokens", corpus.num_tokens()}});
    return 0;
}

struct CheckArguments {
    std::string file;
    std::uint64_t samples = 64, seed = 1;
};

int run_check(const Invocation& invocation, const CheckArguments& arguments) {
    const Corpus corpus = Corpus::open(arguments.file);
    corpus.verify_everything();
    const DriftReport report = check_drift(corpus, arguments.samples, arguments.seed);
    invocation.say("corpus " + corpus.content_fingerprint().hex() + " is sound; " +
                   with_commas(report.samples_checked) + " samples tokenized again from their sources");
    if (!report.note.empty()) invocation.say(report.note);
    invocation.give({{"content_fingerprint", corpus.content_fingerprint().hex()},
                     {"samples_checked", report.samples_checked},
                     {"samples_unreadable", report.samples_unreadable},
                     {"note", report.note}});
    return 0;
}

}  // namespace

void add_corpus(CLI::App& app, Invocation& invocation) {
    CLI::App* noun = app.add_subcommand("corpus", "Looks at corpora, and corpora made from others");
    noun->require_subcommand(1);
    add_corpus_looks(*noun, invocation);

    auto merge = std::make_shared<MergeArguments>();
    CLI::App* merge_verb = add_verb(*noun, invocation, "merge", "Corpora of one tokenizer end to end",
                                    "  lockstep corpus merge a.h5 b.h5 -o all.h5",
                                    [&invocation, merge] { return run_merge(invocation, *merge); });
    merge_verb->add_option("corpora", merge->files, "Corpora, in order")->required();
    merge_verb->add_option("-o,--output", merge->output, "Corpus to write")->required();
    merge_verb->add_flag("--force", merge->force, "Replace an existing file");

    auto split = std::make_shared<SplitArguments>();
    CLI::App* split_verb =
        add_verb(*noun, invocation, "split", "A share of the samples, by hash of their tokens, and the rest",
                 "  lockstep corpus split corpus.h5 --share 0.01 -o validation.h5 --rest train.h5",
                 [&invocation, split] { return run_split(invocation, *split); });
    split_verb->add_option("corpus", split->file, "Corpus")->required();
    split_verb->add_option("--share", split->share, "Share of the samples")
        ->check(CLI::Range(0.0, 1.0))
        ->required();
    split_verb->add_option("-o,--output", split->output, "Corpus of the share")->required();
    split_verb->add_option("--rest", split->rest, "Corpus of the others")->required();
    split_verb->add_flag("--force", split->force, "Replace existing files");

    auto exported = std::make_shared<ExportArguments>();
    CLI::App* export_verb = add_verb(*noun, invocation, "export", "Megatron's PREFIX.bin and PREFIX.idx",
                                     "  lockstep corpus export corpus.h5 -o set",
                                     [&invocation, exported] { return run_export(invocation, *exported); });
    export_verb->add_option("corpus", exported->file, "Corpus")->required();
    export_verb->add_option("-o,--output", exported->prefix, "PREFIX of both files")->required();
    export_verb->add_flag("--force", exported->force, "Replace existing files");

    auto check = std::make_shared<CheckArguments>();
    CLI::App* check_verb =
        add_verb(*noun, invocation, "check", "Every digest, and samples tokenized again from their sources",
                 "  lockstep corpus check corpus.h5 --samples 1000",
                 [&invocation, check] { return run_check(invocation, *check); });
    check_verb->add_option("corpus", check->file, "Corpus")->required();
    check_verb->add_option("--samples", check->samples, "How many to tokenize again (64)");
    check_verb->add_option("--seed", check->seed, "Another seed, other samples (1)");
}

}  // namespace lockstep
