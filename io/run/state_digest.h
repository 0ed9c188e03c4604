// io/run/state_digest.h
//
// The state digest: one fingerprint of everything a run has become. It does not
// depend on the world size (docs/formats/run.md, DESIGN §6).

#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/run/checkpoint.h"

namespace lockstep {

/// Leaves of a tree over a flat float array: runs of 1 MiB, the last one shorter.
inline constexpr std::size_t state_leaf_elements = (std::size_t{1} << 20U) / sizeof(float);

Fingerprint state_leaf(std::span<const float> values);
/// Root over the leaves in order.
Fingerprint state_tree_root(std::span<const Fingerprint> leaves);

/// SHA-256 over "lockstep-state-v1", numerics id, model and plan fingerprints, cursor, s and counters,
/// ledger_root, and the three roots.
Fingerprint state_digest(const Cursor& cursor, const Fingerprint& weights_root,
                         const Fingerprint& adam_m_root, const Fingerprint& adam_v_root);

/// The state digest recomputed from a stored generation.
Fingerprint state_digest_of(const GenerationReader& generation, std::uint64_t state_elements);

}  // namespace lockstep
