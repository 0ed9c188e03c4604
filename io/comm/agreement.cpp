#include "io/comm/agreement.h"

#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace lockstep {

namespace {

/// An error as bytes: code, then the message.
std::vector<std::byte> encode(const Error& error) {
    const auto code = static_cast<std::int64_t>(error.code());
    const std::string_view message = error.what();
    std::vector<std::byte> bytes(sizeof code + message.size());
    std::memcpy(bytes.data(), &code, sizeof code);
    if (!message.empty()) std::memcpy(bytes.data() + sizeof code, message.data(), message.size());
    return bytes;
}

AgreedError decode(const std::vector<std::byte>& bytes, const std::string& prefix) {
    std::int64_t code = 0;
    if (bytes.size() < sizeof code) return {ErrorCode::bug, prefix + "an error arrived cut short"};
    std::memcpy(&code, bytes.data(), sizeof code);
    const auto* const text = reinterpret_cast<const char*>(bytes.data() + sizeof code);
    return {static_cast<ErrorCode>(code), prefix + std::string(text, bytes.size() - sizeof code)};
}

std::optional<Error> outcome_of(const std::function<void()>& work) {
    try {
        work();
        return std::nullopt;
    } catch (const Error& error) {
        // The ranks can no longer agree on anything.
        if (error.code() == ErrorCode::peer_lost) throw;
        return error;
    } catch (const std::exception& failure) {
        return error_of(failure);
    }
}

}  // namespace

void agree_or_throw(Communicator& comm, const std::optional<Error>& local_outcome) {
    const std::int64_t world = comm.size().value;
    const std::int64_t mine = comm.rank().value;
    // The maximum of (world - rank) over failing ranks is the lowest of them; 0 is none.
    std::int64_t lowest = local_outcome ? world - mine : 0;
    comm.max(std::span(&lowest, 1));
    if (lowest == 0) return;

    const Rank failing{static_cast<int>(world - lowest)};
    std::vector<std::byte> bytes;
    if (comm.rank() == failing) bytes = encode(*local_outcome);
    broadcast_bytes(comm, bytes, failing);
    throw decode(bytes, world > 1 ? "rank " + std::to_string(failing.value) + ": " : "");
}

void together(Communicator& comm, std::string_view what, const std::function<void()>& work) {
    const std::optional<Error> outcome = outcome_of(work);
    comm.set_phase(std::string(what));
    agree_or_throw(comm, outcome);
}

}  // namespace lockstep
