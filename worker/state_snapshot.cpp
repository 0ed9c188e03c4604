#include "worker/state_snapshot.h"

#include <algorithm>

#include "io/run/state_digest.h"

namespace lockstep {

namespace {

constexpr int tail_tag = 101;
/// Pieces the copying threads take.
constexpr std::size_t copy_grain = std::size_t{1} << 16U;

std::size_t leaf_begin_at_or_after(std::size_t element) {
    return (element + state_leaf_elements - 1) / state_leaf_elements * state_leaf_elements;
}

/// Elements that follow the slice in the last leaf that begins in it.
std::size_t tail_elements(std::size_t total, const StateSlice& slice) {
    if (slice.size() == 0 || leaf_begin_at_or_after(slice.begin) >= slice.end) return 0;
    return std::min(total, leaf_begin_at_or_after(slice.end)) - slice.end;
}

/// The rank whose slice holds an element.
Rank holder_of(std::size_t total, WorldSize world, std::size_t element) {
    int rank = 0;
    while (state_slice(total, Rank{rank}, world).end <= element) ++rank;
    return Rank{rank};
}

}  // namespace

StateSnapshot::StateSnapshot(Communicator& comm, ThreadPool& pool, const ShardedState& state,
                             SnapshotMode mode)
    : comm_(comm),
      pool_(pool),
      state_(state),
      mode_(mode),
      slice_(state.slice()),
      total_(state.weights().size()),
      first_leaf_(leaf_begin_at_or_after(slice_.begin)) {
    for (Part& part : parts_) {
        // Touched now, so that no page is asked for while a step waits.
        if (mode == SnapshotMode::copy) part.copy.assign(slice_.size(), 0.0F);
        part.tail.assign(tail_elements(total_, slice_), 0.0F);
    }
}

StateSnapshot::~StateSnapshot() {
    if (!outgoing_.empty() || !incoming_.empty()) keep_until_exit(std::move(parts_));
}

std::size_t StateSnapshot::bytes(std::size_t state_elements, WorldSize world_size, SnapshotMode mode) {
    if (mode == SnapshotMode::borrow) return 0;
    return 3 * largest_slice(state_elements, world_size) * sizeof(float);
}

std::array<std::span<const float>, 3> StateSnapshot::present() const {
    return {state_.slice_weights(), state_.adam_m(), state_.adam_v()};
}

void StateSnapshot::take() {
    wait_for_tails();
    const auto now = present();
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        Part& part = parts_[i];
        part.values = now[i];
        if (mode_ == SnapshotMode::borrow) continue;
        pool_.for_ranges(slice_.size(), copy_grain, [&](std::size_t begin, std::size_t end) {
            std::copy(now[i].begin() + static_cast<std::ptrdiff_t>(begin),
                      now[i].begin() + static_cast<std::ptrdiff_t>(end),
                      part.copy.begin() + static_cast<std::ptrdiff_t>(begin));
        });
        part.values = part.copy;
    }
    begin_tails();
}

void StateSnapshot::begin_tails() {
    // The end of a leaf that began in an earlier slice goes to the rank that holds its beginning.
    if (slice_.size() > 0 && slice_.begin < first_leaf_) {
        const std::size_t count = std::min(slice_.end, first_leaf_) - slice_.begin;
        const Rank holder = holder_of(total_, comm_.size(), first_leaf_ - state_leaf_elements);
        for (const Part& part : parts_) {
            outgoing_.push_back(comm_.send(std::as_bytes(part.values.first(count)), holder, tail_tag));
        }
    }
    const std::size_t tail_end = slice_.end + parts_[0].tail.size();
    for (int r = comm_.rank().value + 1; r < comm_.size().value; ++r) {
        const StateSlice other = state_slice(total_, Rank{r}, comm_.size());
        if (other.begin >= tail_end) break;
        const std::size_t count = std::min(other.end, tail_end) - other.begin;
        if (count == 0) continue;
        for (Part& part : parts_) {
            const auto piece = std::span(part.tail).subspan(other.begin - slice_.end, count);
            incoming_.push_back(comm_.receive(std::as_writable_bytes(piece), Rank{r}, tail_tag));
        }
    }
}

bool StateSnapshot::has_tails() {
    const auto done = [](const auto& transfer) { return transfer->test(); };
    std::erase_if(outgoing_, done);
    std::erase_if(incoming_, done);
    return incoming_.empty();
}

void StateSnapshot::wait_for_tails() {
    for (const auto& transfer : incoming_) transfer->wait();
    for (const auto& transfer : outgoing_) transfer->wait();
    incoming_.clear();
    outgoing_.clear();
}

std::vector<Fingerprint> StateSnapshot::leaves_of(const Part& part,
                                                  const std::function<void()>& pause) const {
    std::vector<Fingerprint> leaves;
    for (std::size_t leaf = first_leaf_; leaf < slice_.end; leaf += state_leaf_elements) {
        if (pause) pause();
        const std::size_t end = std::min(total_, leaf + state_leaf_elements);
        const auto local = part.values.subspan(leaf - slice_.begin, std::min(end, slice_.end) - leaf);
        if (end <= slice_.end) {
            leaves.push_back(state_leaf(local));
            continue;
        }
        std::vector<float> whole(local.begin(), local.end());
        whole.insert(whole.end(), part.tail.begin(), part.tail.end());
        leaves.push_back(state_leaf(whole));
    }
    return leaves;
}

StateLeaves StateSnapshot::leaves(const std::function<void()>& pause) const {
    return {leaves_of(parts_[0], pause), leaves_of(parts_[1], pause), leaves_of(parts_[2], pause)};
}

Fingerprint state_digest_of_leaves(const Cursor& cursor, std::span<const StateLeaves> by_rank) {
    std::array<Fingerprint, 3> roots;
    for (std::size_t i = 0; i < roots.size(); ++i) {
        std::vector<Fingerprint> leaves;
        for (const StateLeaves& rank : by_rank) {
            leaves.insert(leaves.end(), rank[i].begin(), rank[i].end());
        }
        roots[i] = state_tree_root(leaves);
    }
    return state_digest(cursor, roots[0], roots[1], roots[2]);
}

}  // namespace lockstep
