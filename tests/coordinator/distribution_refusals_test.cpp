// What the other ranks make of a rank 0 that says what it should not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/archive/binary_oarchive.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "coordinator/version.h"
#include "coordinator/wire.h"
#include "io/base/digest.h"
#include "io/comm/agreement.h"
#include "plan/shard.h"
#include "tests/coordinator/long_plan.h"
#include "tests/support/error_of.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

/// What rank 0 sends for a window, as the archives of distribution.cpp have it.
struct SentHeader {
    std::uint64_t step_begin = 0;
    std::uint64_t step_end = 0;
    std::vector<std::uint64_t> step_packs;
    std::vector<std::uint64_t> step_targets;
    std::vector<std::uint32_t> pack_rank;
    std::vector<std::uint64_t> slice_bytes;
    std::vector<std::string> slice_digest;

    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& step_begin& step_end& step_packs& step_targets& pack_rank& slice_bytes& slice_digest;
    }
};
struct SentSlice : PlanSlice {
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& step_begin& step_end& step_pack_begin& pack& segment_begin& segment_sample& segment_offset&
            segment_tokens;
    }
};

struct SentPrint : Fingerprint {
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        for (std::uint8_t& byte : bytes) archive& byte;
    }
};
struct SentSummary {
    SentPrint plan;
    std::uint64_t num_steps = 1, num_epochs = 1, num_packs = 1, planned_tokens = 1;
    std::uint32_t pack_tokens_max = 1, segment_tokens_max = 1;
    std::uint64_t mean_context = 1;
    std::vector<std::uint64_t> epoch_begin{0, 1};

    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& plan& num_steps& num_epochs& num_packs& planned_tokens& pack_tokens_max& segment_tokens_max&
            mean_context& epoch_begin;
    }
};

template <class... Values>
std::vector<std::byte> message_of(const Values&... values) {
    std::ostringstream stream;
    {
        boost::archive::binary_oarchive archive(stream);
        (archive << ... << values);
    }
    const std::string text = stream.str();
    return frame_message(std::as_bytes(std::span(text)));
}

/// A rank 0 that says what it likes: of steps [0, 4), with sound digests.
struct Window {
    SentHeader header;
    std::vector<SentSlice> slices;

    explicit Window(WorldSize world) {
        const PlanChunkColumns steps = chunk_of(long_plan(), 0, 4);
        header.step_end = 4;
        header.step_packs.assign(steps.step_begin.begin(), steps.step_begin.end());
        header.step_targets.assign(4, 0);
        const std::vector<Rank> ranks = assign_steps(steps, world);
        for (const Rank rank : ranks) header.pack_rank.push_back(static_cast<std::uint32_t>(rank.value));
        for (PlanSlice& slice : slices_of(steps, ranks, world)) {
            slices.emplace_back();
            static_cast<PlanSlice&>(slices.back()) = std::move(slice);
        }
    }

    /// Rank 0's side of PlanDistribution::fetch. @param edit  of the header with its sizes and digests.
    void serve(Communicator& comm, const std::function<void(SentHeader&)>& edit) {
        std::vector<std::vector<std::byte>> messages;
        for (const SentSlice& slice : slices) {
            messages.push_back(message_of(slice));
            header.slice_bytes.push_back(messages.back().size());
            header.slice_digest.push_back(digest_of(messages.back()).hex());
        }
        if (edit) edit(header);
        together(comm, "assigning", [] {});
        std::vector<std::byte> message = message_of(header);
        broadcast_bytes(comm, message, Rank{0});
        together(comm, "reading", [] {});
        std::vector<std::unique_ptr<PendingTransfer>> sends;
        for (int r = 1; r < comm.size().value; ++r) {
            sends.push_back(comm.send(messages[static_cast<std::size_t>(r)], Rank{r}, 200));
        }
        for (const auto& send : sends) send->wait();
        together(comm, "checking", [] {});
    }
};

TEST(DistributionRefusalsTest, ASliceThatIsNotWhatTheAssignmentSaysIsRefused) {
    Communicator& comm = test_communicator();
    ASSERT_GE(comm.size().value, 2) << "rank 0 keeps its own slice";
    const bool root = comm.rank().value == 0;
    PlanDistribution distribution = distribute(comm);
    /// Rank 1 gets another slice, or everybody another header, than rank 0 would send.
    const auto fetched = [&](const std::function<void(SentSlice&)>& change,
                             const std::function<void(SentHeader&)>& edit = {}) {
        Window window(comm.size());
        if (change) change(window.slices[1]);
        if (root) {
            window.serve(comm, edit);
        } else {
            distribution.fetch(0);
        }
    };
    const auto refused = [&](const std::string& noun, const std::function<void(SentSlice&)>& change,
                             const std::function<void(SentHeader&)>& edit = {}) {
        const Error error = error_of([&] { fetched(change, edit); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << error.what();
        EXPECT_THAT(error.what(), testing::HasSubstr(noun));
    };
    EXPECT_NO_THROW(fetched({}));
    refused("for another number of ranks", {}, [](SentHeader& h) { h.slice_bytes.push_back(100); });
    refused("for another number of ranks", {}, [](SentHeader& h) { h.slice_digest.pop_back(); });
    refused("the assignment says 00", {}, [](SentHeader& h) { h.slice_digest[1].assign(32, '0'); });
    refused("covers other steps", [](SentSlice& s) { ++s.step_begin, ++s.step_end; });
    refused("covers other steps", [](SentSlice& s) {
        ++s.step_end;
        s.step_pack_begin.push_back(s.step_pack_begin.back());
    });
    refused("other packs than the assignment", [](SentSlice& s) { ++s.pack.front(); });
    refused("other packs than the assignment", [](SentSlice& s) {
        const std::uint64_t segments = s.segment_begin[s.segment_begin.size() - 2];
        s.pack.pop_back();
        s.segment_begin.pop_back();
        --s.step_pack_begin.back();
        for (std::uint64_t& begin : s.step_pack_begin) begin = std::min<std::uint64_t>(begin, s.pack.size());
        s.segment_sample.resize(segments);
        s.segment_offset.resize(segments);
        s.segment_tokens.resize(segments);
    });
    refused("packs of other ranks", [](SentSlice& s) {
        s.pack.push_back(1000);
        s.segment_begin.push_back(s.segment_begin.back());
        ++s.step_pack_begin.back();
    });
    // The ranks are still in step, and rank 0's own word is as good as before.
    EXPECT_EQ(distribution.fetch(0).slice.step_end, window_steps);
}

TEST(DistributionRefusalsTest, AnotherVersionOnRank0IsNamed) {
    Communicator& comm = test_communicator();
    ASSERT_GE(comm.size().value, 2);
    const auto announced = [&](const std::string& version) {
        if (comm.rank().value != 0) {
            return PlanDistribution(comm, std::nullopt).summary().num_packs;
        }
        together(comm, "announcing", [] {});
        // No source's own archive is needed, only that there is none.
        std::vector<std::byte> message = message_of(version, SentSummary{}, std::vector<SentPrint>{});
        broadcast_bytes(comm, message, Rank{0});
        together(comm, "reading", [] {});
        return std::uint64_t{1};
    };
    EXPECT_EQ(announced(tool_version), 1U);
    const Error error = error_of([&] { announced("9.9.9"); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(),
                testing::HasSubstr("rank 0 runs lockstep 9.9.9, this rank " + std::string(tool_version)));
}

}  // namespace
}  // namespace lockstep
