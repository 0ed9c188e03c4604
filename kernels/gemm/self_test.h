// kernels/gemm/self_test.h
//
// Does a matrix product follow the numerical contract on this machine? Asked before
// any is used: an OpenBLAS of another core type, or a CPU that rounds in another way,
// would change the bits of a run in silence.

#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/gemm/parallel.h"

namespace lockstep {

class GemmSelfTest {
  public:
    /// On shapes that are always tested, and on `shapes`, capped so that all takes milliseconds.
    explicit GemmSelfTest(std::span<const GemmShape> shapes);

    std::size_t num_shapes() const { return shapes_.size(); }
    /// What differs first between the kernel and the contract's loop; nothing, if nothing does.
    std::optional<std::string> failure_of(ThreadPool& pool, GemmKernel kernel, GemmKernel contract) const;

  private:
    std::vector<GemmShape> shapes_;
    std::vector<float> values_, tiny_values_;
};

}  // namespace lockstep
