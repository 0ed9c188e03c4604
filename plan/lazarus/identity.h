// plan/lazarus/identity.h
//
// The names that Lazarus gives to plans and batch sequences, for comparing with it.
// They are weak (different plans share one: docs/lazarus.md); ours is
// fingerprint_plan (batch_plan.h).

#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "io/base/fingerprint.h"
#include "plan/batch_plan.h"
#include "plan/lazarus/sampler.h"

namespace lockstep {

/// User's id of a global sample number.
using SampleKey = std::function<std::string(std::uint64_t)>;

/// Lazarus' plan fingerprint: 16 hexadecimal digits over hashes, seed and the comma-joined ids of each
/// microbatch, without anything between them.
class LazarusFingerprint {
  public:
    LazarusFingerprint(std::string_view dataset_hash, std::string_view tokenizer_hash,
                       std::uint64_t base_seed);
    void add_microbatch(std::span<const std::string> ids);
    std::string finish();  ///< Ends it.

  private:
    FingerprintBuilder builder_;
};

/// Of a whole plan, a microbatch a pack; `rank` of `world_size` takes Lazarus' shard of each epoch.
std::string lazarus_fingerprint_of(const BatchPlan& plan, const SampleKey& key, std::string_view dataset_hash,
                                   std::string_view tokenizer_hash, std::uint64_t rank = 0,
                                   std::uint64_t world_size = 1);

/// Lazarus' BatchFingerprint: over a sequence of batches, whatever the order inside each.
struct LazarusBatchFingerprint {
    std::string full_hash;    ///< 64 hexadecimal digits.
    std::string fingerprint;  ///< The first 16.
    std::uint64_t num_batches = 0, total_samples = 0, total_tokens = 0;
};

class LazarusBatchSequence {
  public:
    LazarusBatchSequence() : outer_("") {}
    void add_batch(std::uint64_t bucket, std::uint64_t pad_to, std::vector<std::string> ids,
                   std::uint64_t tokens);
    LazarusBatchFingerprint finish();  ///< Ends it.

  private:
    FingerprintBuilder outer_;
    LazarusBatchFingerprint result_;
};

/// Of the first `batches_max` packs of an epoch of a bucket plan.
LazarusBatchFingerprint lazarus_batch_fingerprint_of(const BatchPlan& plan, std::uint64_t epoch,
                                                     const SampleKey& key, std::uint64_t batches_max);

/// Lazarus' config_hash: its preset ("throughput", "predictable"), padding policy and sampling.
std::string lazarus_config_hash(const LazarusSampling& sampling, std::string_view mode,
                                std::string_view pad_policy);

/// A JSON string as Python writes it: ASCII, everything else escaped.
/// @throws Error{invalid_argument} unless UTF-8.
std::string python_json_string(std::string_view text);

}  // namespace lockstep
