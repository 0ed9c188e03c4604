// io/corpus/digest_share.h
//
// A share of texts chosen by their digests alone, so that repetitions of one are
// always on the same side.

#pragma once

#include <cmath>
#include <cstdint>

#include "io/base/digest.h"

namespace lockstep {

class DigestShare {
  public:
    /// @param share  in [0, 1]: none to all.
    explicit DigestShare(double share) : end_(static_cast<std::uint64_t>(std::ldexp(share, 32))) {}
    bool contains(const Digest& text) const { return text.high >> 32U < end_; }

  private:
    std::uint64_t end_;  ///< Of the digests' upper 32 bits.
};

}  // namespace lockstep
