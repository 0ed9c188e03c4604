#include "io/comm/communicator.h"

namespace lockstep {

void broadcast_bytes(Communicator& comm, std::vector<std::byte>& bytes, Rank root) {
    std::uint64_t num_bytes = bytes.size();
    broadcast_array(comm, std::span(&num_bytes, 1), root);
    bytes.resize(num_bytes);
    comm.broadcast(bytes, root);
}

}  // namespace lockstep
