// worker/background_task.h and io/files/commit_hook.h on virtual time: the thread beside
// the loop is a fiber, and what belongs to a thread belongs to one. They take the
// place of the real ones at link time.

#include <utility>

#include "io/base/contract.h"
#include "io/files/commit_hook.h"
#include "tests/simulation/virtual_time.h"
#include "worker/background_task.h"

namespace lockstep {

using simulation::VirtualTime;

// The members of the header serve as they are but for the thread, which never starts, and its alarm.
BackgroundTask::Alarm::Alarm() : timer_(-1) {}
BackgroundTask::Alarm::~Alarm() = default;

BackgroundTask::BackgroundTask() = default;

BackgroundTask::~BackgroundTask() {
    ending_ = true;
    // What it works on ends with this, so not before it has.
    VirtualTime& time = *VirtualTime::current();
    while (work_ != nullptr) time.block(time.now() + 0.001, true);
}

void BackgroundTask::begin(std::function<void()> work) {
    LOCKSTEP_EXPECTS(work != nullptr && work_ == nullptr);
    work_ = std::move(work);
    failure_.reset();
    VirtualTime& time = *VirtualTime::current();
    time.spawn(time.process(), [this] { serve(); });
}

void BackgroundTask::serve() {
    // Also when the process ends under it.
    struct Done {
        BackgroundTask& task;
        ~Done() { task.work_ = nullptr; }
    } const done{*this};
    try {
        work_();
    } catch (const std::exception& exception) {
        failure_ = error_of(exception);
    }
}

bool BackgroundTask::busy() const {
    return work_ != nullptr;
}

void BackgroundTask::wait() const {
    VirtualTime& time = *VirtualTime::current();
    while (work_ != nullptr) time.sleep(0.01);
}

std::optional<Error> BackgroundTask::failure() const {
    LOCKSTEP_EXPECTS(!work_);
    return failure_;
}

// Calls on files are where processes are killed here; the points are for tests with a real disk.
void set_commit_hook(std::function<void(std::string_view)>) {}
CommitScope::CommitScope(std::string_view) {}
CommitScope::~CommitScope() = default;
void commit_point(std::string_view) {}

}  // namespace lockstep
