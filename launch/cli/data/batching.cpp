#include <algorithm>

#include "io/base/error.h"
#include "io/corpus/length_cache.h"
#include "launch/cli/data/length_report.h"

namespace lockstep {

namespace {

struct BatchingArguments {
    std::string lengths;
    BucketArguments buckets;
    std::uint32_t budget = 4096;
    std::uint64_t bins = 15;
    std::uint64_t width = 50;
    bool doubling = false;
    std::uint32_t num_buckets = 4;
    std::uint32_t max_length = 0;
};

std::vector<LengthCount> counts_of(const std::string& path) {
    std::vector<LengthCount> lengths = count_lengths(open_lengths(path).sample_tokens());
    if (lengths.empty()) throw Error(ErrorCode::invalid_argument, "'" + path + "' holds no samples");
    return lengths;
}

nlohmann::ordered_json say_bins(const Invocation& invocation, const std::vector<LengthCount>& lengths,
                                const BatchingArguments& arguments) {
    if (arguments.bins < 1 || arguments.bins > 1000)
        throw Error(ErrorCode::invalid_argument,
                    "--bins is " + std::to_string(arguments.bins) + "; expected 1 to 1000");
    if (arguments.width < 1 || arguments.width > 1000)
        throw Error(ErrorCode::invalid_argument,
                    "--width is " + std::to_string(arguments.width) + "; expected 1 to 1000");
    return say_histogram(invocation,
                         arguments.doubling ? doubling_bins(lengths) : equal_bins(lengths, arguments.bins),
                         arguments.width);
}

int run_analyze(const Invocation& invocation, const BatchingArguments& arguments) {
    require_one_rank("batching analyze");
    const std::vector<LengthCount> lengths = counts_of(arguments.lengths);
    const auto& [edges, overflow_max] = arguments.buckets;
    const BucketUses uses = use_of_buckets(
        cut_long_samples(lengths, std::min(overflow_max, arguments.budget)), edges, overflow_max);
    const WasteComparison waste = compare_waste(lengths, edges, overflow_max, arguments.budget);
    const LengthSummary summary = summarize_lengths(lengths);
    say_summary(invocation, summary);
    nlohmann::ordered_json object = {{"summary", summary_json(summary)}};
    object["histogram"] = say_bins(invocation, lengths, arguments);
    object["bucketing"] = say_buckets(invocation, uses, samples_above(lengths, overflow_max));
    object["waste"] = say_waste(invocation, waste);
    object["recommendations"] =
        say_advice(invocation, advise_on_lengths(lengths, edges, overflow_max, arguments.budget));
    invocation.give(object);
    return 0;
}

int run_histogram(const Invocation& invocation, const BatchingArguments& arguments) {
    require_one_rank("batching histogram");
    const std::vector<LengthCount> lengths = counts_of(arguments.lengths);
    const LengthSummary summary = summarize_lengths(lengths);
    nlohmann::ordered_json object = {{"summary", summary_json(summary)}};
    object["histogram"] = say_bins(invocation, lengths, arguments);
    say_summary(invocation, summary);
    invocation.give(object);
    return 0;
}

int run_suggest(const Invocation& invocation, const BatchingArguments& arguments) {
    require_one_rank("batching suggest");
    const std::vector<LengthCount> lengths = counts_of(arguments.lengths);
    const std::uint32_t overflow_max =
        arguments.max_length > 0 ? arguments.max_length : std::max(lengths.back().tokens, 1U);
    const std::vector<LengthCount> pieces = cut_long_samples(lengths, overflow_max);
    const BucketEdges best = optimal_bucket_edges(pieces, arguments.num_buckets, overflow_max);
    invocation.say("--bucket-edges " + edges_text(best.edges) + " --bucket-overflow-max " +
                   std::to_string(best.overflow_max));
    if (best.granularity > 1) {
        invocation.say("more than " + with_commas(bucket_edge_candidates_max) +
                       " distinct lengths: edges were looked for " + std::to_string(best.granularity) +
                       " tokens apart, and may not be the very best");
    }
    const BucketUses uses = use_of_buckets(pieces, best.edges, overflow_max);
    const std::uint64_t longer_samples = samples_above(lengths, overflow_max);
    nlohmann::ordered_json object = {
        {"edges", best.edges},   {"overflow_max", best.overflow_max},   {"efficiency", best.efficiency()},
        {"tokens", best.tokens}, {"padded_tokens", best.padded_tokens}, {"granularity", best.granularity}};
    object["bucketing"] = say_buckets(invocation, uses, longer_samples);
    if (longer_samples > 0) {
        invocation.say("  " + with_commas(longer_samples) +
                       " samples are longer than the last bucket; counted here in pieces, as --long split "
                       "cuts them");
    }
    auto others = nlohmann::ordered_json::array();
    invocation.say("the best with other numbers of buckets:");
    for (std::uint32_t count = 1; count <= std::min(2 * arguments.num_buckets, bucket_count_max);
         count *= 2) {
        const BucketEdges other = optimal_bucket_edges(pieces, count, overflow_max);
        invocation.say("  " + std::to_string(count) + ": efficiency " + percent(other.efficiency()) +
                       (other.edges.empty() ? "" : "  " + edges_text(other.edges)));
        others.push_back({{"buckets", count}, {"efficiency", other.efficiency()}, {"edges", other.edges}});
    }
    object["other_counts"] = others;
    invocation.give(object);
    return 0;
}

}  // namespace

void add_batching(CLI::App& app, Invocation& invocation) {
    CLI::App* noun = app.add_subcommand("batching", "What lengths say before a plan is built");
    noun->require_subcommand(1);
    const auto add = [&](const std::string& name, const std::string& description, const std::string& examples,
                         int (*run)(const Invocation&, const BatchingArguments&)) {
        auto arguments = std::make_shared<BatchingArguments>();
        CLI::App* verb = add_verb(*noun, invocation, name, description, examples,
                                  [&invocation, arguments, run] { return run(invocation, *arguments); });
        verb->add_option("-l,--lengths", arguments->lengths, "A corpus or a lengths file")->required();
        return std::pair(verb, arguments);
    };
    const auto add_bins = [](CLI::App& verb, BatchingArguments& arguments) {
        verb.add_option("--bins", arguments.bins, "Bins of the histogram, about (15)");
        verb.add_option("--width", arguments.width, "Characters of the longest bar (50)");
        verb.add_flag("--log", arguments.doubling, "Bins that end at powers of two");
    };
    const auto [analyze, analyzed] =
        add("analyze", "Percentiles, histogram, padding against packing, recommendations",
            "  lockstep batching analyze -l corpus.h5\n"
            "  lockstep batching analyze -l lengths.jsonl -b 8192 --bucket-edges 256,1024,4096 "
            "--bucket-overflow-max 8192",
            run_analyze);
    add_bucket_options(*analyze, analyzed->buckets);
    analyze->add_option("-b,--token-budget", analyzed->budget, "Most tokens a pack may hold (4096)");
    add_bins(*analyze, *analyzed);
    const auto [histogram, drawn] = add("histogram", "How many samples have which length",
                                        "  lockstep batching histogram -l lengths.jsonl --bins 20\n"
                                        "  lockstep batching histogram -l corpus.h5 --log",
                                        run_histogram);
    add_bins(*histogram, *drawn);
    const auto [suggest, suggested] = add("suggest", "The bucket edges that pad least",
                                          "  lockstep batching suggest -l lengths.jsonl -n 8\n"
                                          "  lockstep batching suggest -l corpus.h5 -n 5 --max-length 2048",
                                          run_suggest);
    suggest->add_option("-n,--num-buckets", suggested->num_buckets, "Buckets, the last one included (4)");
    suggest->add_option("--max-length", suggested->max_length,
                        "Longest sample of the last bucket (the longest there is)");
}

}  // namespace lockstep
