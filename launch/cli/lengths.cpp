#include <algorithm>

#include "coordinator/plan_store.h"
#include "io/base/error.h"
#include "io/length_cache.h"
#include "launch/cli/ingest.h"

namespace lockstep {

namespace {

struct BuildArguments {
    DocumentArguments documents;
    std::string output;
    bool force = false;
};

int run_build(const Invocation& invocation, const BuildArguments& arguments) {
    require_one_rank("lengths build");
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    require_writable_output(arguments.output, overwrite);
    LengthCache cache;
    bool any_key = false;
    bool any_span = false;
    TokenizeVisitor visitor;
    visitor.on_tokenizer = [&](const Tokenizer& tokenizer) {
        cache.tokenizer_hash = tokenizer.fingerprint().hex();
    };
    visitor.on_source = [next = std::uint32_t{0}](const std::string&) mutable { return next++; };
    visitor.on_document = [&](const TokenizedDocument& item) {
        cache.sample_tokens.push_back(item.tokens.size());
        cache.keys.emplace_back(item.document.key);
        any_key = any_key || !item.document.key.empty();
        any_span = any_span || item.has_loss_span;
        // A token can be predicted unless it is the sample's first.
        const std::uint64_t begin = item.has_loss_span ? std::max<std::uint64_t>(item.loss_span.begin, 1) : 1;
        const std::uint64_t end = item.has_loss_span ? item.loss_span.end : item.tokens.size();
        cache.loss_tokens.push_back(end > begin ? end - begin : 0);
    };
    visitor.on_source_end = [](std::uint32_t, const SourceSummary&) {};
    const TokenizedTotals totals = tokenize_documents(arguments.documents, visitor);
    if (totals.documents == 0)
        throw Error(ErrorCode::invalid_argument, "no documents were found; check -d and --document");
    if (!any_key) cache.keys.clear();
    if (!any_span) cache.loss_tokens.clear();
    write_lengths_jsonl(arguments.output, cache, overwrite);
    invocation.say(with_commas(totals.documents) + " lengths, " + with_commas(totals.tokens) + " tokens -> " +
                   arguments.output);
    invocation.give({{"lengths", arguments.output},
                     {"samples", totals.documents},
                     {"tokens", totals.tokens},
                     {"tokenizer_hash", cache.tokenizer_hash},
                     {"lengths_fingerprint", cache.lengths_fingerprint().hex()}});
    return 0;
}

int run_stats(const Invocation& invocation, const std::string& path) {
    require_one_rank("lengths stats");
    const PlanInput input = PlanInput::open(path, "");
    const SourceLengths lengths = input.lengths();
    std::vector<std::uint64_t> sorted(lengths.sample_tokens.begin(), lengths.sample_tokens.end());
    if (sorted.empty()) throw Error(ErrorCode::invalid_argument, "'" + path + "' holds no samples");
    std::sort(sorted.begin(), sorted.end());
    std::uint64_t total = 0;
    for (const std::uint64_t length : sorted) total += length;
    const double mean = static_cast<double>(total) / static_cast<double>(sorted.size());
    nlohmann::ordered_json object = {
        {"samples", sorted.size()}, {"tokens", total}, {"min", sorted.front()},
        {"max", sorted.back()},     {"mean", mean},    {"lengths_fingerprint", lengths.source.lengths.hex()}};
    std::string percentiles;
    for (const unsigned p : {10U, 25U, 50U, 75U, 90U, 95U, 99U}) {
        const std::uint64_t value = sorted[std::min<std::size_t>(sorted.size() * p / 100, sorted.size() - 1)];
        percentiles += "  p" + std::to_string(p) + " " + std::to_string(value);
        object["p" + std::to_string(p)] = value;
    }
    invocation.say(with_commas(sorted.size()) + " samples, " + with_commas(total) + " tokens, mean " +
                   fixed(mean, 1) + ", from " + std::to_string(sorted.front()) + " to " +
                   std::to_string(sorted.back()));
    invocation.say(percentiles.substr(2));
    // Powers of two: lengths spread over decades.
    std::uint64_t tallest = 1;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> bars;
    auto at = sorted.begin();
    for (std::uint64_t upper = 1; at != sorted.end(); upper *= 2) {
        const auto end = std::upper_bound(at, sorted.end(), upper);
        const auto count = static_cast<std::uint64_t>(end - at);
        if (count > 0 || !bars.empty()) bars.emplace_back(upper, count);
        tallest = std::max(tallest, count);
        at = end;
    }
    auto histogram = nlohmann::ordered_json::array();
    for (const auto& [upper, count] : bars) {
        const std::string label = "up to " + std::to_string(upper);
        invocation.say(std::string(14 - std::min<std::size_t>(13, label.size()), ' ') + label + " |" +
                       std::string(count * 50 / tallest, '#') + " " + with_commas(count));
        histogram.push_back({{"up_to", upper}, {"samples", count}});
    }
    object["histogram"] = histogram;
    invocation.give(object);
    return 0;
}

}  // namespace

void add_lengths(CLI::App& app, Invocation& invocation) {
    CLI::App* noun = app.add_subcommand("lengths", "Token counts of samples, for planning without a corpus");
    noun->require_subcommand(1);
    auto build = std::make_shared<BuildArguments>();
    CLI::App* build_verb = add_verb(*noun, invocation, "build", "Write a length cache",
                                    "  lockstep lengths build -d texts.jsonl -t bytes -o lengths.jsonl",
                                    [&invocation, build] { return run_build(invocation, *build); });
    add_document_options(*build_verb, build->documents);
    build_verb->add_option("-o,--output", build->output, "lengths.jsonl to write")->required();
    build_verb->add_flag("--force", build->force, "Replace an existing file");

    auto file = std::make_shared<std::string>();
    CLI::App* stats_verb = add_verb(*noun, invocation, "stats", "Distribution of lengths",
                                    "  lockstep lengths stats -l corpus.h5",
                                    [&invocation, file] { return run_stats(invocation, *file); });
    stats_verb->add_option("-l,--lengths", *file, "A corpus or a lengths file")->required();
}

}  // namespace lockstep
