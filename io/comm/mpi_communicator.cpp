#include "io/comm/mpi_communicator.h"

// The C interface is all we use; the C++ bindings are deprecated and full of warnings.
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <thread>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/comm/fabric_devices.h"

namespace lockstep {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int user_tag_end = 32000;  // MPI guarantees tags up to 32767; ours stand above the user's.
constexpr int exchange_tag = 32001;
constexpr int ping_tag = 32002;
constexpr int pong_tag = 32003;

/// MPI counts are int, so longer messages go in pieces.
constexpr std::size_t message_bytes_max = std::size_t{1} << 30U;
/// Collectives run through a buffer of our own of this size (see Orphan).
constexpr std::size_t bounce_bytes_max = std::size_t{16} << 20U;
/// How long a rank that gave up waits for signs of life before it names the silent ones.
constexpr std::chrono::milliseconds ping_time{500};
/// Silent ranks described one by one in a message; of more, only the numbers are said.
constexpr std::size_t described_ranks_max = 4;

/// Operations left unfinished for ever. While there is one, MPI is not finalized: it might wait for it.
int abandoned_operations = 0;

std::string mpi_message(int code) {
    char text[MPI_MAX_ERROR_STRING] = {};
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return "MPI error " + std::to_string(code);
    return {text, static_cast<std::size_t>(length)};
}

std::string duration_text(std::chrono::milliseconds duration) {
    const auto count = duration.count();
    return count % 1000 == 0 ? std::to_string(count / 1000) + " s" : std::to_string(count) + " ms";
}

std::string ranks_text(const std::vector<int>& ranks) {
    std::string text = ranks.size() == 1 ? "rank " : "ranks ";
    for (std::size_t i = 0; i < ranks.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
    return text;
}

/// Spin first, since most waits are short; then sleep, longer and longer, since ranks may share a core.
class Backoff {
  public:
    /// @return true when it slept, so the time is there for a look at other things.
    bool pause() {
        constexpr int num_spins = 200;
        if (++polls_ <= num_spins) return false;
        std::this_thread::sleep_for(sleep_);
        sleep_ = std::min(sleep_ * 5 / 4, std::chrono::microseconds(200));
        return true;
    }

  private:
    int polls_ = 0;
    std::chrono::microseconds sleep_{20};
};

/// A collective that missed its deadline. MPI cannot cancel it and may still write, so it keeps its buffer.
struct Orphan {
    MPI_Request request;
    std::vector<std::byte> buffer;
};

class MpiCommunicator;

/// Messages between this rank and one or more others, all in user memory.
class Exchange {
  public:
    explicit Exchange(MpiCommunicator& comm) : comm_(comm) {}
    ~Exchange();
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    void send(std::span<const std::byte> bytes, int to, int tag);
    void receive(std::span<std::byte> bytes, int from, int tag);
    /// True once every message is through.
    bool test(const char* operation);
    void wait(const char* operation);

  private:
    struct Message {
        int peer;
        int bytes;
        bool incoming;
    };
    void check(const char* operation, const Message& message, const MPI_Status& status);
    std::vector<int> unfinished_peers() const;

    MpiCommunicator& comm_;
    std::vector<MPI_Request> requests_;
    std::vector<Message> messages_;
    std::vector<MPI_Status> statuses_;
    bool done_ = false;
};

class MpiCommunicator : public Communicator {
  public:
    explicit MpiCommunicator(MPI_Comm parent) {
        check("MPI_Comm_dup", MPI_Comm_dup(parent, &comm_));
        check("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
        check("MPI_Comm_rank", MPI_Comm_rank(comm_, &rank_));
        check("MPI_Comm_size", MPI_Comm_size(comm_, &size_));
    }

    ~MpiCommunicator() override {
        int finalized = 0;
        MPI_Finalized(&finalized);
        if (finalized != 0) return;
        drain_orphans();
        if (orphans_.empty()) {
            MPI_Comm_free(&comm_);
            return;
        }
        abandoned_operations += static_cast<int>(orphans_.size());
        keep_until_exit(std::move(orphans_));
    }
    MpiCommunicator(const MpiCommunicator&) = delete;
    MpiCommunicator& operator=(const MpiCommunicator&) = delete;

    Rank rank() const override { return Rank{rank_}; }
    WorldSize size() const override { return WorldSize{size_}; }
    void set_phase(std::string phase) override { phase_ = std::move(phase); }
    void set_timeout(std::chrono::milliseconds timeout) override { timeout_ = timeout; }
    void set_witness(std::function<std::string(Rank)> witness) override { witness_ = std::move(witness); }

    void barrier() override {
        expect_sound("barrier");
        MPI_Request request = MPI_REQUEST_NULL;
        check("barrier", MPI_Ibarrier(comm_, &request));
        wait_collective("barrier", request);
    }

    void broadcast(std::span<std::byte> bytes, Rank root) override {
        LOCKSTEP_EXPECTS(root.value >= 0 && root.value < size_);
        expect_sound("broadcast");
        const bool is_root = root.value == rank_;
        for_each_piece("broadcast", bytes, is_root, !is_root,
                       [&](std::span<std::byte> piece, MPI_Request* request) {
                           return MPI_Ibcast(piece.data(), static_cast<int>(piece.size()), MPI_BYTE,
                                             root.value, comm_, request);
                       });
    }

    void sum(std::span<std::int64_t> values) override {
        // Unsigned, so that wrapping round is defined.
        all_reduce("sum", values, MPI_UINT64_T, MPI_SUM);
    }
    void max(std::span<std::int64_t> values) override { all_reduce("max", values, MPI_INT64_T, MPI_MAX); }

    void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
        LOCKSTEP_EXPECTS(all.size() == mine.size() * static_cast<std::size_t>(size_));
        const std::vector<std::uint64_t> sizes(static_cast<std::size_t>(size_), mine.size());
        exchange_blocks("all_gather", mine, all, sizes);
    }

    void all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                      std::span<const std::uint64_t> sizes) override {
        LOCKSTEP_EXPECTS(sizes.size() == static_cast<std::size_t>(size_));
        LOCKSTEP_EXPECTS(sizes[static_cast<std::size_t>(rank_)] == mine.size());
        exchange_blocks("all_gather_v", mine, all, sizes);
    }

    std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, Rank root) override {
        LOCKSTEP_EXPECTS(root.value >= 0 && root.value < size_);
        const std::uint64_t mine_bytes = mine.size();
        std::vector<std::uint64_t> sizes(static_cast<std::size_t>(size_), mine_bytes);
        const std::vector<std::uint64_t> one(sizes.size(), sizeof mine_bytes);
        exchange_blocks("gather", std::as_bytes(std::span(&mine_bytes, 1)),
                        std::as_writable_bytes(std::span(sizes)), one);

        Exchange exchange(*this);
        std::vector<std::vector<std::byte>> messages;
        if (rank_ == root.value) {
            messages.resize(sizes.size());
            for (int peer = 0; peer < size_; ++peer) {
                const auto index = static_cast<std::size_t>(peer);
                messages[index].resize(sizes[index]);
                if (peer != rank_) exchange.receive(messages[index], peer, exchange_tag);
            }
            std::copy(mine.begin(), mine.end(), messages[static_cast<std::size_t>(rank_)].begin());
        } else {
            exchange.send(mine, root.value, exchange_tag);
        }
        exchange.wait("gather");
        return messages;
    }

    std::unique_ptr<PendingTransfer> send(std::span<const std::byte> bytes, Rank to, int tag) override;
    std::unique_ptr<PendingTransfer> receive(std::span<std::byte> bytes, Rank from, int tag) override;

    [[noreturn]] void abort(int exit_code) override {
        std::fflush(nullptr);
        MPI_Abort(comm_, exit_code);
        std::_Exit(exit_code);
    }

    MPI_Comm handle() const { return comm_; }

    /// After a loss the ranks are out of step: whatever follows fails at once instead of waiting again.
    void expect_sound(const char* operation) const {
        if (lost_) {
            throw Error(ErrorCode::peer_lost,
                        where(operation) + ": a peer was lost before; end this process");
        }
    }

    /// @throws Error{peer_lost} unless `code` is MPI_SUCCESS.
    void check(const char* operation, int code) {
        if (code == MPI_SUCCESS) return;
        lost_ = true;
        throw Error(ErrorCode::peer_lost, where(operation) + ": " + mpi_message(code));
    }

    /// Poll until `is_done` or the deadline, answering other ranks' pings. @return false at the deadline.
    template <class IsDone>
    bool poll(const IsDone& is_done) {
        const Clock::time_point deadline = Clock::now() + timeout_;
        Backoff backoff;
        while (!is_done()) {
            if (!backoff.pause()) continue;
            answer_pings();
            if (Clock::now() >= deadline) return is_done();
        }
        return true;
    }

    /// Name those of `suspects` (all other ranks, if empty) that give no sign of life.
    [[noreturn]] void give_up(const char* operation, std::vector<int> suspects) {
        lost_ = true;
        if (suspects.empty()) {
            for (int peer = 0; peer < size_; ++peer) {
                if (peer != rank_) suspects.push_back(peer);
            }
        }
        const std::vector<bool> answered = ping_all();
        std::vector<int> silent;
        for (const int peer : suspects) {
            if (!answered[static_cast<std::size_t>(peer)]) silent.push_back(peer);
        }
        std::string message = where(operation) + " was not complete after " + duration_text(timeout_) + "; ";
        if (silent.empty()) {
            message += "still waiting for " + ranks_text(suspects) + ", alive but waiting for something else";
        } else {
            message += "not heard from " + silent_text(silent) + ", dead, stopped or far behind";
        }
        throw Error(ErrorCode::peer_lost,
                    message + "; resume the run, or allow more time with --hang-timeout");
    }

  private:
    std::string where(const char* operation) const {
        return phase_.empty() ? std::string(operation) : phase_ + ": " + operation;
    }

    std::string silent_text(const std::vector<int>& silent) const {
        if (!witness_ || silent.size() > described_ranks_max) return ranks_text(silent);
        std::string text;
        for (const int rank : silent) {
            text += (text.empty() ? "" : " and ") + witness_(Rank{rank});
        }
        return text;
    }

    void wait_collective(const char* operation, MPI_Request request) {
        int code = MPI_SUCCESS;
        const bool done = poll([&] {
            int flag = 0;
            code = MPI_Test(&request, &flag, MPI_STATUS_IGNORE);
            return code != MPI_SUCCESS || flag != 0;
        });
        check(operation, code);
        if (done) return;
        orphans_.push_back({request, std::move(bounce_)});
        bounce_.clear();
        give_up(operation, {});
    }

    /// Run a collective piece by piece through the bounce buffer: at a missed deadline the buffer stays with
    /// MPI, and the caller's memory is free to go.
    template <class Start>
    void for_each_piece(const char* operation, std::span<std::byte> bytes, bool copy_in, bool copy_out,
                        const Start& start) {
        for (std::size_t begin = 0; begin < bytes.size(); begin += bounce_bytes_max) {
            const auto piece = bytes.subspan(begin, std::min(bounce_bytes_max, bytes.size() - begin));
            if (bounce_.size() < piece.size()) bounce_.resize(piece.size());
            const std::span<std::byte> bounce(bounce_.data(), piece.size());
            if (copy_in) std::memcpy(bounce.data(), piece.data(), piece.size());
            MPI_Request request = MPI_REQUEST_NULL;
            check(operation, start(bounce, &request));
            wait_collective(operation, request);
            if (copy_out) std::memcpy(piece.data(), bounce_.data(), piece.size());
        }
    }

    void all_reduce(const char* operation, std::span<std::int64_t> values, MPI_Datatype type, MPI_Op op) {
        expect_sound(operation);
        static_assert(bounce_bytes_max % sizeof(std::int64_t) == 0);
        for_each_piece(operation, std::as_writable_bytes(values), true, true,
                       [&](std::span<std::byte> piece, MPI_Request* request) {
                           const int count = static_cast<int>(piece.size() / sizeof(std::int64_t));
                           return MPI_Iallreduce(MPI_IN_PLACE, piece.data(), count, type, op, comm_, request);
                       });
    }

    /// Everyone's block to everyone, pairwise: any length, straight into place, and a silent rank is known by
    /// name.
    void exchange_blocks(const char* operation, std::span<const std::byte> mine, std::span<std::byte> all,
                         std::span<const std::uint64_t> sizes) {
        expect_sound(operation);
        std::vector<std::size_t> begin(sizes.size() + 1, 0);
        for (std::size_t i = 0; i < sizes.size(); ++i) begin[i + 1] = begin[i] + sizes[i];
        LOCKSTEP_EXPECTS(all.size() == begin.back());

        Exchange exchange(*this);
        for (int distance = 1; distance < size_; ++distance) {
            const int from = (rank_ + size_ - distance) % size_;
            const auto index = static_cast<std::size_t>(from);
            exchange.receive(all.subspan(begin[index], sizes[index]), from, exchange_tag);
        }
        for (int distance = 1; distance < size_; ++distance) {
            exchange.send(mine, (rank_ + distance) % size_, exchange_tag);
        }
        if (!mine.empty()) {
            std::memmove(all.data() + begin[static_cast<std::size_t>(rank_)], mine.data(), mine.size());
        }
        exchange.wait(operation);
    }

    /// @return true, and who, when an empty message with this tag was there.
    bool take_empty_message(int tag, int& source) {
        int flag = 0;
        MPI_Status status;
        if (MPI_Iprobe(MPI_ANY_SOURCE, tag, comm_, &flag, &status) != MPI_SUCCESS || flag == 0) return false;
        source = status.MPI_SOURCE;
        return MPI_Recv(nullptr, 0, MPI_BYTE, source, tag, comm_, MPI_STATUS_IGNORE) == MPI_SUCCESS;
    }

    void send_empty_message(int tag, int to) {
        MPI_Request request = MPI_REQUEST_NULL;
        if (MPI_Isend(nullptr, 0, MPI_BYTE, to, tag, comm_, &request) == MPI_SUCCESS)
            MPI_Request_free(&request);
    }

    void answer_pings() {
        int source = 0;
        while (take_empty_message(ping_tag, source)) send_empty_message(pong_tag, source);
    }

    /// Ask every rank for a sign of life. A rank that waits in any operation answers; so does one giving up
    /// itself.
    std::vector<bool> ping_all() {
        std::vector<bool> answered(static_cast<std::size_t>(size_), false);
        answered[static_cast<std::size_t>(rank_)] = true;
        for (int peer = 0; peer < size_; ++peer) {
            if (peer != rank_) send_empty_message(ping_tag, peer);
        }
        const Clock::time_point deadline = Clock::now() + ping_time;
        while (Clock::now() < deadline) {
            answer_pings();
            int source = 0;
            while (take_empty_message(pong_tag, source)) answered[static_cast<std::size_t>(source)] = true;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return answered;
    }

    /// Forget orphans that came to an end after all.
    void drain_orphans() {
        const Clock::time_point deadline = Clock::now() + ping_time;
        while (!orphans_.empty() && Clock::now() < deadline) {
            std::erase_if(orphans_, [](Orphan& orphan) {
                int flag = 0;
                return MPI_Test(&orphan.request, &flag, MPI_STATUS_IGNORE) == MPI_SUCCESS && flag != 0;
            });
            if (!orphans_.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

    MPI_Comm comm_ = MPI_COMM_NULL;
    int rank_ = 0;
    int size_ = 1;
    std::string phase_;
    std::chrono::milliseconds timeout_{600'000};
    std::function<std::string(Rank)> witness_;
    bool lost_ = false;
    std::vector<std::byte> bounce_;
    std::vector<Orphan> orphans_;
};

Exchange::~Exchange() {
    if (done_) return;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
        if (requests_[i] == MPI_REQUEST_NULL) continue;
        // A receive must not write into memory that is about to go.
        if (messages_[i].incoming) MPI_Cancel(&requests_[i]);
        MPI_Request_free(&requests_[i]);
    }
}

void Exchange::send(std::span<const std::byte> bytes, int to, int tag) {
    // An empty message is one piece too: the other side waits for it.
    for (std::size_t begin = 0; begin == 0 || begin < bytes.size(); begin += message_bytes_max) {
        const int count = static_cast<int>(std::min(message_bytes_max, bytes.size() - begin));
        MPI_Request request = MPI_REQUEST_NULL;
        comm_.check("send",
                    MPI_Isend(bytes.data() + begin, count, MPI_BYTE, to, tag, comm_.handle(), &request));
        requests_.push_back(request);
        messages_.push_back({to, count, false});
    }
}

void Exchange::receive(std::span<std::byte> bytes, int from, int tag) {
    for (std::size_t begin = 0; begin == 0 || begin < bytes.size(); begin += message_bytes_max) {
        const int count = static_cast<int>(std::min(message_bytes_max, bytes.size() - begin));
        MPI_Request request = MPI_REQUEST_NULL;
        comm_.check("receive",
                    MPI_Irecv(bytes.data() + begin, count, MPI_BYTE, from, tag, comm_.handle(), &request));
        requests_.push_back(request);
        messages_.push_back({from, count, true});
    }
}

void Exchange::check(const char* operation, const Message& message, const MPI_Status& status) {
    if (!message.incoming) return;
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if (bytes != message.bytes) {
        throw Error(ErrorCode::bug, std::string(operation) + ": rank " + std::to_string(message.peer) +
                                        " sent " + std::to_string(bytes) + " bytes; expected " +
                                        std::to_string(message.bytes));
    }
}

bool Exchange::test(const char* operation) {
    if (done_) return true;
    statuses_.resize(requests_.size());
    int flag = 0;
    const int code =
        MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &flag, statuses_.data());
    if (code == MPI_ERR_IN_STATUS) {
        for (const MPI_Status& status : statuses_) {
            if (status.MPI_ERROR != MPI_ERR_PENDING) comm_.check(operation, status.MPI_ERROR);
        }
    }
    comm_.check(operation, code);
    if (flag == 0) return false;
    done_ = true;
    for (std::size_t i = 0; i < messages_.size(); ++i) check(operation, messages_[i], statuses_[i]);
    return true;
}

std::vector<int> Exchange::unfinished_peers() const {
    std::vector<int> peers;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
        int flag = 0;
        if (MPI_Request_get_status(requests_[i], &flag, MPI_STATUS_IGNORE) == MPI_SUCCESS && flag == 0) {
            peers.push_back(messages_[i].peer);
        }
    }
    std::sort(peers.begin(), peers.end());
    peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
    return peers;
}

void Exchange::wait(const char* operation) {
    if (test(operation)) return;
    comm_.expect_sound(operation);
    if (comm_.poll([&] { return test(operation); })) return;
    comm_.give_up(operation, unfinished_peers());
}

class MpiTransfer : public PendingTransfer {
  public:
    MpiTransfer(MpiCommunicator& comm, const char* operation) : operation_(operation), exchange_(comm) {}
    Exchange& exchange() { return exchange_; }
    bool test() override { return exchange_.test(operation_); }
    void wait() override { exchange_.wait(operation_); }

  private:
    const char* operation_;
    Exchange exchange_;
};

std::unique_ptr<PendingTransfer> MpiCommunicator::send(std::span<const std::byte> bytes, Rank to, int tag) {
    LOCKSTEP_EXPECTS(to.value >= 0 && to.value < size_);
    LOCKSTEP_EXPECTS(tag >= 0 && tag < user_tag_end);
    expect_sound("send");
    auto transfer = std::make_unique<MpiTransfer>(*this, "send");
    transfer->exchange().send(bytes, to.value, tag);
    return transfer;
}

std::unique_ptr<PendingTransfer> MpiCommunicator::receive(std::span<std::byte> bytes, Rank from, int tag) {
    LOCKSTEP_EXPECTS(from.value >= 0 && from.value < size_);
    LOCKSTEP_EXPECTS(tag >= 0 && tag < user_tag_end);
    expect_sound("receive");
    auto transfer = std::make_unique<MpiTransfer>(*this, "receive");
    transfer->exchange().receive(bytes, from.value, tag);
    return transfer;
}

}  // namespace

bool launched_by_mpi() {
    // Open MPI; PMIx (mpirun, srun --mpi=pmix); PMI-1 and PMI-2 (MPICH's mpirun, srun --mpi=pmi2). A Slurm
    // allocation alone sets none of them.
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"}) {
        if (std::getenv(name) != nullptr) return true;
    }
    return false;
}

Rank launched_rank() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
        if (const char* rank = std::getenv(name)) return Rank{std::atoi(rank)};
    }
    return Rank{0};
}

MpiEnvironment::MpiEnvironment() : exceptions_at_start_(std::uncaught_exceptions()) {
    skip_absent_fabrics();
    // Waits here spin briefly and then sleep. With Open MPI's yielding, which it turns on by itself where
    // ranks share cores, every question asked in vain would give the core away, for milliseconds if somebody
    // has use for it.
    setenv("OMPI_MCA_mpi_yield_when_idle", "0", 0);
    int provided = MPI_THREAD_SINGLE;
    const int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    if (code != MPI_SUCCESS) throw Error(ErrorCode::environment, "MPI cannot start: " + mpi_message(code));
    if (provided < MPI_THREAD_FUNNELED) {
        MPI_Finalize();
        throw Error(ErrorCode::environment,
                    "this MPI library offers no funneled threads; use one built with thread support");
    }
    MPI_Comm node = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &ranks_on_node_);
    MPI_Comm_free(&node);
}

MpiEnvironment::~MpiEnvironment() {
    // Finalizing waits for the peers. When an exception unwinds, or an operation was given up, they may be
    // gone.
    if (std::uncaught_exceptions() > exceptions_at_start_ || abandoned_operations > 0) return;
    MPI_Finalize();
}

std::unique_ptr<Communicator> MpiEnvironment::make_communicator() {
    return std::make_unique<MpiCommunicator>(MPI_COMM_WORLD);
}

int MpiEnvironment::ranks_on_node() const {
    return ranks_on_node_;
}

}  // namespace lockstep
