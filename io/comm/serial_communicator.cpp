#include "io/comm/serial_communicator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"

namespace lockstep {

namespace {

void copy_bytes(std::span<const std::byte> from, std::span<std::byte> to) {
    // Source and destination may be the same block.
    if (!from.empty()) std::memmove(to.data(), from.data(), from.size());
}

class SelfReceive;

/// What one tag holds: messages nobody asked for yet, or receives nothing came for yet; never both.
struct Mailbox {
    std::deque<std::vector<std::byte>> messages;
    std::deque<SelfReceive*> receives;
};

using Mailboxes = std::map<int, Mailbox>;

/// Sends are buffered, so they are done at once.
class SelfSend : public PendingTransfer {
  public:
    bool test() override { return true; }
    void wait() override {}
};

class SelfReceive : public PendingTransfer {
  public:
    SelfReceive(std::span<std::byte> buffer, int tag, std::shared_ptr<Mailboxes> boxes)
        : buffer_(buffer), tag_(tag), boxes_(std::move(boxes)) {
        Mailbox& box = (*boxes_)[tag_];
        if (box.messages.empty()) {
            box.receives.push_back(this);
            return;
        }
        take(box.messages.front());
        box.messages.pop_front();
    }
    ~SelfReceive() override {
        if (!arrived_) std::erase((*boxes_)[tag_].receives, this);
    }
    SelfReceive(const SelfReceive&) = delete;
    SelfReceive& operator=(const SelfReceive&) = delete;

    void take(std::span<const std::byte> message) {
        arrived_ = true;
        message_bytes_ = message.size();
        if (message.size() == buffer_.size()) copy_bytes(message, buffer_);
    }

    bool test() override {
        if (!arrived_) return false;
        if (message_bytes_ != buffer_.size()) {
            throw Error(ErrorCode::bug, "receive with tag " + std::to_string(tag_) + " expected " +
                                            std::to_string(buffer_.size()) + " bytes; the message has " +
                                            std::to_string(message_bytes_));
        }
        return true;
    }

    void wait() override {
        // Nobody else is there to send it, so waiting for the deadline would change nothing.
        if (!test()) {
            throw Error(ErrorCode::peer_lost, "receive from rank 0 with tag " + std::to_string(tag_) +
                                                  ": nothing was sent, and this rank is the whole world");
        }
    }

  private:
    std::span<std::byte> buffer_;
    int tag_;
    std::shared_ptr<Mailboxes> boxes_;
    bool arrived_ = false;
    std::size_t message_bytes_ = 0;
};

class SerialCommunicator : public Communicator {
  public:
    Rank rank() const override { return Rank{0}; }
    WorldSize size() const override { return WorldSize{1}; }

    void set_phase(std::string) override {}
    void set_timeout(std::chrono::milliseconds) override {}

    void barrier() override {}
    void broadcast(std::span<std::byte>, Rank root) override { LOCKSTEP_EXPECTS(root == Rank{0}); }
    void sum(std::span<std::int64_t>) override {}
    void max(std::span<std::int64_t>) override {}

    void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
        LOCKSTEP_EXPECTS(all.size() == mine.size());
        copy_bytes(mine, all);
    }

    void all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                      std::span<const std::uint64_t> sizes) override {
        LOCKSTEP_EXPECTS(sizes.size() == 1 && sizes[0] == mine.size());
        LOCKSTEP_EXPECTS(all.size() == mine.size());
        copy_bytes(mine, all);
    }

    std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, Rank root) override {
        LOCKSTEP_EXPECTS(root == Rank{0});
        return {std::vector<std::byte>(mine.begin(), mine.end())};
    }

    std::unique_ptr<PendingTransfer> send(std::span<const std::byte> bytes, Rank to, int tag) override {
        LOCKSTEP_EXPECTS(to == Rank{0});
        LOCKSTEP_EXPECTS(tag >= 0 && tag < 32000);
        Mailbox& box = (*boxes_)[tag];
        if (box.receives.empty()) {
            box.messages.emplace_back(bytes.begin(), bytes.end());
        } else {
            box.receives.front()->take(bytes);
            box.receives.pop_front();
        }
        return std::make_unique<SelfSend>();
    }

    std::unique_ptr<PendingTransfer> receive(std::span<std::byte> bytes, Rank from, int tag) override {
        LOCKSTEP_EXPECTS(from == Rank{0});
        LOCKSTEP_EXPECTS(tag >= 0 && tag < 32000);
        return std::make_unique<SelfReceive>(bytes, tag, boxes_);
    }

    [[noreturn]] void abort(int exit_code) override {
        std::fflush(nullptr);
        std::_Exit(exit_code);
    }

  private:
    std::shared_ptr<Mailboxes> boxes_ = std::make_shared<Mailboxes>();
};

}  // namespace

std::unique_ptr<Communicator> make_serial_communicator() {
    return std::make_unique<SerialCommunicator>();
}

}  // namespace lockstep
