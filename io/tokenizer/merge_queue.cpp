#include "io/tokenizer/merge_queue.h"

#include <algorithm>
#include <functional>

namespace lockstep {

void MergeQueue::begin(std::uint32_t num_ranks) {
    if (lists_.size() < num_ranks) lists_.resize(num_ranks);
    // Whoever ended before everything was taken, by an exception, has left something.
    for (const std::uint32_t rank : waiting_) lists_[rank] = {};
    waiting_.clear();
    early_.clear();
    // Blocks are given out in their order again: used over and over, free ones would lie all over memory.
    blocks_.clear();
    free_ = none;
    open_.clear();
    taken_ = 0;
    open_rank_ = -1;
}

void MergeQueue::add(std::uint32_t rank, std::uint32_t place) {
    if (rank <= open_rank_) {
        early_.emplace_back(rank, place);
        std::push_heap(early_.begin(), early_.end(), std::greater<>());
        return;
    }
    List& list = lists_[rank];
    if (list.first == none) {
        waiting_.push_back(rank);
        std::push_heap(waiting_.begin(), waiting_.end(), std::greater<>());
    }
    append(list, place);
}

void MergeQueue::append(List& list, std::uint32_t place) {
    if (list.last == none || blocks_[list.last].count == block_places) {
        std::uint32_t block = free_;
        if (block == none) {
            block = static_cast<std::uint32_t>(blocks_.size());
            blocks_.emplace_back();
        } else {
            free_ = blocks_[block].next;
        }
        blocks_[block].count = 0;
        blocks_[block].next = none;
        if (list.last == none) {
            list.first = block;
        } else {
            blocks_[list.last].next = block;
        }
        list.last = block;
    }
    Block& block = blocks_[list.last];
    block.places[block.count++] = place;
}

bool MergeQueue::take(Taken& taken) {
    if (taken_ == open_.size() && early_.empty() && !open_next()) return false;
    const auto open_rank = static_cast<std::uint32_t>(open_rank_);
    if (early_.empty() || (taken_ < open_.size() && Early(open_rank, open_[taken_]) <= early_.front())) {
        taken = {open_rank, open_[taken_++]};
        return true;
    }
    taken = {early_.front().first, early_.front().second};
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
        open_.insert(open_.end(), block.places.begin(), block.places.begin() + block.count);
    }
    blocks_[list.last].next = free_;
    free_ = list.first;
    list = {};
    // Lists grow from left to right, anew for every rank that adds to them.
    if (!std::is_sorted(open_.begin(), open_.end())) std::sort(open_.begin(), open_.end());
    return true;
}

}  // namespace lockstep
