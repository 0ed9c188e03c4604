#include "tests/simulation/simulated_world.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "io/base/error.h"

namespace lockstep::simulation {

namespace {

using Bytes = SimulatedWorld::Bytes;

constexpr double message_seconds = 0.0005;

Bytes bytes_of(std::span<const std::byte> span) {
    return {span.begin(), span.end()};
}

void copy_to(const Bytes& from, std::span<std::byte> to) {
    if (from.size() != to.size()) throw Error(ErrorCode::bug, "ranks bring different sizes to a collective");
    if (!to.empty()) std::memcpy(to.data(), from.data(), to.size());
}

class Sent : public PendingTransfer {
  public:
    bool test() override { return true; }
    void wait() override {}
};

class Awaited : public PendingTransfer {
  public:
    Awaited(SimulatedWorld& world, std::span<std::byte> out, int from, int to, int tag, std::string phase)
        : world_(world), out_(out), from_(from), to_(to), tag_(tag), phase_(std::move(phase)) {}
    bool test() override {
        if (!done_ && world_.has_mail(from_, to_, tag_)) wait();
        return done_;
    }
    void wait() override {
        if (!done_) copy_to(world_.receive(from_, to_, tag_, phase_), out_);
        done_ = true;
    }

  private:
    SimulatedWorld& world_;
    std::span<std::byte> out_;
    int from_, to_, tag_;
    std::string phase_;
    bool done_ = false;
};

class SimulatedCommunicator : public Communicator {
  public:
    SimulatedCommunicator(SimulatedWorld& world, Rank rank) : world_(world), rank_(rank) {}

    Rank rank() const override { return rank_; }
    WorldSize size() const override { return WorldSize{world_.size()}; }
    void set_phase(std::string phase) override { phase_ = std::move(phase); }
    void set_timeout(std::chrono::milliseconds) override {}

    void barrier() override { world_.exchange(rank_, {}, phase_); }
    void broadcast(std::span<std::byte> bytes, Rank root) override {
        const auto all = world_.exchange(rank_, rank_ == root ? bytes_of(bytes) : Bytes(), phase_);
        if (rank_ != root) copy_to((*all)[static_cast<std::size_t>(root.value)], bytes);
    }
    void sum(std::span<std::int64_t> values) override {
        combine(values, [](std::int64_t a, std::int64_t b) {
            return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
        });
    }
    void max(std::span<std::int64_t> values) override {
        combine(values, [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
    }
    void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
        const auto blocks = world_.exchange(rank_, bytes_of(mine), phase_);
        for (std::size_t r = 0; r < blocks->size(); ++r) {
            copy_to((*blocks)[r], all.subspan(r * mine.size(), mine.size()));
        }
    }
    void all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                      std::span<const std::uint64_t> sizes) override {
        const auto blocks = world_.exchange(rank_, bytes_of(mine), phase_);
        for (std::size_t r = 0, at = 0; r < blocks->size(); at += sizes[r], ++r) {
            copy_to((*blocks)[r], all.subspan(at, sizes[r]));
        }
    }
    std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, Rank root) override {
        const auto all = world_.exchange(rank_, bytes_of(mine), phase_);
        if (rank_ != root) return {};
        return *all;
    }
    std::unique_ptr<PendingTransfer> send(std::span<const std::byte> bytes, Rank to, int tag) override {
        world_.send(rank_.value, to.value, tag, bytes_of(bytes));
        return std::make_unique<Sent>();
    }
    std::unique_ptr<PendingTransfer> receive(std::span<std::byte> bytes, Rank from, int tag) override {
        return std::make_unique<Awaited>(world_, bytes, from.value, rank_.value, tag, phase_);
    }
    [[noreturn]] void abort(int) override { world_.time().exit_process(world_.time().process()); }

  private:
    template <class Operation>
    void combine(std::span<std::int64_t> values, Operation operation) {
        const auto all = world_.exchange(rank_, bytes_of(std::as_bytes(values)), phase_);
        copy_to(all->front(), std::as_writable_bytes(values));
        std::vector<std::int64_t> other(values.size());
        for (std::size_t r = 1; r < all->size(); ++r) {
            copy_to((*all)[r], std::as_writable_bytes(std::span(other)));
            std::transform(values.begin(), values.end(), other.begin(), values.begin(), operation);
        }
    }

    SimulatedWorld& world_;
    Rank rank_;
    std::string phase_;
};

}  // namespace

std::unique_ptr<Communicator> SimulatedWorld::communicator(Rank rank) {
    return std::make_unique<SimulatedCommunicator>(*this, rank);
}

std::shared_ptr<const std::vector<Bytes>> SimulatedWorld::exchange(Rank rank, Bytes mine,
                                                                   const std::string& phase) {
    const std::uint64_t number = done_[static_cast<std::size_t>(rank.value)]++;
    Meeting& meeting = meetings_[number];
    if (!meeting.contributions) {
        meeting.contributions = std::make_shared<std::vector<Bytes>>(static_cast<std::size_t>(size_));
    }
    (*meeting.contributions)[static_cast<std::size_t>(rank.value)] = std::move(mine);
    ++meeting.came;
    const double deadline = time_.now() + timeout_;
    const auto complete = [&] { return meeting.came == size_; };
    if (complete()) {
        for (Fiber* const fiber : std::exchange(meeting.waiting, {})) time_.wake(fiber);
        time_.sleep(message_seconds);
    }
    while (!complete()) {
        meeting.waiting.push_back(time_.fiber());
        if (!time_.block(deadline) && !complete()) {
            throw Error(ErrorCode::peer_lost, phase + " was not complete at its deadline");
        }
    }
    const auto all = meeting.contributions;
    if (++meeting.left == size_) meetings_.erase(number);
    return all;
}

void SimulatedWorld::send(int from, int to, int tag, Bytes bytes) {
    mail_[{from, to, tag}].push_back(std::move(bytes));
}

bool SimulatedWorld::has_mail(int from, int to, int tag) const {
    const auto box = mail_.find({from, to, tag});
    return box != mail_.end() && !box->second.empty();
}

Bytes SimulatedWorld::receive(int from, int to, int tag, const std::string& phase) {
    auto& box = mail_[{from, to, tag}];
    const double deadline = time_.now() + timeout_;
    while (box.empty()) {
        if (time_.now() >= deadline) throw Error(ErrorCode::peer_lost, phase + ": no message came");
        time_.sleep(message_seconds);
    }
    Bytes bytes = std::move(box.front());
    box.pop_front();
    return bytes;
}

}  // namespace lockstep::simulation
