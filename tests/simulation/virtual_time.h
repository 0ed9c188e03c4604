// tests/simulation/virtual_time.h
//
// One process that plays a cluster: fibers in simulated processes, on a clock that
// jumps from event to event. Which fiber runs next follows from time and order of
// arrival alone, so that a schedule happens the same way every time.

#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lockstep::simulation {

/// What unwinds a fiber whose process is gone. No std::exception, so that nothing takes it for an error.
struct ProcessEnded {};

class VirtualTime;
struct Fiber;

/// Fibers that live and die together.
struct Process {
    std::string name;
    bool dead = false;
    bool frozen = false;
    std::vector<Fiber*> fibers;  ///< Not ended yet.
    std::vector<Fiber*> held;    ///< Would have run, were the process not frozen.
};

class VirtualTime {
  public:
    VirtualTime();
    ~VirtualTime();
    VirtualTime(const VirtualTime&) = delete;
    VirtualTime& operator=(const VirtualTime&) = delete;

    /// The one that is running; null outside.
    static VirtualTime* current();

    double now() const { return now_; }  ///< [s]
    /// The process whose code is running. @pre inside a fiber.
    const std::shared_ptr<Process>& process() const;
    Fiber* fiber() const { return running_; }

    /// A fiber of `process`, which begins now. What it throws ends the schedule, ProcessEnded apart.
    void spawn(const std::shared_ptr<Process>& process, std::function<void()> work);
    /// Run until every fiber has ended. @throws what a fiber has thrown first; all others are unwound then.
    /// After `events_max` events it counts as one that does not end.
    void run(std::uint64_t events_max);

    // From inside a fiber. All throw ProcessEnded once the process is dead.
    void sleep(double seconds);
    /// Until wake(). @return false at the deadline. Never throws with `unwinding`.
    bool block(std::optional<double> deadline = {}, bool unwinding = false);
    void wake(Fiber* fiber);
    [[noreturn]] void exit_process(const std::shared_ptr<Process>& process);

    /// Its fibers unwind at once, before anything else happens, if they are not the caller.
    void kill(const std::shared_ptr<Process>& process);
    void freeze(Process& process) { process.frozen = true; }
    void thaw(Process& process);

    std::uint64_t events() const { return events_; }

  private:
    struct Event {
        double time;
        std::uint64_t order;
        Fiber* fiber;
        std::uint64_t sleep;  ///< Which sleep of the fiber it ends.
        bool operator>(const Event& other) const {
            return time != other.time ? time > other.time : order > other.order;
        }
    };
    void schedule(Fiber* fiber, double time);
    void suspend();
    void resume(Fiber* fiber);
    void fail(const std::exception_ptr& failure);

    double now_ = 0;
    std::uint64_t order_ = 0, events_ = 0;
    std::vector<Event> queue_;  ///< A heap.
    std::list<Fiber> fibers_;
    Fiber* running_ = nullptr;
    std::exception_ptr failure_;
    VirtualTime* before_;
};

}  // namespace lockstep::simulation
