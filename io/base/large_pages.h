// io/base/large_pages.h
//
// Memory for columns of many millions of rows: asked for in large pages, so that
// scattered access does not spend its time on address translation, and not cleared
// before it is written.

#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace lockstep {

/// Elements are left uninitialised by resize(n).
template <class T>
struct LargePageAllocator {
    using value_type = T;
    static constexpr std::size_t page_bytes = std::size_t{2} << 20U;

    LargePageAllocator() = default;
    template <class U>
    LargePageAllocator(const LargePageAllocator<U>&) {}

    T* allocate(std::size_t count) {
        const std::size_t bytes = count * sizeof(T);
        if (bytes < page_bytes) return static_cast<T*>(::operator new(bytes));
        const std::size_t whole = (bytes + page_bytes - 1) / page_bytes * page_bytes;
        void* memory = std::aligned_alloc(page_bytes, whole);
        if (memory == nullptr) throw std::bad_alloc();
        // Advice: without it the memory is as good, only slower.
        madvise(memory, whole, MADV_HUGEPAGE);
        return static_cast<T*>(memory);
    }
    void deallocate(T* memory, std::size_t count) {
        if (count * sizeof(T) < page_bytes) {
            ::operator delete(memory);
        } else {
            std::free(memory);
        }
    }
    template <class U, class... Arguments>
    void construct(U* at, Arguments&&... arguments) {
        if constexpr (sizeof...(Arguments) == 0) {
            ::new (static_cast<void*>(at)) U;
        } else {
            ::new (static_cast<void*>(at)) U(std::forward<Arguments>(arguments)...);
        }
    }
    friend bool operator==(const LargePageAllocator&, const LargePageAllocator&) { return true; }
};

template <class T>
using LargeVector = std::vector<T, LargePageAllocator<T>>;

}  // namespace lockstep
