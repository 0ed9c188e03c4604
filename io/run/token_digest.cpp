#include "io/run/token_digest.h"

#include "io/base/contract.h"

namespace lockstep {

Digest token_digest(std::span<const std::uint32_t> token_ids, std::span<const std::uint32_t> position_ids,
                    std::span<const std::int32_t> targets, std::span<const std::int32_t> cu_seqlens) {
    LOCKSTEP_EXPECTS(position_ids.size() == token_ids.size() && targets.size() == token_ids.size());
    LOCKSTEP_EXPECTS(!cu_seqlens.empty());
    const std::uint64_t counts[2] = {token_ids.size(), cu_seqlens.size() - 1};
    DigestStream digest;
    digest.update(std::as_bytes(std::span(counts)));
    digest.update(std::as_bytes(token_ids));
    digest.update(std::as_bytes(position_ids));
    digest.update(std::as_bytes(targets));
    digest.update(std::as_bytes(cu_seqlens));
    return digest.value();
}

}  // namespace lockstep
