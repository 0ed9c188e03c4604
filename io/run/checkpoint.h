// io/run/checkpoint.h
//
// A generation: one committed checkpoint of a run. Every rank writes its shard;
// rank 0 writes the manifest last, and only then is the generation committed
// (docs/formats/checkpoint.md, DESIGN §4.4 and §7). Nothing but the slice table
// depends on the world size.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/base/ids.h"
#include "io/columns/column_file.h"
#include "io/run/ledger.h"

namespace lockstep {

/// The scalar state of a run between two steps. The same on every rank.
struct Cursor {
    Fingerprint plan;      ///< Plan (revision) this run follows.
    Fingerprint model;     ///< Model and optimizer settings.
    std::string numerics;  ///< "fma256" or "bf16".
    std::uint64_t next_step = 0;
    std::uint64_t epoch = 0;           ///< Of next_step.
    std::uint64_t targets_seen = 0;    ///< Trained so far.
    std::int64_t scale_exponent = 50;  ///< s of the exact sum.
    std::uint64_t clean_steps = 0;     ///< Since s was last changed.
    std::uint64_t skipped_in_a_row = 0;
    Fingerprint ledger_root;
    friend bool operator==(const Cursor&, const Cursor&) = default;
};

struct ShardName {
    std::string file;               ///< "shard-00000-of-00004.h5"
    std::uint64_t slice_begin = 0;  ///< Elements of the flat state.
    std::uint64_t slice_end = 0;
    std::uint64_t file_bytes = 0;
    std::string digest_hex;
};

struct Manifest {
    std::uint64_t step = 0;  ///< = cursor.next_step: steps done.
    Cursor cursor;
    Fingerprint state_digest;
    std::uint64_t state_elements = 0;
    std::vector<ShardName> shards;                 ///< Ascending slices that cover [0, state_elements).
    std::optional<LedgerSegmentName> ledger_head;  ///< None: no step yet.
    std::optional<std::uint64_t> parent_step;      ///< The generation before.
};

std::string to_json(const Manifest& manifest);  ///< With its own digest field.
/// @throws Error{corrupt_data, incompatible_version} naming `origin`.
Manifest manifest_from_json(std::string_view json, const std::string& origin);

/// checkpoints/step-00000120
std::filesystem::path generation_directory(const std::filesystem::path& run, std::uint64_t step);
/// shard-00000-of-00004.h5
std::string shard_file_name(Rank rank, WorldSize world_size);

/// Write and publish one shard. Spans are the rank's slice of weights and moments, all of slice_end −
/// slice_begin.
/// @param pause  called every 16 MiB; what it throws ends the attempt, and the temporary goes.
ShardName write_shard(const std::filesystem::path& generation, Rank rank, WorldSize world_size,
                      const Cursor& cursor, std::uint64_t slice_begin, std::span<const float> weights,
                      std::span<const float> adam_m, std::span<const float> adam_v,
                      const std::function<void()>& pause = {});

/// Publish manifest.json; the generation is committed when this returns.
void write_manifest(const std::filesystem::path& run, const Manifest& manifest);

/// Loads pieces of a generation by element range, whatever world wrote it.
class GenerationReader {
  public:
    /// Opens all shards named by the manifest and checks lengths, digests, slices and the cursor in each.
    static GenerationReader open(const std::filesystem::path& run, const Manifest& manifest);
    ~GenerationReader();
    GenerationReader(GenerationReader&&) noexcept;
    GenerationReader& operator=(GenerationReader&&) noexcept;

    const Cursor& cursor() const;
    void read_weights(std::uint64_t begin, std::span<float> out) const;
    void read_adam_m(std::uint64_t begin, std::span<float> out) const;
    void read_adam_v(std::uint64_t begin, std::span<float> out) const;

  private:
    GenerationReader();
    struct State;
    std::unique_ptr<State> state_;
};

/// One entry of `checkpoint list`.
struct GenerationStatus {
    std::uint64_t step = 0;
    std::optional<Manifest> manifest;  ///< None: uncommitted or unreadable.
    bool committed = false;  ///< It has a manifest, readable or not; else an attempt that was cut off.
    bool valid = false;      ///< Everything checked: manifest, shards, head ledger segment.
    std::string problem;     ///< Why not, one line; empty when valid.
};

/// All generations, ascending by step, each checked in full. @throws Error{io_failure} when the disk cannot
/// be read: that is no verdict on a generation.
std::vector<GenerationStatus> list_generations(const std::filesystem::path& run);

/// The newest valid generation; every newer committed one that failed is described in `rejected`.
std::optional<Manifest> newest_valid_generation(const std::filesystem::path& run,
                                                std::vector<std::string>& rejected);

/// Move every committed generation after `step`, and every ledger segment not in the chain behind `head`, to
/// abandoned/. Remove attempts that never got a manifest, and temporaries. Make durable what the run goes on
/// from. For rank 0, holding the lock, before training.
void settle_run_directory(const std::filesystem::path& run, std::optional<std::uint64_t> step,
                          const std::optional<LedgerSegmentName>& head);

}  // namespace lockstep
