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

std::vector<std::uint64_t> targets_of_steps(const BatchPlan& plan, std::uint64_t step_begin,
                                            std::uint64_t step_end) {
    std::vector<std::uint64_t> targets;
    for (std::uint64_t step = step_begin; step < step_end; ++step) {
        std::uint64_t sum = 0;
        for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
            sum += plan.pack_targets[pack];
        }
        targets.push_back(sum);
    }
    return targets;
}

std::vector<std::uint64_t> packs_of_steps(const BatchPlan& plan, std::uint64_t step_begin,
                                          std::uint64_t step_end) {
    return {plan.step_begin.begin() + static_cast<std::ptrdiff_t>(step_begin),
            plan.step_begin.begin() + static_cast<std::ptrdiff_t>(step_end) + 1};
}

}  // namespace

std::vector<Rank> assign_window(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end,
                                WorldSize world_size) {
    std::vector<Rank> ranks;
    for (std::uint64_t step = step_begin; step < step_end; ++step) {
        const std::uint64_t begin = plan.step_begin[step];
        const std::uint64_t end = plan.step_begin[step + 1];
        const auto assigned = assign_packs(std::span(plan.pack_cost).subspan(begin, end - begin), world_size);
        ranks.insert(ranks.end(), assigned.begin(), assigned.end());
    }
    return ranks;
}

StepWindow window_of(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end) {
    const std::vector<Rank> all_mine(plan.step_begin[step_end] - plan.step_begin[step_begin], Rank{0});
    return {std::move(slices_of(plan, step_begin, step_end, all_mine, WorldSize{1}).front()),
            packs_of_steps(plan, step_begin, step_end), targets_of_steps(plan, step_begin, step_end)};
}

PlanDistribution::PlanDistribution(Communicator& comm, const BatchPlan* plan, std::vector<PlanSource> bound)
    : comm_(comm), plan_(plan) {
    std::vector<std::byte> message;
    together(comm_, "announcing the plan", [&] {
        if (plan_ == nullptr) return;
        message = to_message(std::string(tool_version), summarize(*plan_), bound);
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
    const bool root = plan_ != nullptr;
    std::vector<std::byte> header_message;
    std::vector<std::vector<std::byte>> slices;
    WindowHeader header;
    together(comm_, "assigning packs from step " + std::to_string(step), [&] {
        if (!root) return;
        if (step >= plan_->num_steps()) {
            throw Error(ErrorCode::invalid_argument, "step " + std::to_string(step) +
                                                         " was asked for, the plan has " +
                                                         std::to_string(plan_->num_steps()) + " steps");
        }
        header.step_begin = step;
        header.step_end = std::min((step / window_steps + 1) * window_steps, plan_->num_steps());
        header.step_packs = packs_of_steps(*plan_, header.step_begin, header.step_end);
        header.step_targets = targets_of_steps(*plan_, header.step_begin, header.step_end);
        const std::vector<Rank> ranks =
            assign_window(*plan_, header.step_begin, header.step_end, comm_.size());
        for (const Rank rank : ranks) header.pack_rank.push_back(static_cast<std::uint32_t>(rank.value));
        for (const PlanSlice& slice :
             slices_of(*plan_, header.step_begin, header.step_end, ranks, comm_.size())) {
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
