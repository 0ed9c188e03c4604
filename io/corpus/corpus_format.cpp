#include "io/corpus/corpus_format.h"

#include <algorithm>
#include <utility>

#include "io/base/contract.h"
#include "io/corpus/length_cache.h"

namespace lockstep::corpus_format {

void TokenTree::update(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const std::size_t piece = std::min(bytes.size(), leaf_bytes_max - leaf_bytes_);
        leaf_.raw(bytes.first(piece));
        leaf_bytes_ += piece;
        if (leaf_bytes_ == leaf_bytes_max) end_leaf();
        bytes = bytes.subspan(piece);
    }
}

void TokenTree::add(std::span<const Fingerprint> leaves) {
    LOCKSTEP_EXPECTS(leaf_bytes_ == 0);
    leaves_.insert(leaves_.end(), leaves.begin(), leaves.end());
}

std::vector<Fingerprint> TokenTree::leaves_of(std::span<const std::byte> bytes) {
    TokenTree tree;
    tree.update(bytes);
    if (tree.leaf_bytes_ != 0) tree.end_leaf();
    return std::move(tree.leaves_);
}

void TokenTree::end_leaf() {
    leaves_.push_back(leaf_.finish());
    leaf_ = FingerprintBuilder("");
    leaf_bytes_ = 0;
}

Fingerprint TokenTree::finish(std::uint64_t num_tokens, ColumnType type) {
    if (leaf_bytes_ != 0) end_leaf();
    FingerprintBuilder root("lockstep-tokens-v1");
    root.add(num_tokens).add(std::uint64_t{column_type_bytes(type)});
    for (const Fingerprint& leaf : leaves_) root.add(leaf);
    return root.finish();
}

Fingerprint fingerprint_of(const Content& content) {
    FingerprintBuilder builder("lockstep-corpus-v1");
    builder.add(content.tokenizer).add(content.vocabulary_size).add(content.token_root);
    builder.add_array(content.sample_begin);
    const bool has_spans = !content.loss_span_begin.empty();
    builder.add(std::uint64_t{has_spans});
    if (has_spans) builder.add_array(content.loss_span_begin).add_array(content.loss_spans);
    const bool has_keys = !content.key_begin.empty();
    builder.add(std::uint64_t{has_keys});
    if (has_keys) builder.add_array(content.key_begin).add_array(content.key_bytes);
    return builder.finish();
}

Fingerprint lengths_fingerprint_of(std::span<const std::uint64_t> sample_begin,
                                   std::span<const std::uint64_t> key_begin,
                                   std::span<const char> key_bytes) {
    std::vector<std::uint64_t> sample_tokens(sample_begin.size() - 1);
    for (std::size_t i = 0; i < sample_tokens.size(); ++i)
        sample_tokens[i] = sample_begin[i + 1] - sample_begin[i];
    return fingerprint_of_lengths(sample_tokens, key_begin, key_bytes);
}

}  // namespace lockstep::corpus_format
