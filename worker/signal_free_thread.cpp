#include "worker/signal_free_thread.h"

#include <csignal>
#include <utility>

namespace lockstep {

namespace {

/// While it lives, the calling thread takes no signals.
class BlockedSignals {
  public:
    BlockedSignals() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    BlockedSignals(const BlockedSignals&) = delete;
    BlockedSignals& operator=(const BlockedSignals&) = delete;

  private:
    sigset_t before_;
};

}  // namespace

std::thread start_signal_free(std::function<void()> body) {
    // A thread begins with its maker's mask.
    const BlockedSignals blocked;
    return std::thread(std::move(body));
}

}  // namespace lockstep
