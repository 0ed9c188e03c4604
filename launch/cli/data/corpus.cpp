#include <filesystem>

#include "coordinator/ingest/drift.h"
#include "coordinator/ingest/source_names.h"
#include "io/base/error.h"
#include "io/corpus/corpus_rewrite.h"
#include "io/corpus/digest_share.h"
#include "io/documents/megatron.h"
#include "io/files/directory.h"
#include "launch/cli/data/corpus_outputs.h"
#include "launch/cli/data/corpus_verbs.h"

namespace lockstep {

namespace {

void say_written(const Invocation& invocation, const std::string& path, const PublishedCorpus& corpus,
                 nlohmann::ordered_json& list) {
    invocation.say(with_commas(corpus.num_samples) + " samples, " + with_commas(corpus.num_tokens) +
                   " tokens -> " + path + "  content " + corpus.content.brief() + "…");
    list.push_back(json_of(path, corpus));
}

/// What may stand where a corpus goes: nothing, or with --force another corpus.
Overwrite check_outputs(const std::vector<std::filesystem::path>& outputs,
                        const std::vector<std::filesystem::path>& inputs, bool force) {
    require_apart(outputs, inputs);
    const Overwrite overwrite = force ? Overwrite::yes : Overwrite::no;
    for (const std::filesystem::path& output : outputs) {
        require_writable_output(output, overwrite);
        require_replaceable(output);
    }
    return overwrite;
}

std::vector<Corpus> open_all(const std::vector<std::string>& files) {
    std::vector<Corpus> corpora;
    for (const std::string& file : files) corpora.push_back(Corpus::open(file));
    return corpora;
}

/// For a corpus written to `output`.
SourceName names_from(const std::filesystem::path& output) {
    return [folder = output.parent_path()](const Corpus& input, const SourceFile& source) {
        return source_name_from(folder, input.path().parent_path(), source);
    };
}

struct MergeArguments {
    std::vector<std::string> files;
    std::string output;
    bool force = false;
};

int run_merge(const Invocation& invocation, const MergeArguments& arguments) {
    require_one_rank("corpus merge");
    const std::vector<Corpus> corpora = open_all(arguments.files);
    const Overwrite overwrite =
        check_outputs({arguments.output}, {arguments.files.begin(), arguments.files.end()}, arguments.force);
    const PublishedCorpus merged = rewrite_corpus(
        arguments.output, corpora, [](std::size_t, std::uint64_t) { return true; },
        names_from(arguments.output), overwrite);
    auto list = nlohmann::ordered_json::array();
    say_written(invocation, arguments.output, merged, list);
    const auto has_scores = [](const Corpus& corpus) { return !corpus.sample_score().empty(); };
    const auto without = std::ranges::find_if_not(corpora, has_scores);
    if (without != corpora.end() && std::ranges::any_of(corpora, has_scores)) {
        invocation.say("  scores are left out: '" + without->path().string() + "' has none");
        list.front()["scores_left_out"] = true;
    }
    const auto cut_alike = [&](const Corpus& corpus) {
        return corpus.ingest_record() == corpora.front().ingest_record();
    };
    if (!std::ranges::all_of(corpora, cut_alike)) {
        invocation.say(
            "  their documents were cut by different rules: they cannot be compared with their sources any "
            "more, only fingerprints");
        list.front()["documents_comparable"] = false;
    }
    invocation.give(list.front());
    return 0;
}

struct SplitArguments {
    std::string file, output, rest;
    double share = 0;
    bool force = false;
};

int run_split(const Invocation& invocation, const SplitArguments& arguments) {
    require_one_rank("corpus split");
    const std::vector<Corpus> corpora = open_all({arguments.file});
    const Overwrite overwrite =
        check_outputs({arguments.output, arguments.rest}, {arguments.file}, arguments.force);
    const bool was_there = path_exists(arguments.output);
    const DigestShare share(arguments.share);
    const auto in_share = [&](std::size_t, std::uint64_t sample) {
        return share.contains(digest_of(corpora.front().stored_tokens(sample, sample + 1)));
    };
    const PublishedCorpus part =
        rewrite_corpus(arguments.output, corpora, in_share, names_from(arguments.output), overwrite);
    PublishedCorpus rest;
    try {
        rest = rewrite_corpus(
            arguments.rest, corpora,
            [&](std::size_t input, std::uint64_t sample) { return !in_share(input, sample); },
            names_from(arguments.rest), overwrite);
    } catch (...) {
        // One of two is half an output; but a file that was there before is not ours to remove.
        std::error_code ignored;
        if (!was_there) std::filesystem::remove(arguments.output, ignored);
        throw;
    }
    auto list = nlohmann::ordered_json::array();
    say_written(invocation, arguments.output, part, list);
    say_written(invocation, arguments.rest, rest, list);
    invocation.give({{"corpora", list}});
    return 0;
}

struct ExportArguments {
    std::string file, prefix;
    bool force = false;
};

/// With --force a pair of Megatron's files is replaced: PREFIX.idx begins with their mark, PREFIX.bin has
/// none and goes by the index beside it.
void require_replaceable_pair(const std::filesystem::path& tokens, const std::filesystem::path& index) {
    const bool pair =
        path_exists(index) && std::filesystem::is_regular_file(index) && is_megatron_index(index);
    for (const std::filesystem::path& path : {tokens, index}) {
        if (!path_exists(path) || (pair && std::filesystem::is_regular_file(path))) continue;
        throw Error(ErrorCode::output_exists,
                    "'" + path.string() +
                        "' exists and is not of a pair of Megatron's files; --force "
                        "replaces only those, choose another PREFIX");
    }
}

int run_export(const Invocation& invocation, const ExportArguments& arguments) {
    require_one_rank("corpus export");
    const Corpus corpus = Corpus::open(arguments.file);
    const std::filesystem::path tokens_path = arguments.prefix + ".bin",
                                index_path = arguments.prefix + ".idx";
    require_apart({tokens_path, index_path}, {arguments.file});
    if (arguments.force) require_replaceable_pair(tokens_path, index_path);
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
                   (corpus.has_loss_spans() ? " (loss spans have no place there)" : "") +
                   (corpus.sample_score().empty() ? "" : " (scores have no place there)"));
    invocation.give(
        {{"prefix", arguments.prefix}, {"documents", corpus.num_samples()}, {"tokens", corpus.num_tokens()}});
    return 0;
}

struct CheckArguments {
    std::string file;
    std::uint64_t samples = 64, seed = 1;
};

int run_check(const Invocation& invocation, const CheckArguments& arguments) {
    require_one_rank("corpus check");
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
