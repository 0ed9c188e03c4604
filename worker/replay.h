// worker/replay.h
//
// Replay: a pack of the plan becomes the buffers the kernels read, the same ones
// every time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "io/corpus/corpus.h"
#include "plan/plan_slice.h"
#include "worker/packed_batch.h"

namespace lockstep {

/// The corpora of a plan's sources, in their order; sample ids run through them.
class SampleSource {
  public:
    void add(std::shared_ptr<const Corpus> corpus);

    struct Place {
        const Corpus* corpus;
        std::uint64_t sample;  ///< Within that corpus.
    };
    /// @throws Error{corrupt_data} if no corpus holds this sample.
    Place find(std::uint64_t global_sample) const;

  private:
    std::vector<std::shared_ptr<const Corpus>> corpora_;
    std::vector<std::uint64_t> sample_begin_{0};
};

/// Pack number `index` of the slice (an index into slice.pack) as a batch of `step`. Buffers of `batch` are
/// reused.
/// @throws Error{corrupt_data} naming pack and sample if a segment does not lie inside its sample.
void build_batch(const PlanSlice& slice, std::size_t index, std::uint64_t step, const SampleSource& samples,
                 PackedBatch& batch);

}  // namespace lockstep
