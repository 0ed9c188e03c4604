// io/comm/agreement.h
//
// A rank that fails alone would leave the others waiting. So fallible local work
// ends in a named collective, after which all ranks continue or all stop.

#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "io/base/error.h"
#include "io/comm/communicator.h"

namespace lockstep {

/// An error all ranks have agreed on: every rank throws it, so one needs to print it, and all can end in
/// order.
class AgreedError : public Error {
  public:
    using Error::Error;
};

/// Collective. If any rank brings an error, every rank throws the lowest failing rank's error as AgreedError
/// (same code; message prefixed "rank 3: " when the world is larger than one).
void agree_or_throw(Communicator& comm, const std::optional<Error>& local_outcome);

/// Run `work`, catch what it throws (std::exception becomes ErrorCode::bug), then agree. `work` is local: a
/// collective inside it would leave the ranks out of step. A peer_lost from it is rethrown at once, without
/// agreeing.
/// @param what  the phase set on the communicator while agreeing ("loading the plan").
void together(Communicator& comm, std::string_view what, const std::function<void()>& work);

}  // namespace lockstep
