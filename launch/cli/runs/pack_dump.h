// launch/cli/runs/pack_dump.h
//
// Everything a replayed pack computes, as one safetensors file for other programs
// (docs/formats/model.md): batch, losses, logits, weights and gradient, the last
// two under their Hugging Face names; with adapters the weights of both, and their
// gradient.

#pragma once

#include <filesystem>

#include "worker/worker.h"

namespace lockstep {

/// @throws Error{output_exists, io_failure}.
void write_pack_dump(const std::filesystem::path& path, const TrainSettings& settings,
                     const Worker::PackResult& result, const Worker::PackDetails& details);

}  // namespace lockstep
