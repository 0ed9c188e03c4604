#include "launch/cli/data/length_report.h"

#include <algorithm>

namespace lockstep {

using nlohmann::ordered_json;

namespace {

std::string right(const std::string& text, std::size_t width) {
    return std::string(width - std::min(width, text.size()), ' ') + text;
}

double share(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

void add_bucket_options(CLI::App& verb, BucketArguments& arguments) {
    verb.add_option("--bucket-edges", arguments.edges, "Upper edges, inclusive (128,256,512,1024)")
        ->delimiter(',');
    verb.add_option("--bucket-overflow-max", arguments.overflow_max,
                    "Longest sample of the last bucket (2048)");
}

std::string percent(double part) {
    return fixed(100 * part, 1) + " %";
}

std::string edges_text(std::span<const std::uint32_t> edges) {
    std::string text;
    for (const std::uint32_t edge : edges) text += (text.empty() ? "" : ",") + std::to_string(edge);
    return text;
}

ordered_json summary_json(const LengthSummary& s) {
    return {{"samples", s.samples}, {"tokens", s.tokens}, {"min", s.min}, {"max", s.max}, {"mean", s.mean},
            {"std", s.deviation},   {"p10", s.p10},       {"p25", s.p25}, {"p50", s.p50}, {"p75", s.p75},
            {"p90", s.p90},         {"p95", s.p95},       {"p99", s.p99}};
}

void say_summary(const Invocation& invocation, const LengthSummary& s) {
    invocation.say(with_commas(s.samples) + " samples, " + with_commas(s.tokens) + " tokens, mean " +
                   fixed(s.mean, 1) + " (std " + fixed(s.deviation, 1) + "), from " + std::to_string(s.min) +
                   " to " + std::to_string(s.max));
    invocation.say("p10 " + std::to_string(s.p10) + "  p25 " + std::to_string(s.p25) + "  p50 " +
                   std::to_string(s.p50) + "  p75 " + std::to_string(s.p75) + "  p90 " +
                   std::to_string(s.p90) + "  p95 " + std::to_string(s.p95) + "  p99 " +
                   std::to_string(s.p99));
}

ordered_json say_histogram(const Invocation& invocation, const std::vector<LengthBin>& bins,
                           std::size_t width) {
    std::uint64_t tallest = 1, samples = 0;
    std::size_t label_width = 0;
    const auto label = [](const LengthBin& bin) {
        return bin.begin + 1 == bin.end ? std::to_string(bin.begin)
                                        : std::to_string(bin.begin) + "-" + std::to_string(bin.end - 1);
    };
    for (const LengthBin& bin : bins) {
        tallest = std::max(tallest, bin.samples);
        samples += bin.samples;
        label_width = std::max(label_width, label(bin).size());
    }
    auto list = ordered_json::array();
    for (const LengthBin& bin : bins) {
        const auto bar = static_cast<std::size_t>(share(bin.samples, tallest) * static_cast<double>(width));
        invocation.say(right(label(bin), label_width) + " |" + std::string(bar, '#') + " " +
                       with_commas(bin.samples) + " (" + percent(share(bin.samples, samples)) + ")");
        list.push_back({{"from", bin.begin}, {"to", bin.end - 1}, {"samples", bin.samples}});
    }
    return list;
}

ordered_json say_buckets(const Invocation& invocation, const BucketUses& uses, std::uint64_t longer_samples) {
    auto list = ordered_json::array();
    invocation.say("buckets (padded to the upper edge): efficiency " + percent(uses.efficiency()));
    for (const BucketUse& bucket : uses.buckets) {
        invocation.say("  " + right(std::to_string(bucket.low) + "-" + std::to_string(bucket.upper), 13) +
                       "  " + right(with_commas(bucket.samples), 13) + " segments (" +
                       percent(share(bucket.samples, uses.samples)) + "), " +
                       (bucket.samples == 0 ? "empty" : percent(bucket.efficiency()) + " real tokens"));
        list.push_back({{"low", bucket.low},
                        {"upper", bucket.upper},
                        {"segments", bucket.samples},
                        {"tokens", bucket.tokens},
                        {"padded_tokens", bucket.padded_tokens},
                        {"efficiency", bucket.efficiency()}});
    }
    return {{"efficiency", uses.efficiency()},
            {"tokens", uses.tokens},
            {"padded_tokens", uses.padded_tokens},
            {"longer_samples", longer_samples},
            {"buckets", list}};
}

ordered_json say_waste(const Invocation& invocation, const WasteComparison& waste) {
    const auto wasted = [&](std::uint64_t computed) {
        return computed == 0 ? 0.0 : 1 - share(waste.tokens, computed);
    };
    const auto line = [&](const std::string& what, std::uint64_t computed) {
        invocation.say("  " + what + right(with_commas(computed), 18) + " tokens computed, " +
                       percent(wasted(computed)) + " wasted");
    };
    invocation.say("an epoch of " + with_commas(waste.tokens) + " tokens, budget " +
                   with_commas(waste.token_budget) + ":");
    line("padded to the longest", waste.padded_to_longest);
    line("padded to buckets    ", waste.padded_to_bucket);
    line("packed               ", waste.packed);
    invocation.say("  " + with_commas(waste.packs) + " packs, no packing needs fewer than " +
                   with_commas(waste.packs_lower_bound));
    return {{"token_budget", waste.token_budget},
            {"segments", waste.segments},
            {"tokens", waste.tokens},
            {"long_samples", waste.long_samples},
            {"overlap_tokens", waste.overlap_tokens},
            {"padded_to_longest", waste.padded_to_longest},
            {"padded_to_bucket", waste.padded_to_bucket},
            {"packed", waste.packed},
            {"packs", waste.packs},
            {"packs_lower_bound", waste.packs_lower_bound},
            {"waste_padded_to_longest", wasted(waste.padded_to_longest)},
            {"waste_padded_to_bucket", wasted(waste.padded_to_bucket)},
            {"waste_packed", wasted(waste.packed)}};
}

ordered_json say_advice(const Invocation& invocation, const std::vector<LengthAdvice>& advice) {
    auto list = ordered_json::array();
    if (!advice.empty()) invocation.say("recommendations:");
    for (const LengthAdvice& item : advice) {
        invocation.say("  - " + item.text);
        list.push_back({{"subject", item.subject}, {"text", item.text}, {"tokens_saved", item.tokens_saved}});
    }
    return list;
}

}  // namespace lockstep
