#include "coordinator/distribution.h"

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
#include "tests/coordinator/served_plan.h"
#include "tests/io/error_of.h"
#include "tests/plan/plan_support.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

/// More than two windows of steps; the same on every rank, though only rank 0 hands it over.
const BatchPlan& long_plan() {
    static const BatchPlan plan = [] {
        TestSource source;
        source.sample_tokens = long_tailed_lengths(1, 6500, 64);
        PlanOptions options;
        options.token_budget = 64;
        options.packs_per_step = 3;
        options.epochs = 2;
        return build_plan(options, source);
    }();
    return plan;
}

std::vector<PlanSource> bound_sources() {
    std::vector<PlanSource> bound = long_plan().sources;
    bound[0].corpus.bytes[5] = 77;
    bound[0].tokenizer_hash = "said by the lengths file";
    return bound;
}

PlanDistribution distribute(Communicator& comm) {
    const bool root = comm.rank().value == 0;
    return PlanDistribution(comm, root ? std::optional(serve(long_plan(), bound_sources())) : std::nullopt);
}

TEST(DistributionTest, EveryRankLearnsWhatThePlanIs) {
    const PlanDistribution distribution = distribute(test_communicator());
    const PlanSummary expected = serve(long_plan(), {}).summary();
    const PlanSummary& found = distribution.summary();
    EXPECT_EQ(found.plan, expected.plan);
    EXPECT_EQ(found.num_steps, expected.num_steps);
    EXPECT_EQ(found.num_epochs, expected.num_epochs);
    EXPECT_EQ(found.num_packs, expected.num_packs);
    EXPECT_EQ(found.planned_tokens, expected.planned_tokens);
    EXPECT_EQ(found.pack_tokens_max, expected.pack_tokens_max);
    EXPECT_EQ(found.segment_tokens_max, expected.segment_tokens_max);
    EXPECT_EQ(found.mean_context, expected.mean_context);
    EXPECT_EQ(found.epoch_begin, expected.epoch_begin);
    EXPECT_EQ(distribution.sources(), bound_sources());
}

TEST(DistributionTest, WindowsWalkTheWholePlanAndSlicesPartitionIt) {
    Communicator& comm = test_communicator();
    const BatchPlan& plan = long_plan();
    ASSERT_GT(plan.num_steps(), 2 * window_steps);
    PlanDistribution distribution = distribute(comm);
    std::vector<std::int64_t> times(plan.num_packs(), 0);  // That a pack was given to some rank.
    for (std::uint64_t step = 0; step < plan.num_steps();) {
        const StepWindow window = distribution.fetch(step);
        const PlanSlice& slice = window.slice;
        EXPECT_EQ(slice.step_begin, step);
        EXPECT_EQ(slice.step_end, std::min(step + window_steps, plan.num_steps()));
        const PlanChunkColumns steps = chunk_of(plan, slice.step_begin, slice.step_end);
        const auto slices = slices_of(steps, assign_steps(steps, comm.size()), comm.size());
        EXPECT_TRUE(slice == slices[static_cast<std::size_t>(comm.rank().value)]);
        for (; step < slice.step_end; ++step) {
            const std::size_t i = step - slice.step_begin;
            EXPECT_EQ(window.step_packs[i], plan.step_begin[step]);
            EXPECT_EQ(window.step_packs[i + 1], plan.step_begin[step + 1]);
            std::uint64_t targets = 0;
            for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
                targets += plan.pack_targets[pack];
            }
            EXPECT_EQ(window.step_targets[i], targets);
            const std::vector<std::uint64_t> mine(
                slice.pack.begin() + static_cast<std::ptrdiff_t>(slice.step_pack_begin[i]),
                slice.pack.begin() + static_cast<std::ptrdiff_t>(slice.step_pack_begin[i + 1]));
            EXPECT_EQ(mine, shard_of(plan, Step{step}, comm.rank(), comm.size()));
            for (const std::uint64_t pack : mine) ++times[pack];
        }
    }
    comm.sum(times);
    EXPECT_TRUE(std::all_of(times.begin(), times.end(), [](std::int64_t t) { return t == 1; }));
}

TEST(DistributionTest, AWindowFromTheMiddleEndsWhereTheOthersDo) {
    Communicator& comm = test_communicator();
    PlanDistribution distribution = distribute(comm);
    for (const std::uint64_t step :
         {window_steps - 1, window_steps, window_steps + 44, long_plan().num_steps() - 1}) {
        const StepWindow window = distribution.fetch(step);
        EXPECT_EQ(window.slice.step_begin, step);
        EXPECT_EQ(window.slice.step_end,
                  std::min((step / window_steps + 1) * window_steps, long_plan().num_steps()));
        EXPECT_EQ(window.step_targets.size(), window.slice.step_end - step);
    }
}

TEST(DistributionTest, AFailureOfRank0ReachesEveryRank) {
    Communicator& comm = test_communicator();
    PlanDistribution distribution = distribute(comm);
    const Error error = error_of([&] { distribution.fetch(long_plan().num_steps()); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr("the plan has"));
    EXPECT_THAT(error.what(), testing::StartsWith(comm.size().value > 1 ? "rank 0: " : "step "));
    // The ranks are still in step.
    EXPECT_EQ(distribution.fetch(0).slice.step_end, window_steps);
}

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

TEST(DistributionTest, ASliceThatIsNotWhatTheAssignmentSaysIsRefused) {
    Communicator& comm = test_communicator();
    if (comm.size().value == 1) return;  // Rank 0 keeps its own slice.
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

TEST(DistributionTest, AnotherVersionOnRank0IsNamed) {
    Communicator& comm = test_communicator();
    if (comm.size().value == 1) return;
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

TEST(DistributionTest, AWindowAcrossEpochsIsOfSeveralChunks) {
    const BatchPlan& plan = long_plan();
    const std::uint64_t border = plan.epoch_begin[1];
    ASSERT_NE(border % window_steps, 0U);
    const StepWindow window = window_of(serve(plan, bound_sources()), border - 5, border + 5);
    const PlanChunkColumns steps = chunk_of(plan, border - 5, border + 5);
    EXPECT_TRUE(window.slice == slices_of(steps, assign_steps(steps, WorldSize{1}), WorldSize{1}).front());
    for (std::size_t i = 0; i <= 10; ++i) EXPECT_EQ(window.step_packs[i], plan.step_begin[border - 5 + i]);
}

TEST(DistributionTest, TargetsOfAPlanOfLengthsAreCounted) {
    BatchPlan plan = long_plan();
    ServedPlan served = serve(plan, bound_sources());
    const StepWindow expected = window_of(served, 3, 7);
    plan.pack_targets.clear();
    // Every token but a segment's first is a target here.
    served.targets = [](std::uint64_t, std::uint32_t, std::uint32_t tokens) { return tokens - 1; };
    EXPECT_EQ(window_of(served, 3, 7).step_targets, expected.step_targets);
}

TEST(DistributionTest, PacksLargerThanTheRecordSaysAreRefused) {
    ServedPlan served = serve(long_plan(), bound_sources());
    --served.totals.pack_tokens_max;
    Error error = error_of([&] { window_of(served, 0, long_plan().num_steps()); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), testing::HasSubstr("by the run's record packs have at most"));
    served = serve(long_plan(), bound_sources());
    --served.totals.segment_tokens_max;
    error = error_of([&] { window_of(served, 0, long_plan().num_steps()); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
}

TEST(DistributionTest, OneRanksViewOfSomeStepsHoldsAllTheirPacks) {
    const BatchPlan& plan = long_plan();
    const StepWindow window = window_of(serve(plan, bound_sources()), 3, 7);
    EXPECT_EQ(window.slice.pack.size(), plan.step_begin[7] - plan.step_begin[3]);
    EXPECT_EQ(window.slice.pack.front(), plan.step_begin[3]);
    EXPECT_EQ(window.step_packs.front(), plan.step_begin[3]);
    EXPECT_EQ(window.step_packs.back(), plan.step_begin[7]);
    EXPECT_EQ(window.step_targets.size(), 4U);
}

}  // namespace
}  // namespace lockstep
