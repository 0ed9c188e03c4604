#include "io/run/state_digest.h"

#include <algorithm>
#include <functional>

namespace lockstep {

Fingerprint state_leaf(std::span<const float> values) {
    FingerprintBuilder builder("lockstep-state-leaf-v1");
    builder.add_array(values);
    return builder.finish();
}

Fingerprint state_tree_root(std::span<const Fingerprint> leaves) {
    FingerprintBuilder builder("lockstep-state-tree-v1");
    builder.add(static_cast<std::uint64_t>(leaves.size()));
    for (const Fingerprint& leaf : leaves) builder.add(leaf);
    return builder.finish();
}

Fingerprint state_digest(const Cursor& cursor, const Fingerprint& weights_root,
                         const Fingerprint& adam_m_root, const Fingerprint& adam_v_root) {
    FingerprintBuilder builder("lockstep-state-v1");
    builder.add(std::string_view(cursor.numerics));
    builder.add(cursor.model).add(cursor.plan);
    builder.add(cursor.next_step).add(cursor.epoch).add(cursor.targets_seen);
    builder.add(static_cast<std::uint64_t>(cursor.scale_exponent));
    builder.add(cursor.clean_steps).add(cursor.skipped_in_a_row);
    builder.add(cursor.ledger_root);
    builder.add(weights_root).add(adam_m_root).add(adam_v_root);
    return builder.finish();
}

namespace {

Fingerprint root_of(std::uint64_t elements,
                    const std::function<void(std::uint64_t, std::span<float>)>& read) {
    std::vector<float> leaf(state_leaf_elements);
    std::vector<Fingerprint> leaves;
    for (std::uint64_t begin = 0; begin < elements; begin += state_leaf_elements) {
        const auto length =
            static_cast<std::size_t>(std::min<std::uint64_t>(state_leaf_elements, elements - begin));
        const auto values = std::span(leaf).first(length);
        read(begin, values);
        leaves.push_back(state_leaf(values));
    }
    return state_tree_root(leaves);
}

}  // namespace

Fingerprint state_digest_of(const GenerationReader& generation, std::uint64_t state_elements) {
    const auto weights =
        root_of(state_elements, [&](auto begin, auto out) { generation.read_weights(begin, out); });
    const auto m = root_of(state_elements, [&](auto begin, auto out) { generation.read_adam_m(begin, out); });
    const auto v = root_of(state_elements, [&](auto begin, auto out) { generation.read_adam_v(begin, out); });
    return state_digest(generation.cursor(), weights, m, v);
}

}  // namespace lockstep
