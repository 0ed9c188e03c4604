#include "tests/simulation/virtual_time.h"

#include <cxxabi.h>

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>
#include <boost/context/stack_context.hpp>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "tests/support/sanitizers.h"

#ifdef LOCKSTEP_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace lockstep::simulation {

namespace context = boost::context;

namespace {

#ifdef LOCKSTEP_ADDRESS_SANITIZER
constexpr std::size_t stack_bytes = std::size_t{2} << 20U;
#else
constexpr std::size_t stack_bytes = std::size_t{256} << 10U;
#endif

/// Stacks are used again: a schedule needs some dozens, a night millions of them.
class StackPool {
  public:
    std::unique_ptr<std::byte[]> take() {
        if (free_.empty()) return std::unique_ptr<std::byte[]>(new std::byte[stack_bytes]);
        std::unique_ptr<std::byte[]> stack = std::move(free_.back());
        free_.pop_back();
#ifdef LOCKSTEP_ADDRESS_SANITIZER
        ASAN_UNPOISON_MEMORY_REGION(stack.get(), stack_bytes);
#endif
        return stack;
    }
    void give(std::unique_ptr<std::byte[]> stack) {
        free_.push_back(std::move(stack));
    }

  private:
    std::vector<std::unique_ptr<std::byte[]>> free_;
};

StackPool& stacks() {
    static StackPool pool;
    return pool;
}

struct PooledStack {
    context::stack_context allocate() {
        context::stack_context made;
        made.size = stack_bytes;
        made.sp = stacks().take().release() + stack_bytes;
        return made;
    }
    void deallocate(context::stack_context& made) {
        stacks().give(std::unique_ptr<std::byte[]>(static_cast<std::byte*>(made.sp) - stack_bytes));
    }
};

/// The exceptions a thread is handling: a fiber may be left inside a handler.
struct HandledExceptions {
    void* caught = nullptr;
    unsigned uncaught = 0;

    void exchange() {
        auto* const mine = reinterpret_cast<HandledExceptions*>(abi::__cxa_get_globals());
        std::swap(caught, mine->caught);
        std::swap(uncaught, mine->uncaught);
    }
};

VirtualTime* present = nullptr;

}  // namespace

struct Fiber {
    std::shared_ptr<Process> process;
    std::function<void()> work;
    context::fiber self;   ///< Where it goes on.
    context::fiber outer;  ///< Where the loop goes on.
    HandledExceptions exceptions;
    std::uint64_t sleep = 0;  ///< Counts them, so that an old event wakes nobody.
    bool ended = false;
    bool timed_out = false;
    std::exception_ptr failure;
#ifdef LOCKSTEP_ADDRESS_SANITIZER
    void* fake_stack = nullptr;
    const void* stack_bottom = nullptr;
    const void* outer_bottom = nullptr;
    std::size_t outer_bytes = 0;
#endif
};

VirtualTime::VirtualTime() : before_(std::exchange(present, this)) {}

VirtualTime::~VirtualTime() {
    present = before_;
}

VirtualTime* VirtualTime::current() {
    return present;
}

const std::shared_ptr<Process>& VirtualTime::process() const {
    return running_->process;
}

void VirtualTime::schedule(Fiber* fiber, double time) {
    queue_.push_back({time, order_++, fiber, fiber->sleep});
    std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
}

void VirtualTime::spawn(const std::shared_ptr<Process>& process, std::function<void()> work) {
    Fiber* const fiber = &fibers_.emplace_back();
    fiber->process = process;
    fiber->work = std::move(work);
    process->fibers.push_back(fiber);
    const context::stack_context stack = PooledStack().allocate();
#ifdef LOCKSTEP_ADDRESS_SANITIZER
    fiber->stack_bottom = static_cast<std::byte*>(stack.sp) - stack.size;
#endif
    const context::preallocated place(stack.sp, stack.size, stack);
    fiber->self = context::fiber(std::allocator_arg, place, PooledStack(), [fiber](context::fiber&& outer) {
        fiber->outer = std::move(outer);
#ifdef LOCKSTEP_ADDRESS_SANITIZER
        __sanitizer_finish_switch_fiber(nullptr, &fiber->outer_bottom, &fiber->outer_bytes);
#endif
        try {
            fiber->work();
        } catch (const ProcessEnded&) {
        } catch (...) {
            fiber->failure = std::current_exception();
        }
        fiber->work = nullptr;
        fiber->ended = true;
#ifdef LOCKSTEP_ADDRESS_SANITIZER
        __sanitizer_start_switch_fiber(nullptr, fiber->outer_bottom, fiber->outer_bytes);
#endif
        return std::move(fiber->outer);
    });
    schedule(fiber, now_);
}

void VirtualTime::resume(Fiber* fiber) {
    running_ = fiber;
    fiber->exceptions.exchange();
#ifdef LOCKSTEP_ADDRESS_SANITIZER
    void* fake_stack = nullptr;
    // The bounds of a stack whose frames are somewhere in it: all that is asked for.
    __sanitizer_start_switch_fiber(&fake_stack, fiber->stack_bottom, stack_bytes);
#endif
    fiber->self = std::move(fiber->self).resume();
#ifdef LOCKSTEP_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
    fiber->exceptions.exchange();
    running_ = nullptr;
}

void VirtualTime::suspend() {
    Fiber* const fiber = running_;
#ifdef LOCKSTEP_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(&fiber->fake_stack, fiber->outer_bottom, fiber->outer_bytes);
#endif
    fiber->outer = std::move(fiber->outer).resume();
#ifdef LOCKSTEP_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &fiber->outer_bottom, &fiber->outer_bytes);
#endif
}

void VirtualTime::run(std::uint64_t events_max) {
    while (!queue_.empty()) {
        std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
        const Event event = queue_.back();
        queue_.pop_back();
        Fiber* const fiber = event.fiber;
        if (fiber->ended || event.sleep != fiber->sleep) continue;
        if (++events_ % events_max == 0) fail(std::make_exception_ptr(std::runtime_error("it does not end")));
        now_ = std::max(now_, event.time);
        if (fiber->process->frozen && !fiber->process->dead) {
            fiber->process->held.push_back(fiber);
            continue;
        }
        resume(fiber);
        if (!fiber->ended) continue;
        std::erase(fiber->process->fibers, fiber);
        if (fiber->failure) fail(fiber->failure);
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

/// Everything unwinds; the first failure is what run() throws.
void VirtualTime::fail(const std::exception_ptr& failure) {
    if (!failure_) failure_ = failure;
    for (const Fiber& fiber : fibers_) {
        if (!fiber.ended) kill(fiber.process);
    }
}

bool VirtualTime::block(std::optional<double> deadline, bool unwinding) {
    Fiber* const fiber = running_;
    if (fiber->process->dead && !unwinding) throw ProcessEnded();
    ++fiber->sleep;
    if (deadline) schedule(fiber, *deadline);
    fiber->timed_out = deadline.has_value();
    suspend();
    if (fiber->process->dead && !unwinding) throw ProcessEnded();
    return !fiber->timed_out;
}

void VirtualTime::sleep(double seconds) {
    block(now_ + seconds);
}

void VirtualTime::wake(Fiber* fiber) {
    if (fiber->ended) return;
    ++fiber->sleep;
    fiber->timed_out = false;
    schedule(fiber, now_);
}

void VirtualTime::kill(const std::shared_ptr<Process>& process) {
    if (process->dead) return;
    process->dead = true;
    process->frozen = false;
    process->held.clear();
    for (Fiber* const fiber : process->fibers) {
        if (fiber != running_) wake(fiber);
    }
}

void VirtualTime::exit_process(const std::shared_ptr<Process>& process) {
    kill(process);
    throw ProcessEnded();
}

void VirtualTime::thaw(Process& process) {
    process.frozen = false;
    for (Fiber* const fiber : std::exchange(process.held, {})) {
        // As it would have gone on: at its deadline or woken.
        schedule(fiber, now_);
    }
}

}  // namespace lockstep::simulation
