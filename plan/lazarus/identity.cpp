#include "plan/lazarus/identity.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "plan/bucketing.h"

namespace lockstep {

namespace {

constexpr std::size_t short_digits = 16;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::vector<std::string> ids_of_pack(const BatchPlan& plan, std::uint64_t pack, const SampleKey& key) {
    std::vector<std::string> ids;
    for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s)
        ids.push_back(key(plan.segment_sample[s]));
    return ids;
}

}  // namespace

LazarusFingerprint::LazarusFingerprint(std::string_view dataset_hash, std::string_view tokenizer_hash,
                                       std::uint64_t base_seed)
    : builder_("") {
    builder_.raw(bytes_of(dataset_hash)).raw(bytes_of(tokenizer_hash));
    builder_.raw(bytes_of(std::to_string(base_seed)));
}

void LazarusFingerprint::add_microbatch(std::span<const std::string> ids) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (i > 0) builder_.raw(bytes_of(","));
        builder_.raw(bytes_of(ids[i]));
    }
}

std::string LazarusFingerprint::finish() {
    return builder_.finish().hex().substr(0, short_digits);
}

std::string lazarus_fingerprint_of(const BatchPlan& plan, const SampleKey& key, std::string_view dataset_hash,
                                   std::string_view tokenizer_hash, std::uint64_t rank,
                                   std::uint64_t world_size) {
    LazarusFingerprint fingerprint(dataset_hash, tokenizer_hash, plan.options.seed);
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
        const std::uint64_t begin = plan.step_begin[plan.epoch_begin[epoch]];
        const std::uint64_t end = plan.step_begin[plan.epoch_begin[epoch + 1]];
        for (const std::uint64_t i : lazarus_shard(end - begin, rank, world_size))
            fingerprint.add_microbatch(ids_of_pack(plan, begin + i, key));
    }
    return fingerprint.finish();
}

void LazarusBatchSequence::add_batch(std::uint64_t bucket, std::uint64_t pad_to, std::vector<std::string> ids,
                                     std::uint64_t tokens) {
    std::sort(ids.begin(), ids.end());  // Bytes of UTF-8 sort as Python sorts code points.
    std::string text = "{\"bucket_id\": " + std::to_string(bucket) +
                       ", \"max_length\": " + std::to_string(pad_to) + ", \"sample_ids\": [";
    for (std::size_t i = 0; i < ids.size(); ++i) text += (i > 0 ? ", " : "") + python_json_string(ids[i]);
    text += "], \"token_count\": " + std::to_string(tokens) + "}";
    outer_.raw(bytes_of(sha256(bytes_of(text)).hex()));
    ++result_.num_batches;
    result_.total_samples += ids.size();
    result_.total_tokens += tokens;
}

LazarusBatchFingerprint LazarusBatchSequence::finish() {
    result_.full_hash = outer_.finish().hex();
    result_.fingerprint = result_.full_hash.substr(0, short_digits);
    return result_;
}

LazarusBatchFingerprint lazarus_batch_fingerprint_of(const BatchPlan& plan, std::uint64_t epoch,
                                                     const SampleKey& key, std::uint64_t batches_max) {
    LOCKSTEP_EXPECTS(plan.options.mode == PlanMode::bucket && epoch < plan.num_epochs());
    const LengthBuckets buckets(plan.options.bucket_edges, plan.options.bucket_overflow_max);
    LazarusBatchSequence sequence;
    const std::uint64_t begin = plan.step_begin[plan.epoch_begin[epoch]];
    const std::uint64_t end = plan.step_begin[plan.epoch_begin[epoch + 1]];
    for (std::uint64_t pack = begin; pack < end && pack - begin < batches_max; ++pack) {
        const std::uint16_t bucket = plan.pack_bucket[pack];
        sequence.add_batch(bucket, buckets.upper(bucket), ids_of_pack(plan, pack, key),
                           plan.pack_tokens(pack));
    }
    return sequence.finish();
}

std::string lazarus_config_hash(const LazarusSampling& sampling, std::string_view mode,
                                std::string_view pad_policy) {
    const auto flag = [](bool value) { return value ? "true" : "false"; };
    std::string text = "{\"bucket_edges\": [";
    for (std::size_t i = 0; i < sampling.buckets.edges.size(); ++i) {
        text += (i > 0 ? ", " : "") + std::to_string(sampling.buckets.edges[i]);
    }
    text += "], \"bucket_max_lengths\": null, \"drop_last\": ";
    text += flag(sampling.drop_last);
    text += ", \"interleave_buckets\": ";
    text += flag(sampling.interleave);
    text += ", \"mode\": " + python_json_string(mode) +
            ", \"overflow_max\": " + std::to_string(sampling.buckets.overflow_max) +
            ", \"pad_policy\": " + python_json_string(pad_policy) +
            ", \"seed\": " + std::to_string(sampling.seed) +
            ", \"token_budget\": " + std::to_string(sampling.token_budget) + "}";
    return sha256(bytes_of(text)).hex().substr(0, short_digits);
}

std::string python_json_string(std::string_view text) {
    try {
        return nlohmann::json(text).dump(-1, ' ', true);
    } catch (const nlohmann::json::exception&) {
        throw Error(ErrorCode::invalid_argument,
                    "a sample id or hash is not valid UTF-8; Lazarus' files cannot hold it");
    }
}

}  // namespace lockstep
