// coordinator/ingest/long_work.h
//
// Work that may take a rank hours, with the deadlines of every other operation:
// while it lasts all ranks meet every second, so that one that died or froze is
// missed, and one that failed is known to the others long before they are done.

#pragma once

#include <atomic>
#include <functional>
#include <string_view>

#include "io/comm/communicator.h"

namespace lockstep {

/// As `together` (io/comm/agreement.h); in a world of more than one rank `work` runs on a thread of its own.
/// @param work  told by its argument that another rank has failed; may then return early.
void together_for_long(Communicator& comm, std::string_view what,
                       const std::function<void(const std::atomic<bool>& others_failed)>& work);

}  // namespace lockstep
