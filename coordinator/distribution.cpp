#include "coordinator/distribution.h"

#include <algorithm>
#include <boost/archive/binary_iarchive.hpp>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/array.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "coordinator/version.h"
#include "coordinator/wire.h"
#include "io/base/digest.h"
#include "io/base/error.h"
#include "io/comm/agreement.h"
#include "plan/shard.h"

// Archives of the values that travel; vectors of integers go as blocks.
namespace boost::serialization {

template <class Archive>
void serialize(Archive& archive, lockstep::Fingerprint& print, unsigned) {
    for (std::uint8_t& byte : print.bytes) archive& byte;
}

template <class Archive>
void serialize(Archive& archive, lockstep::PlanSource& source, unsigned) {
    archive& source.name& source.lengths& source.tokenizer& source.tokenizer_hash& source.corpus& source
        .sample_base& source.num_samples;
}

template <class Archive>
void serialize(Archive& archive, lockstep::PlanSummary& s, unsigned) {
    archive& s.plan& s.num_steps& s.num_epochs& s.num_packs& s.planned_tokens& s.pack_tokens_max& s
        .segment_tokens_max& s.mean_context& s.epoch_begin;
}

template <class Archive>
void serialize(Archive& archive, lockstep::PlanSlice& s, unsigned) {
    archive& s.step_begin& s.step_end& s.step_pack_begin& s.pack& s.segment_begin& s.segment_sample& s
        .segment_offset& s.segment_tokens;
}

}  // namespace boost::serialization

namespace lockstep {

namespace {

constexpr int slice_tag = 200;

/// What everyone learns of a window: the assignment, and what to expect.
struct WindowHeader {
    std::uint64_t step_begin = 0;
    std::uint64_t step_end = 0;
    std::vector<std::uint64_t> step_packs;
    std::vector<std::uint64_t> step_targets;
    std::vector<std::uint32_t> pack_rank;    ///< Step → packs of each rank.
    std::vector<std::uint64_t> slice_bytes;  ///< (ranks) of the framed slice.
    std::vector<std::string> slice_digest;   ///< (ranks) of the framed slice.

    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& step_begin& step_end& step_packs& step_targets& pack_rank& slice_bytes& slice_digest;
    }
};

template <class... Values>
std::vector<std::byte> to_message(const Values&... values) {
    std::ostringstream stream;
    {
        boost::archive::binary_oarchive archive(stream);
        (archive << ... << values);
    }
    const std::string text = stream.str();
    return frame_message(std::as_bytes(std::span(text.data(), text.size())));
}

template <class... Values>
void from_message(std::span<const std::byte> message, const std::string& what, Values&... values) {
    const auto payload = unframe_message(message, what);
    std::istringstream stream(std::string(reinterpret_cast<const char*>(payload.data()), payload.size()));
    try {
        boost::archive::binary_iarchive archive(stream);
        (archive >> ... >> values);
    } catch (const std::exception& failure) {
        throw Error(ErrorCode::corrupt_data, what + " cannot be read (" + failure.what() +
                                                 "); start every rank from the same lockstep binary");
    }
}

/// Steps of a window with the assignment to ranks.
struct AssignedSteps {
    std::vector<std::uint64_t> step_packs;  ///< (steps + 1) first pack of each, numbers in the whole plan.
    std::vector<std::uint64_t> step_targets;
    std::vector<Rank> pack_rank;
    std::vector<PlanSlice> slices;  ///< (ranks)
};

std::uint64_t targets_of_pack(const ServedPlan& plan, const PlanChunkColumns& steps, std::size_t pack) {
    if (steps.pack_targets) return (*steps.pack_targets)[pack];
    std::uint64_t sum = 0;
    const std::uint64_t first = steps.pack_begin.front();
    for (std::uint64_t s = steps.pack_begin[pack] - first; s < steps.pack_begin[pack + 1] - first; ++s) {
        sum += plan.targets(steps.sample(s), steps.segment_offset[s], steps.segment_tokens[s]);
    }
    return sum;
}

/// Ranks lay out their memory by the totals, which may have been recorded long ago.
void check_totals(const ServedPlan& plan, const PlanChunkColumns& steps) {
    const std::uint64_t first = steps.pack_begin.front();
    for (std::size_t pack = 0; pack < steps.num_packs(); ++pack) {
        std::uint64_t tokens = 0;
        std::uint32_t longest = 0;
        for (std::uint64_t s = steps.pack_begin[pack] - first; s < steps.pack_begin[pack + 1] - first; ++s) {
            tokens += steps.segment_tokens[s];
            longest = std::max(longest, steps.segment_tokens[s]);
        }
        if (tokens <= plan.totals.pack_tokens_max && longest <= plan.totals.segment_tokens_max) continue;
        throw Error(ErrorCode::corrupt_data, "pack " + std::to_string(steps.first_pack + pack) + " has " +
                                                 std::to_string(tokens) + " tokens, " +
                                                 std::to_string(longest) +
                                                 " in one segment; by the run's record packs have at most " +
                                                 std::to_string(plan.totals.pack_tokens_max) + ", segments " +
                                                 std::to_string(plan.totals.segment_tokens_max) +
                                                 "; the record is of another plan or damaged");
    }
}

AssignedSteps assign(const ServedPlan& plan, std::uint64_t step_begin, std::uint64_t step_end,
                     WorldSize world_size) {
    AssignedSteps all;
    const std::vector<std::uint64_t>& chunk_begin = plan.view.head->fingerprints.chunk_begin;
    auto next = static_cast<std::size_t>(
        std::upper_bound(chunk_begin.begin(), chunk_begin.end(), step_begin) - chunk_begin.begin());
    for (std::uint64_t begin = step_begin; begin < step_end; ++next) {
        const std::uint64_t end = std::min(step_end, chunk_begin[next]);
        const PlanChunkColumns steps = steps_of(plan.view.chunk(next - 1), begin, end);
        check_totals(plan, steps);
        const std::vector<Rank> ranks = assign_steps(steps, world_size);
        if (all.step_packs.empty()) all.step_packs.push_back(steps.first_pack);
        std::size_t pack = 0;
        for (std::size_t step = 0; step < steps.num_steps(); ++step) {
            const std::uint64_t packs_end = steps.step_begin[step + 1] - steps.step_begin.front();
            std::uint64_t targets = 0;
            for (; pack < packs_end; ++pack) targets += targets_of_pack(plan, steps, pack);
            all.step_packs.push_back(steps.first_pack + packs_end);
            all.step_targets.push_back(targets);
        }
        std::vector<PlanSlice> slices = slices_of(steps, ranks, world_size);
        all.pack_rank.insert(all.pack_rank.end(), ranks.begin(), ranks.end());
        if (all.slices.empty()) {
            all.slices = std::move(slices);
        } else {
            for (std::size_t rank = 0; rank < slices.size(); ++rank) append(all.slices[rank], slices[rank]);
        }
        begin = end;
    }
    return all;
}

}  // namespace

StepWindow window_of(const ServedPlan& plan, std::uint64_t step_begin, std::uint64_t step_end) {
    AssignedSteps steps = assign(plan, step_begin, step_end, WorldSize{1});
    return {std::move(steps.slices.front()), std::move(steps.step_packs), std::move(steps.step_targets)};
}

PlanDistribution::PlanDistribution(Communicator& comm, std::optional<ServedPlan> plan)
    : comm_(comm), plan_(std::move(plan)) {
    std::vector<std::byte> message;
    together(comm_, "announcing the plan", [&] {
        if (!plan_) return;
        message = to_message(std::string(tool_version), plan_->summary(), plan_->bound);
    });
    broadcast_bytes(comm_, message, Rank{0});
    together(comm_, "reading the plan's announcement", [&] {
        std::string version;
        from_message(message, "the plan's announcement", version, summary_, sources_);
        if (version != tool_version) {
            throw Error(ErrorCode::corrupt_data, "rank 0 runs lockstep " + version + ", this rank " +
                                                     tool_version +
                                                     "; start every rank from the same binary");
        }
    });
}

StepWindow PlanDistribution::fetch(std::uint64_t step) {
    const bool root = plan_.has_value();
    std::vector<std::byte> header_message;
    std::vector<std::vector<std::byte>> slices;
    WindowHeader header;
    together(comm_, "assigning packs from step " + std::to_string(step), [&] {
        if (!root) return;
        if (step >= summary_.num_steps) {
            throw Error(ErrorCode::invalid_argument, "step " + std::to_string(step) +
                                                         " was asked for, the plan has " +
                                                         std::to_string(summary_.num_steps) + " steps");
        }
        header.step_begin = step;
        header.step_end = std::min((step / window_steps + 1) * window_steps, summary_.num_steps);
        AssignedSteps steps = assign(*plan_, header.step_begin, header.step_end, comm_.size());
        header.step_packs = std::move(steps.step_packs);
        header.step_targets = std::move(steps.step_targets);
        for (const Rank rank : steps.pack_rank)
            header.pack_rank.push_back(static_cast<std::uint32_t>(rank.value));
        for (const PlanSlice& slice : steps.slices) {
            slices.push_back(to_message(slice));
            header.slice_bytes.push_back(slices.back().size());
            header.slice_digest.push_back(digest_of(slices.back()).hex());
        }
        header_message = to_message(header);
    });
    broadcast_bytes(comm_, header_message, Rank{0});
    together(comm_, "reading the assignment", [&] {
        if (!root) from_message(header_message, "the assignment", header);
        if (header.slice_bytes.size() != static_cast<std::size_t>(comm_.size().value) ||
            header.slice_digest.size() != header.slice_bytes.size()) {
            throw Error(ErrorCode::corrupt_data, "the assignment is for another number of ranks");
        }
    });

    std::vector<std::byte> mine;
    if (root) {
        std::vector<std::unique_ptr<PendingTransfer>> sends;
        for (int r = 1; r < comm_.size().value; ++r) {
            sends.push_back(comm_.send(slices[static_cast<std::size_t>(r)], Rank{r}, slice_tag));
        }
        for (const auto& send : sends) send->wait();
        mine = std::move(slices[0]);
    } else {
        mine.resize(header.slice_bytes[static_cast<std::size_t>(comm_.rank().value)]);
        comm_.receive(mine, Rank{0}, slice_tag)->wait();
    }

    StepWindow window;
    together(comm_, "checking the slices", [&] {
        const std::string& expected = header.slice_digest[static_cast<std::size_t>(comm_.rank().value)];
        const std::string found = digest_of(mine).hex();
        if (found != expected) {
            throw Error(ErrorCode::corrupt_data,
                        "the plan slice received has digest " + found + ", the assignment says " + expected);
        }
        from_message(mine, "the plan slice", window.slice);
        check_slice(window.slice);
        if (window.slice.step_begin != header.step_begin || window.slice.step_end != header.step_end) {
            throw Error(ErrorCode::corrupt_data, "the plan slice covers other steps than the assignment");
        }
        // The slice must hold exactly the packs the assignment gives this rank.
        const std::uint64_t first = header.step_packs.front();
        std::size_t next = 0;
        for (std::size_t i = 0; i < header.pack_rank.size(); ++i) {
            if (header.pack_rank[i] != static_cast<std::uint32_t>(comm_.rank().value)) continue;
            if (next >= window.slice.pack.size() || window.slice.pack[next++] != first + i) {
                throw Error(ErrorCode::corrupt_data, "the plan slice holds other packs than the assignment");
            }
        }
        if (next != window.slice.pack.size()) {
            throw Error(ErrorCode::corrupt_data, "the plan slice holds packs of other ranks");
        }
    });
    window.step_packs = std::move(header.step_packs);
    window.step_targets = std::move(header.step_targets);
    return window;
}

}  // namespace lockstep
