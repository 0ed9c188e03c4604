// worker/step_forecast.h
//
// What a run will need and how fast it will be, before it starts: memory of a rank
// by purpose, and the time of a step from a short probe of this machine.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "io/base/ids.h"
#include "kernels/gemm.h"
#include "worker/model/transformer.h"
#include "worker/state_snapshot.h"

namespace lockstep {

/// Bytes of one rank, by purpose; of the rank whose slice of the state is the largest.
struct RankMemory {
    std::size_t program = 0;    ///< What this process holds now: code, libraries, plan.
    std::size_t weights = 0;    ///< All of them, on every rank.
    std::size_t adapters = 0;   ///< All of them, on every rank; 0 if the model is trained whole.
    std::size_t moments = 0;    ///< Adam's two, of this rank's slice.
    std::size_t exact_sum = 0;  ///< The gradient of a step, and what arrives of another rank's.
    std::size_t scratch = 0;    ///< Of the matrix products' threads.
    std::size_t attention = 0;  ///< Scratch of attention's threads.
    std::size_t snapshot = 0;   ///< The copy generations are written from.
    TransformerMemory transformer;
    std::size_t total() const {
        return program + weights + adapters + moments + exact_sum + scratch + attention + snapshot +
               transformer.total();
    }
};
RankMemory rank_memory(const ModelConfig& config, const Gemm& gemm, std::size_t tokens_max,
                       Activations activations, WorldSize world_size,
                       SnapshotMode snapshot = SnapshotMode::copy,
                       const std::optional<LoraSettings>& lora = {});

/// What this rank does in a second, as a step would ask for it.
struct MachineRate {
    double flop_per_second = 0;   ///< Matrix products of the model's shapes.
    double bytes_per_second = 0;  ///< Read and written by all threads, beyond the caches.
};
/// @param seconds  how long to measure, about.
MachineRate probe_machine(const ModelConfig& config, const Gemm& gemm, std::size_t tokens, double seconds,
                          const std::optional<LoraSettings>& lora = {});

/// Rate of OpenBLAS' plain float32 products of the model's shapes, one single-threaded call a thread: what a
/// step's useful operations are shown as a share of. Float32 under every numerical contract. [flop/s]
/// @param seconds  how long to measure, about.
double probe_sgemm(const ModelConfig& config, ThreadPool& pool, std::size_t tokens, double seconds,
                   const std::optional<LoraSettings>& lora = {});

/// Work of a step on average.
struct StepWork {
    double flop = 0;   ///< Useful operations of all ranks (flop_per_token).
    double packs = 0;  ///< Of the step.
};
/// Seconds of a step of `world_size` ranks alike; exchange between hosts is not in it.
/// @param state_elements  of what is trained.
double forecast_step_seconds(const StepWork& work, const MachineRate& rank, std::size_t state_elements,
                             WorldSize world_size);

}  // namespace lockstep
