// kernels/thread_pool.h
//
// The one pool of threads of a process. Workers spin briefly, then sleep: nothing
// spins beside MPI. Work is split by rows or columns, never inside a sum, so the
// number of threads cannot change a bit.

#pragma once

#include <cstddef>
#include <memory>

#include "io/base/function_ref.h"

namespace lockstep {

class ThreadPool {
  public:
    /// @param threads  ≥ 1, the caller included. 1 starts no thread.
    /// @throws Error{environment} if one cannot be started.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const;

    /// Call body(i) for every i in [0, tasks), by any thread in any order, the caller included; returns when
    /// all are done. An exception of a body is rethrown here after all have ended. Not reentrant.
    void for_each(std::size_t tasks, FunctionRef<void(std::size_t)> body);

    /// Split [0, items) into at most size() ranges whose inner bounds are multiples of `grain`; body(begin,
    /// end).
    void for_ranges(std::size_t items, std::size_t grain, FunctionRef<void(std::size_t, std::size_t)> body);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
