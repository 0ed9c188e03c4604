#include "worker/cross_check.h"

#include <algorithm>
#include <array>
#include <bit>
#include <exception>
#include <utility>

#include "io/base/contract.h"
#include "io/base/host_name.h"
#include "io/comm/agreement.h"
#include "kernels/exact_accumulate.h"

namespace lockstep {

namespace {

/// Integers are made and digested in pieces of this many.
constexpr std::size_t piece_elements = std::size_t{1} << 20U;

/// Lengths first, so that the receiver can make room.
using BatchHeader = std::array<std::uint64_t, 5>;

std::string host_of(Communicator& comm, Rank rank) {
    std::vector<std::byte> bytes;
    if (comm.rank() == rank) {
        const std::string text = own_host_name();
        const auto raw = std::as_bytes(std::span(text.data(), text.size()));
        bytes.assign(raw.begin(), raw.end());
    }
    broadcast_bytes(comm, bytes, rank);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Every rank's image where it has one, on all.
std::vector<PackImage> share(Communicator& comm, const std::vector<std::pair<std::size_t, PackImage>>& mine,
                             std::size_t count) {
    std::vector<std::int64_t> words(count * PackImage::words, 0);
    for (const auto& [place, image] : mine) {
        image.put(std::span(words).subspan(place * PackImage::words).first<PackImage::words>());
    }
    comm.sum(words);
    std::vector<PackImage> images;
    for (std::size_t i = 0; i < count; ++i) {
        images.push_back(PackImage::take(
            std::span<const std::int64_t>(words).subspan(i * PackImage::words).first<PackImage::words>()));
    }
    return images;
}

}  // namespace

void PackImage::put(std::span<std::int64_t, words> to) const {
    to[0] = std::bit_cast<std::int64_t>(gradient.low);
    to[1] = std::bit_cast<std::int64_t>(gradient.high);
    to[2] = std::bit_cast<std::int64_t>(loss_bits);
}

PackImage PackImage::take(std::span<const std::int64_t, words> from) {
    return {{std::bit_cast<std::uint64_t>(from[0]), std::bit_cast<std::uint64_t>(from[1])},
            std::bit_cast<std::uint64_t>(from[2])};
}

void GradientDigest::add(std::size_t offset, std::span<const float> part, int exponent,
                         std::uint64_t packs_in_step) {
    const std::uint64_t place[] = {offset, part.size()};
    stream_.update(std::as_bytes(std::span(place)));
    while (!part.empty()) {
        const auto piece = part.first(std::min(part.size(), piece_elements));
        if (integers_.size() < piece.size()) integers_.resize(piece.size());
        const auto integers = std::span(integers_).first(piece.size());
        const ExactFlags flags = accumulate_exact(pool_, piece, exponent, packs_in_step, true, integers);
        // Nothing is added then, and the integers are of no account.
        if (flags.overflow || flags.non_finite) std::fill(integers.begin(), integers.end(), 0);
        stream_.update(std::as_bytes(integers));
        part = part.subspan(piece.size());
    }
}

CrossCheckRoles roles_for(Rank owner, WorldSize world) {
    const auto after = [&](int distance) { return Rank{(owner.value + distance) % world.value}; };
    return {owner, after(1), world.value < 3 ? std::nullopt : std::optional(after(2))};
}

Rank CrossCheckPlan::turn(std::uint64_t step) const {
    LOCKSTEP_EXPECTS(checks(step));
    return Rank{static_cast<int>(step / every_ % static_cast<std::uint64_t>(world_.value))};
}

std::size_t CrossCheckPlan::pack(std::uint64_t step, std::size_t own_packs) const {
    LOCKSTEP_EXPECTS(checks(step) && own_packs > 0);
    return static_cast<std::size_t>(step / every_ / static_cast<std::uint64_t>(world_.value) % own_packs);
}

std::optional<CrossCheckRoles> agree_on_roles(Communicator& comm, const CrossCheckPlan& plan,
                                              std::uint64_t step, bool has_targets) {
    const int world = comm.size().value, turn = plan.turn(step).value;
    // The nearest to the turn has the largest number; 0 is nobody.
    std::int64_t nearest = has_targets ? world - (comm.rank().value - turn + world) % world : 0;
    comm.max(std::span(&nearest, 1));
    if (nearest == 0) return std::nullopt;
    return roles_for(Rank{(turn + world - static_cast<int>(nearest)) % world}, comm.size());
}

void send_batch(Communicator& comm, const PackedBatch& batch, Rank to) {
    const BatchHeader header = {batch.step, batch.pack, batch.token_ids.size(), batch.cu_seqlens.size(),
                                batch.num_targets};
    comm.send(std::as_bytes(std::span(header)), to, batch_tag)->wait();
    if (batch.token_ids.empty()) return;
    // What nobody takes would be waited for until the deadline.
    std::uint64_t has_room = 0;
    comm.receive(std::as_writable_bytes(std::span(&has_room, 1)), to, batch_tag)->wait();
    if (has_room == 0) return;
    comm.send(std::as_bytes(std::span(batch.token_ids)), to, batch_tag)->wait();
    comm.send(std::as_bytes(std::span(batch.position_ids)), to, batch_tag)->wait();
    comm.send(std::as_bytes(std::span(batch.targets)), to, batch_tag)->wait();
    comm.send(std::as_bytes(std::span(batch.cu_seqlens)), to, batch_tag)->wait();
}

PackedBatch receive_batch(Communicator& comm, Rank from) {
    BatchHeader header{};
    comm.receive(std::as_writable_bytes(std::span(header)), from, batch_tag)->wait();
    PackedBatch batch;
    batch.step = header[0];
    batch.pack = header[1];
    batch.num_targets = static_cast<std::uint32_t>(header[4]);
    if (header[2] == 0) return batch;
    const auto answer = [&](std::uint64_t has_room) {
        comm.send(std::as_bytes(std::span(&has_room, 1)), from, batch_tag)->wait();
    };
    try {
        batch.token_ids.resize(header[2]);
        batch.position_ids.resize(header[2]);
        batch.targets.resize(header[2]);
        batch.cu_seqlens.resize(header[3]);
    } catch (const std::exception&) {
        answer(0);
        throw;
    }
    answer(1);
    comm.receive(std::as_writable_bytes(std::span(batch.token_ids)), from, batch_tag)->wait();
    comm.receive(std::as_writable_bytes(std::span(batch.position_ids)), from, batch_tag)->wait();
    comm.receive(std::as_writable_bytes(std::span(batch.targets)), from, batch_tag)->wait();
    comm.receive(std::as_writable_bytes(std::span(batch.cu_seqlens)), from, batch_tag)->wait();
    return batch;
}

CrossCheckFinding find_the_odd_one(Communicator& comm, const CrossCheckRoles& roles, std::uint64_t step,
                                   const PackedBatch& batch, const PackImage& owner, const PackImage& checker,
                                   FunctionRef<PackImage(const PackedBatch&)> compute) {
    const Rank first = roles.owner, second = roles.checker, me = comm.rank();
    std::vector<std::pair<std::size_t, PackImage>> mine;
    together(comm, "step " + std::to_string(step) + ": computing a pack once more", [&] {
        if (roles.third) {
            if (me == first) send_batch(comm, batch, *roles.third);
            if (me == *roles.third) mine.emplace_back(0, compute(receive_batch(comm, first)));
        } else {
            if (me == first) mine.emplace_back(0, compute(batch));
            if (me == second) mine.emplace_back(1, compute(batch));
        }
    });
    const std::size_t count = roles.third ? 1 : 2;
    const std::vector<PackImage> further = share(comm, mine, count);
    const auto votes = [&](const PackImage& image) {
        return std::count(further.begin(), further.end(), image);
    };

    CrossCheckFinding finding;
    if (first == second) {
        finding.odd = first;
    } else if (votes(owner) > votes(checker)) {
        finding.odd = second;
    } else if (votes(checker) > votes(owner)) {
        finding.odd = first;
    }
    if (finding.odd) {
        finding.text = "rank " + std::to_string(finding.odd->value) + " (host " +
                       host_of(comm, *finding.odd) + ") " +
                       (first == second ? "does not repeat itself" : "is the odd one out");
    } else {
        finding.text = "rank " + std::to_string(first.value) + " (host " + host_of(comm, first) +
                       ") or rank " + std::to_string(second.value) + " (host " + host_of(comm, second) + ")";
        finding.text += count == 1 ? ", and a third rank agrees with neither"
                                   : ", each of which repeats its own; three ranks could tell which";
    }
    return finding;
}

}  // namespace lockstep
