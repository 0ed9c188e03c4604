#include "coordinator/plan_documents.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <string>
#include <vector>

#include "coordinator/plan_file.h"
#include "coordinator/version.h"
#include "plan/plan_columns.h"

namespace lockstep {

using nlohmann::json;

namespace {

std::string utc_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

}  // namespace

nlohmann::json metadata_of(const BatchPlan& plan, const EpochCounts& total) {
    json sources = json::array();
    for (const PlanSource& source : plan.sources) {
        sources.push_back(
            {{"name", source.name}, {"samples", source.num_samples}, {"sample_base", source.sample_base}});
    }
    return {{"format", "lockstep-plan-metadata"},
            {"plan_format_version", plan_format_version},
            {"tool_version", tool_version},
            {"created_at", utc_now()},
            {"seed", plan.options.seed},
            {"options", json::parse(text_of_options(plan.options))},
            {"algorithms", plan.algorithms},
            {"sources", sources},
            {"counts",
             {{"segments", total.segments},
              {"packs", total.packs},
              {"steps", total.steps},
              {"epochs", plan.num_epochs()}}}};
}

json fingerprints_of(const BatchPlan& plan) {
    const PlanFingerprints& prints = plan.fingerprints;
    const auto hex_list = [](const std::vector<Fingerprint>& list) {
        json texts = json::array();
        for (const Fingerprint& print : list) texts.push_back(print.hex());
        return texts;
    };
    const auto per_source = [&](auto member) {
        json texts = json::array();
        for (const PlanSource& source : plan.sources) {
            const Fingerprint& print = source.*member;
            texts.push_back(print.empty() ? json(nullptr) : json(print.hex()));
        }
        return texts;
    };
    return {{"format", "lockstep-plan-fingerprints"},
            {"format_version", 1},
            {"plan", prints.plan.hex()},
            {"settings", prints.settings.hex()},
            {"order", prints.order.hex()},
            {"lengths", per_source(&PlanSource::lengths)},
            {"tokenizer", per_source(&PlanSource::tokenizer)},
            {"corpus", per_source(&PlanSource::corpus)},
            {"epochs", hex_list(prints.epochs)},
            {"chunks", hex_list(prints.chunks)},
            {"chunk_begin", prints.chunk_begin},
            {"steps_per_chunk", prints.steps_per_chunk}};
}

json stats_json(const PlanStats& s) {
    json shares = json::array();
    for (const auto& share : s.shares) {
        shares.push_back(
            {{"source", share.source},
             {"tokens", share.tokens},
             {"share", share.share},
             {"planned_share", share.planned_share > 0 ? json(share.planned_share) : json(nullptr)},
             {"largest_error_tokens",
              share.planned_share > 0 ? json(share.largest_error_tokens) : json(nullptr)}});
    }
    json balance = json::array();
    for (const auto& b : s.balance) {
        balance.push_back({{"world_size", b.world_size}, {"slowest_over_mean", b.slowest_over_mean}});
    }
    json buckets = json::array();
    for (const auto& b : s.buckets) {
        buckets.push_back(
            {{"upper", b.upper}, {"samples", b.samples}, {"tokens", b.tokens}, {"pad_tokens", b.pad_tokens}});
    }
    const auto kind = [&](DispositionKind k) {
        const auto index = static_cast<std::size_t>(k);
        return index < s.dispositions_by_kind.size() ? s.dispositions_by_kind[index] : 0;
    };
    return {
        {"samples", s.samples},
        {"segments", s.segments},
        {"packs", s.packs},
        {"steps", s.steps},
        {"epochs", s.epochs},
        {"planned_tokens", s.planned_tokens},
        {"overlap_tokens", s.overlap_tokens},
        {"targets", s.targets_known ? json(s.targets) : json(nullptr)},
        {"packs_lower_bound", s.packs_lower_bound},
        {"packs_first_epoch", s.packs_first_epoch},
        {"packs_over_lower_bound", s.packs_first_epoch - std::min(s.packs_lower_bound, s.packs_first_epoch)},
        {"over_budget_packs", s.over_budget_packs},
        {"left_out_by_drop_last", s.left_out_by_drop_last},
        {"utilization", s.utilization},
        {"padding_waste_padded", s.padding_waste_padded},
        {"packing_ratio", s.packing_ratio},
        {"balance", balance},
        {"buckets", buckets},
        {"shares", shares},
        {"dispositions",
         {{"split", kind(DispositionKind::split)},
          {"truncated", kind(DispositionKind::truncated)},
          {"dropped", kind(DispositionKind::dropped)},
          {"empty", kind(DispositionKind::empty)},
          {"no_target", kind(DispositionKind::no_target)}}}};
}

}  // namespace lockstep
