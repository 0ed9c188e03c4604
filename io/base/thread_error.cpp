#include "io/base/thread_error.h"

#include <string>

#include "io/base/error.h"

namespace lockstep {

void throw_no_thread(std::size_t number, int threads, const std::system_error& failure) {
    throw Error(ErrorCode::environment, "cannot start thread " + std::to_string(number) + " of " +
                                            std::to_string(threads) + ": " + failure.code().message() +
                                            "; pass fewer --threads or raise the limit (ulimit -u)");
}

}  // namespace lockstep
