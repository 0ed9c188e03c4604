#include "io/token_digest.h"

// The state's own type, which the library hides otherwise.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "io/base/contract.h"

namespace lockstep {

Digest token_digest(std::span<const std::uint32_t> token_ids, std::span<const std::uint32_t> position_ids,
                    std::span<const std::int32_t> targets, std::span<const std::int32_t> cu_seqlens) {
    LOCKSTEP_EXPECTS(position_ids.size() == token_ids.size() && targets.size() == token_ids.size());
    LOCKSTEP_EXPECTS(!cu_seqlens.empty());
    const std::uint64_t counts[2] = {token_ids.size(), cu_seqlens.size() - 1};
    // On the stack, not a DigestStream: this is taken of every pack, and a step allocates nothing.
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    const auto update = [&](auto values) { XXH3_128bits_update(&state, values.data(), values.size_bytes()); };
    update(std::span(counts));
    update(token_ids);
    update(position_ids);
    update(targets);
    update(cu_seqlens);
    const XXH128_hash_t hash = XXH3_128bits_digest(&state);
    return {hash.low64, hash.high64};
}

}  // namespace lockstep
