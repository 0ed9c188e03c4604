#include "coordinator/wire.h"

#include <cstdint>
#include <cstring>

#include "io/base/digest.h"
#include "io/base/error.h"

namespace lockstep {

namespace {

struct FrameHead {
    std::uint64_t magic;
    std::uint64_t payload_bytes;
    std::uint64_t digest_low;
    std::uint64_t digest_high;
};

// "LKSTEP" and the version of the wire; a build that speaks otherwise must not be understood.
constexpr std::uint64_t wire_magic = 0x0001'5045'5453'4b4cULL;

}  // namespace

std::vector<std::byte> frame_message(std::span<const std::byte> payload) {
    const Digest digest = digest_of(payload);
    const FrameHead head{wire_magic, payload.size(), digest.low, digest.high};
    std::vector<std::byte> message(sizeof head + payload.size());
    std::memcpy(message.data(), &head, sizeof head);
    if (!payload.empty()) std::memcpy(message.data() + sizeof head, payload.data(), payload.size());
    return message;
}

std::span<const std::byte> unframe_message(std::span<const std::byte> message, const std::string& what) {
    FrameHead head{};
    if (message.size() >= sizeof head) std::memcpy(&head, message.data(), sizeof head);
    if (head.magic != wire_magic) {
        throw Error(ErrorCode::corrupt_data,
                    what + " does not begin as expected; start every rank from the same lockstep binary");
    }
    const auto payload = message.subspan(sizeof head);
    if (payload.size() != head.payload_bytes) {
        throw Error(ErrorCode::corrupt_data, what + " has " + std::to_string(payload.size()) +
                                                 " bytes, expected " + std::to_string(head.payload_bytes));
    }
    const Digest expected{head.digest_low, head.digest_high};
    const Digest found = digest_of(payload);
    if (found != expected) {
        throw Error(ErrorCode::corrupt_data, what + " was altered on its way: digest " + found.hex() +
                                                 ", expected " + expected.hex() +
                                                 "; check this host's memory and network");
    }
    return payload;
}

}  // namespace lockstep
