#include "io/tokenizer/merge_queue.h"

#include <algorithm>
#include <functional>

namespace lockstep {

namespace {

bool stands_before(const MergeCandidate& a, const MergeCandidate& b) {
    return a.at < b.at;
}

}  // namespace

void MergeQueue::begin(std::uint32_t num_ranks) {
    // All lists are empty between words: whoever begins has taken everything.
    if (lists_.size() < num_ranks) lists_.resize(num_ranks);
    open_.clear();
    taken_ = 0;
    open_rank_ = -1;
}

void MergeQueue::add(std::uint32_t rank, const MergeCandidate& candidate) {
    if (rank <= open_rank_) {
        early_.push_back({rank, candidate});
        std::push_heap(early_.begin(), early_.end(), std::greater<>());
        return;
    }
    List& list = lists_[rank];
    if (list.first == none) {
        waiting_.push_back(rank);
        std::push_heap(waiting_.begin(), waiting_.end(), std::greater<>());
    }
    append(list, candidate);
}

void MergeQueue::append(List& list, const MergeCandidate& candidate) {
    if (list.last == none || blocks_[list.last].count == block_candidates) {
        std::uint32_t block = free_;
        if (block == none) {
            block = static_cast<std::uint32_t>(blocks_.size());
            blocks_.emplace_back();
        } else {
            free_ = blocks_[block].next;
            blocks_[block].count = 0;
            blocks_[block].next = none;
        }
        if (list.last == none) {
            list.first = block;
        } else {
            blocks_[list.last].next = block;
        }
        list.last = block;
    }
    Block& block = blocks_[list.last];
    block.candidates[block.count++] = candidate;
}

bool MergeQueue::take(MergeCandidate& candidate) {
    if (taken_ == open_.size() && early_.empty() && !open_next()) return false;
    const bool early = !early_.empty() && (taken_ == open_.size() || early_.front().rank < open_rank_ ||
                                           stands_before(early_.front().candidate, open_[taken_]));
    if (!early) {
        candidate = open_[taken_++];
        return true;
    }
    candidate = early_.front().candidate;
    std::pop_heap(early_.begin(), early_.end(), std::greater<>());
    early_.pop_back();
    return true;
}

/// Opens the list of the least rank that waits.
bool MergeQueue::open_next() {
    if (waiting_.empty()) return false;
    open_rank_ = waiting_.front();
    std::pop_heap(waiting_.begin(), waiting_.end(), std::greater<>());
    waiting_.pop_back();
    List& list = lists_[static_cast<std::size_t>(open_rank_)];
    open_.clear();
    taken_ = 0;
    for (std::uint32_t b = list.first; b != none; b = blocks_[b].next) {
        const Block& block = blocks_[b];
        open_.insert(open_.end(), block.candidates.begin(), block.candidates.begin() + block.count);
    }
    blocks_[list.last].next = free_;
    free_ = list.first;
    list = {};
    // Lists grow from left to right, anew for every rank that adds to them.
    if (!std::is_sorted(open_.begin(), open_.end(), stands_before)) {
        std::stable_sort(open_.begin(), open_.end(), stands_before);
    }
    return true;
}

}  // namespace lockstep
