#include <algorithm>
#include <limits>
#include <numeric>

#include "io/base/error.h"
#include "io/corpus/length_cache.h"
#include "launch/cli/data/ingest.h"
#include "launch/cli/data/length_report.h"

namespace lockstep {

namespace {

void say_written(const Invocation& invocation, const LengthCache& cache, const std::string& output) {
    invocation.say(with_commas(cache.num_samples()) + " lengths, " + with_commas(cache.num_tokens()) +
                   " tokens -> " + output);
    invocation.give({{"lengths", output},
                     {"samples", cache.num_samples()},
                     {"tokens", cache.num_tokens()},
                     {"tokenizer_hash", cache.tokenizer_hash()},
                     {"lengths_fingerprint", cache.lengths_fingerprint().hex()}});
}

struct BuildArguments {
    DocumentArguments documents;
    std::string output;
    bool force = false;
};

/// A token can be predicted unless it is the sample's first.
std::uint32_t targets_of(const TokenizedDocument& item) {
    const auto between = [](std::size_t begin, std::size_t end) {
        return end > begin ? static_cast<std::uint32_t>(end - begin) : 0U;
    };
    if (!item.has_loss_spans) return between(1, item.tokens.size());
    std::uint32_t targets = 0;
    for (const LossSpan& span : item.loss_spans) targets += between(std::max(span.begin, 1U), span.end);
    return targets;
}

int run_build(const Invocation& invocation, const BuildArguments& arguments) {
    require_one_rank("lengths build");
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    require_writable_output(arguments.output, overwrite);
    LengthColumns columns;
    bool any_key = false;
    bool any_span = false;
    TokenizeVisitor visitor;
    visitor.on_tokenizer = [&](const Tokenizer& tokenizer) {
        columns.tokenizer_hash = tokenizer.fingerprint().hex();
    };
    visitor.on_source = [next = std::uint32_t{0}](const std::string&) mutable { return next++; };
    visitor.on_document = [&](const Document& document, const TokenizedDocument& item) {
        if (item.tokens.size() > std::numeric_limits<std::uint32_t>::max()) {
            throw Error(ErrorCode::invalid_argument,
                        "document " + std::to_string(columns.sample_tokens.size()) + " has " +
                            std::to_string(item.tokens.size()) +
                            " tokens; at most 2^32 - 1 can be addressed, divide it");
        }
        columns.sample_tokens.push_back(static_cast<std::uint32_t>(item.tokens.size()));
        columns.add_key(document.key);
        any_key = any_key || !document.key.empty();
        if (document.score) columns.sample_score.push_back(*document.score);
        any_span = any_span || item.has_loss_spans;
        columns.loss_tokens.push_back(targets_of(item));
    };
    visitor.on_source_end = [](std::uint32_t, const SourceSummary&) {};
    const TokenizedTotals totals = tokenize_documents(arguments.documents, visitor);
    if (totals.documents == 0)
        throw Error(ErrorCode::invalid_argument, "no documents were found; check -d and --document");
    if (!any_key) columns.clear_keys();
    if (!any_span) columns.loss_tokens.clear();
    const LengthCache cache(std::move(columns));
    write_lengths(arguments.output, cache, overwrite);
    say_written(invocation, cache, arguments.output);
    return 0;
}

struct ConvertArguments {
    std::string input, output;
    bool force = false;
};

int run_convert(const Invocation& invocation, const ConvertArguments& arguments) {
    require_one_rank("lengths convert");
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    require_writable_output(arguments.output, overwrite);
    const LengthCache cache = open_lengths(arguments.input);
    write_lengths(arguments.output, cache, overwrite);
    say_written(invocation, cache, arguments.output);
    return 0;
}

int run_stats(const Invocation& invocation, const std::string& path) {
    require_one_rank("lengths stats");
    if (path.empty())
        throw Error(ErrorCode::invalid_argument, "lengths stats needs a corpus or a lengths file");
    const LengthCache cache = open_lengths(path);
    const std::vector<LengthCount> lengths = count_lengths(cache.sample_tokens());
    if (lengths.empty()) throw Error(ErrorCode::invalid_argument, "'" + path + "' holds no samples");
    const LengthSummary summary = summarize_lengths(lengths);
    say_summary(invocation, summary);
    nlohmann::ordered_json object = summary_json(summary);
    object["lengths_fingerprint"] = cache.lengths_fingerprint().hex();
    object["tokenizer_hash"] = cache.tokenizer_hash();
    if (!cache.loss_tokens().empty()) {
        const auto loss = cache.loss_tokens();
        const std::uint64_t trained = std::accumulate(loss.begin(), loss.end(), std::uint64_t{0});
        invocation.say("  " + with_commas(trained) + " of the tokens are trained");
        object["loss_tokens"] = trained;
    }
    object["histogram"] = say_histogram(invocation, doubling_bins(lengths), 50);
    invocation.give(object);
    return 0;
}

}  // namespace

void add_lengths(CLI::App& app, Invocation& invocation) {
    CLI::App* noun = app.add_subcommand("lengths", "Token counts of samples, for planning without a corpus");
    noun->require_subcommand(1);
    auto build = std::make_shared<BuildArguments>();
    CLI::App* build_verb = add_verb(*noun, invocation, "build", "Write a length cache",
                                    "  lockstep lengths build -d texts.jsonl -t bytes -o lengths.jsonl\n"
                                    "  lockstep lengths build -d texts.jsonl -t bytes -o lengths.h5",
                                    [&invocation, build] { return run_build(invocation, *build); });
    add_document_options(*build_verb, build->documents);
    build_verb
        ->add_option("-o,--output", build->output,
                     "File to write: columns if it ends in .h5, else lines of JSON")
        ->required();
    build_verb->add_flag("--force", build->force, "Replace an existing file");

    auto convert = std::make_shared<ConvertArguments>();
    CLI::App* convert_verb =
        add_verb(*noun, invocation, "convert", "Lines to columns and back, or out of a corpus",
                 "  lockstep lengths convert lengths.jsonl -o lengths.h5\n"
                 "  lockstep lengths convert corpus.h5 -o lengths.jsonl",
                 [&invocation, convert] { return run_convert(invocation, *convert); });
    convert_verb->add_option("input", convert->input, "A lengths file or a corpus")->required();
    convert_verb
        ->add_option("-o,--output", convert->output,
                     "File to write: columns if it ends in .h5, else lines of JSON")
        ->required();
    convert_verb->add_flag("--force", convert->force, "Replace an existing file");

    auto file = std::make_shared<std::string>();
    CLI::App* stats_verb = add_verb(*noun, invocation, "stats", "Distribution of lengths",
                                    "  lockstep lengths stats lengths.jsonl\n"
                                    "  lockstep lengths stats -l corpus.h5",
                                    [&invocation, file] { return run_stats(invocation, *file); });
    stats_verb->add_option("file,-l,--lengths", *file, "A corpus or a lengths file");
}

}  // namespace lockstep
