// launch/cli/data/length_report.h
//
// What people read about lengths, and the same as JSON: shared by `lengths stats`,
// `batching` and `bench`.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "launch/cli/invocation.h"
#include "plan/bucket_edges.h"
#include "plan/length_analysis.h"

namespace lockstep {

/// Edges as `batchplan build` takes them, and as bucket tables are computed from them.
struct BucketArguments {
    std::vector<std::uint32_t> edges = {128, 256, 512, 1024};
    std::uint32_t overflow_max = 2048;
};
void add_bucket_options(CLI::App& verb, BucketArguments& arguments);

nlohmann::ordered_json summary_json(const LengthSummary& summary);
void say_summary(const Invocation& invocation, const LengthSummary& summary);

/// Bars of at most `width` characters. @return [{"from", "to", "samples"}], both inclusive.
nlohmann::ordered_json say_histogram(const Invocation& invocation, const std::vector<LengthBin>& bins,
                                     std::size_t width);

nlohmann::ordered_json say_buckets(const Invocation& invocation, const BucketUses& uses,
                                   std::uint64_t longer_samples);
nlohmann::ordered_json say_waste(const Invocation& invocation, const WasteComparison& waste);
nlohmann::ordered_json say_advice(const Invocation& invocation, const std::vector<LengthAdvice>& advice);

/// "128,256": as an option takes it.
std::string edges_text(std::span<const std::uint32_t> edges);
std::string percent(double share);  ///< "12.3 %"

}  // namespace lockstep
