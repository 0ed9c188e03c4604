#include "io/corpus/token_column.h"

#include <algorithm>
#include <utility>

namespace lockstep {

namespace {

constexpr std::size_t run_bytes_max = 4 * corpus_format::TokenTree::leaf_bytes_max;

template <class T>
std::uint32_t greatest_of(std::span<const std::byte> bytes) {
    T greatest = 0;
    for (const T token : std::span(reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)))
        greatest = std::max(greatest, token);
    return greatest;
}

std::uint32_t greatest_in(std::span<const std::byte> bytes, ColumnType type) {
    return type == ColumnType::u16 ? greatest_of<std::uint16_t>(bytes) : greatest_of<std::uint32_t>(bytes);
}

}  // namespace

TokenColumn::TokenColumn(ColumnType type, std::uint64_t bytes_max, int threads, Store store)
    : type_(type),
      store_(std::move(store)),
      run_bytes_(static_cast<std::size_t>(std::min<std::uint64_t>(run_bytes_max, bytes_max))),
      threads_(bytes_max > run_bytes_max ? threads : 1),
      work_(threads_,
            [type](std::vector<std::byte>& bytes, int) { return look_at(std::move(bytes), type); }) {}

void TokenColumn::append(std::span<const std::byte> bytes) {
    if (threads_ == 1) {
        tree_.update(bytes);
        content_.max_token_id = std::max(content_.max_token_id, greatest_in(bytes, type_));
        content_.num_tokens += bytes.size() / column_type_bytes(type_);
        store_(bytes);
        return;
    }
    while (!bytes.empty()) {
        if (run_.capacity() == 0) run_.reserve(run_bytes_);
        const auto part = bytes.first(std::min(bytes.size(), run_bytes_max - run_.size()));
        run_.insert(run_.end(), part.begin(), part.end());
        if (run_.size() == run_bytes_max) give();
        bytes = bytes.subspan(part.size());
    }
}

TokenColumn::Content TokenColumn::finish() {
    if (!run_.empty()) give();
    while (!work_.empty()) take();
    content_.root = tree_.finish(content_.num_tokens, type_);
    return content_;
}

TokenColumn::Run TokenColumn::look_at(std::vector<std::byte> bytes, ColumnType type) {
    Run run;
    run.leaves = corpus_format::TokenTree::leaves_of(bytes);
    run.greatest = greatest_in(bytes, type);
    run.bytes = std::move(bytes);
    return run;
}

void TokenColumn::give() {
    if (work_.full()) take();
    work_.give(std::move(run_));
    run_ = std::exchange(spare_, {});
}

void TokenColumn::take() {
    Run run = work_.take();
    tree_.add(run.leaves);
    content_.max_token_id = std::max(content_.max_token_id, run.greatest);
    content_.num_tokens += run.bytes.size() / column_type_bytes(type_);
    store_(run.bytes);
    run.bytes.clear();
    spare_ = std::move(run.bytes);
}

}  // namespace lockstep
