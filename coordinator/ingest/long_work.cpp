#include "coordinator/ingest/long_work.h"

#include <array>
#include <chrono>
#include <future>
#include <optional>
#include <string>
#include <system_error>

#include "io/base/error.h"
#include "io/comm/agreement.h"

namespace lockstep {

namespace {

constexpr std::chrono::seconds time_between_meetings{1};

using Outcome = std::optional<Error>;

class LongWork {
  public:
    LongWork(Communicator& comm, const std::function<void(const std::atomic<bool>&)>& work)
        : comm_(comm), work_(work) {
        try {
            running_ = std::async(std::launch::async, [this] { return run(); });
        } catch (const std::system_error& failure) {
            outcome_ = Error(ErrorCode::environment, "cannot start a thread: " + failure.code().message() +
                                                         "; raise the limit (ulimit -u)");
        }
    }
    /// Waits for the work: it uses what its caller owns.
    ~LongWork() { others_failed_ = true; }
    LongWork(const LongWork&) = delete;
    LongWork& operator=(const LongWork&) = delete;

    void finish() {
        for (bool anyone_works = true; anyone_works;) {
            if (running_.valid() && running_.wait_for(time_between_meetings) == std::future_status::ready)
                outcome_ = running_.get();
            std::array<std::int64_t, 2> state{running_.valid() ? 1 : 0, outcome_ ? 1 : 0};
            comm_.max(state);
            anyone_works = state[0] != 0;
            if (state[1] != 0) others_failed_ = true;
        }
        agree_or_throw(comm_, outcome_);
    }

  private:
    Outcome run() {
        try {
            work_(others_failed_);
        } catch (const std::exception& failure) {
            return error_of(failure);
        }
        return std::nullopt;
    }

    Communicator& comm_;
    const std::function<void(const std::atomic<bool>&)>& work_;
    std::atomic<bool> others_failed_ = false;
    Outcome outcome_;
    std::future<Outcome> running_;  ///< Last, so that it ends first.
};

}  // namespace

void together_for_long(Communicator& comm, std::string_view what,
                       const std::function<void(const std::atomic<bool>&)>& work) {
    if (comm.size().value == 1) {
        const std::atomic<bool> alone = false;
        together(comm, what, [&] { work(alone); });
        return;
    }
    comm.set_phase(std::string(what));
    LongWork(comm, work).finish();
}

}  // namespace lockstep
