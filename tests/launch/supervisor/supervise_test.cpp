// The supervisor's loop on virtual time: no process, no file, no clock.

#include "launch/supervisor/supervise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "io/base/error.h"
#include "io/base/philox.h"

namespace lockstep {
namespace {

/// A job that trains a step a second, commits every five, and dies when it is told to.
class VirtualJob : public SupervisedJob {
  public:
    struct Start {
        double dies_after = 1e9;  ///< Seconds from its start.
        int code = 137;
        bool freezes = false;  ///< Stands still instead of dying.
    };
    std::vector<Start> starts;  ///< The last one repeats.
    std::uint64_t last_step = 30;
    double stop_at = 1e9;
    double stopping_takes = 0;  ///< Seconds from a request to the commit it asks for.
    std::function<std::optional<int>(double now)> hosts;
    std::optional<std::uint64_t> poisoned;  ///< Loading this generation kills.
    double no_room_until = 0;               ///< Until then no process can be started.
    double in_use_until = 0;                ///< Until then somebody else holds the run.

    double now() override { return now_; }
    void wait(double seconds) override {
        ASSERT_GE(seconds, 0);
        now_ += std::max(seconds, 1e-3);
        advance();
    }
    void say(const std::string& line) override { said.push_back(line); }
    int stop_requests() override { return now_ >= stop_at ? 1 : 0; }
    std::optional<int> ranks_available() override { return hosts ? hosts(now_) : std::nullopt; }
    std::optional<int> ranks_in_reach() override { return ranks_available(); }
    void start(std::optional<int> ranks) override {
        EXPECT_FALSE(running_) << "two jobs at once";
        if (now_ < no_room_until) throw Error(ErrorCode::environment, "cannot start 'mpirun': no room");
        ranks_used.push_back(ranks);
        start_times.push_back(now_);
        running_ = true;
        code_.reset();
        asked_.reset();
        requests_to_job = 0;
        frozen_ = false;
        step_ = first_step_ = generations_.empty() ? 0 : generations_.back();
        if (poisoned && step_ == *poisoned) code_ = 139;
        if (run_in_use()) code_ = 78;
    }
    bool run_in_use() override { return now_ < in_use_until; }
    std::optional<int> exit_code() override { return code_; }
    std::optional<Heartbeat> heartbeat() override {
        if (now_ - start_times.back() < 1) return std::nullopt;
        Heartbeat beat;
        beat.pid = static_cast<std::int64_t>(start_times.size());
        beat.step = step_;
        beat.progress = step_ + 1;
        beat.training = true;
        return beat;
    }
    void ask_to_stop() override {
        ++requests_to_job;
        if (!asked_) asked_ = now_;
    }
    void end() override { running_ = false; }
    std::vector<std::uint64_t> generations() override { return generations_; }
    std::string quarantine(std::uint64_t generation) override {
        EXPECT_FALSE(running_);
        std::erase(generations_, generation);
        return "abandoned/" + std::to_string(generation);
    }

    int requests_to_job = 0;  ///< Of the last start.
    std::vector<std::string> said;
    std::vector<std::optional<int>> ranks_used;
    std::vector<double> start_times;
    std::vector<std::uint64_t> generations_;

  private:
    void advance() {
        if (!running_ || code_ || frozen_) return;
        const Start plan = starts.empty() ? Start{} : starts[std::min(starts.size(), start_times.size()) - 1];
        const double age = now_ - start_times.back();
        if (age >= plan.dies_after) {
            frozen_ = plan.freezes;
            if (!frozen_) code_ = plan.code;
            return;
        }
        if (age < 1) return;
        step_ = std::max(step_, std::min(last_step, first_step_ + static_cast<std::uint64_t>(age - 1)));
        const std::uint64_t committed = generations_.empty() ? 0 : generations_.back();
        const bool ends = step_ == last_step || (asked_ && now_ >= *asked_ + stopping_takes);
        if (step_ > committed && (ends || step_ >= committed + 5)) generations_.push_back(step_);
        if (ends) code_ = step_ == last_step ? 0 : 75;
    }

    double now_ = 0;
    bool running_ = false, frozen_ = false;
    std::optional<double> asked_;
    std::optional<int> code_;
    std::uint64_t step_ = 0, first_step_ = 0;
};

SupervisorSettings quick() {
    SupervisorSettings settings;
    settings.watch.patience_seconds = 20;
    settings.poll_seconds = 0.25;
    return settings;
}

TEST(SuperviseTest, AnUndisturbedRunIsStartedOnce) {
    VirtualJob job;
    const SupervisorOutcome outcome = supervise(job, quick());
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.attempts.size(), 1U);
    EXPECT_EQ(outcome.attempts[0].last_step, 30U);
}

TEST(SuperviseTest, DeathsAreSurvivedAndReported) {
    VirtualJob job;
    job.starts = {{8.5, 137}, {7, 205}, {9, 76}, {}};
    int reports = 0;
    const SupervisorOutcome outcome =
        supervise(job, quick(), [&](const SupervisorOutcome& o) { reports += o.attempts.empty() ? 0 : 1; });
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(reports, static_cast<int>(outcome.attempts.size()));
    EXPECT_EQ(outcome.attempts.size(), job.start_times.size());
    EXPECT_GT(outcome.attempts.size(), 1U);
}

TEST(SuperviseTest, AJobThatStandsStillIsKilledWithinItsPatience) {
    VirtualJob job;
    job.starts = {{3.5, 0, true}, {}};
    const SupervisorOutcome outcome = supervise(job, quick());
    EXPECT_EQ(outcome.exit_code, 0);
    ASSERT_EQ(outcome.attempts.size(), 2U);
    EXPECT_TRUE(outcome.attempts[0].hung);
    EXPECT_LT(outcome.attempts[0].ended, 3.5 + 20 + 1);
}

TEST(SuperviseTest, ARequestToStopEndsWith75AndACommit) {
    VirtualJob job;
    job.stop_at = 8;
    EXPECT_EQ(supervise(job, quick()).exit_code, 75);
    EXPECT_EQ(job.start_times.size(), 1U);
    EXPECT_FALSE(job.generations_.empty());
}

TEST(SuperviseTest, ARequestDuringAPauseEndsIt) {
    VirtualJob job;
    job.starts = {{1.5, 137}, {2.5, 137}};
    job.stop_at = 4.2;
    SupervisorSettings settings = quick();
    settings.restart.back_off_first_seconds = 50;
    const SupervisorOutcome outcome = supervise(job, settings);
    EXPECT_EQ(outcome.exit_code, 75);
    EXPECT_LT(job.now(), 10);
}

TEST(SuperviseTest, ABadGenerationIsMovedAsideAndTheRunGoesOn) {
    VirtualJob job;
    job.generations_ = {5, 10};
    job.poisoned = 10;
    job.last_step = 9;
    const SupervisorOutcome outcome = supervise(job, quick());
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.quarantined, testing::ElementsAre("abandoned/10"));
    EXPECT_EQ(outcome.attempts.size(), 4U);
    EXPECT_THAT(job.said, testing::Contains(testing::HasSubstr("always on generation 10")));
}

TEST(SuperviseTest, AStartThatFailsForLackOfRoomIsTriedAgainLater) {
    VirtualJob job;
    job.no_room_until = 10;
    const SupervisorOutcome outcome = supervise(job, quick());
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.attempts.front().exit_code, 78);
    EXPECT_EQ(outcome.attempts.size(), 5U) << "at 0, 1, 3, 7 and 15 s";
    EXPECT_THAT(job.said, testing::Contains(testing::HasSubstr("no room")));
}

TEST(SuperviseTest, ARunInUseIsWaitedForAndAnyOther78Ends) {
    VirtualJob job;
    job.in_use_until = 40;
    EXPECT_EQ(supervise(job, quick()).exit_code, 0);
    EXPECT_THAT(job.said, testing::Contains(testing::HasSubstr("in use")));
    VirtualJob unsuitable;
    unsuitable.starts = {{1.5, 78}};
    const SupervisorOutcome outcome = supervise(unsuitable, quick());
    EXPECT_EQ(outcome.exit_code, 78);
    EXPECT_EQ(outcome.attempts.size(), 1U);
}

TEST(SuperviseTest, FewerHostsMeanFewerRanksAndTooFewAreWaitedFor) {
    VirtualJob job;
    job.starts = {{8, 205}, {}};
    job.hosts = [](double now) { return now < 7 ? 8 : now < 40 ? 1 : 4; };
    SupervisorSettings settings = quick();
    settings.ranks_min = 2;
    const SupervisorOutcome outcome = supervise(job, settings);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(job.ranks_used, testing::ElementsAre(8, 4));
    EXPECT_GE(job.start_times[1], 40);
}

TEST(SuperviseTest, AHostThatReturnsIsTakenInAfterACommit) {
    VirtualJob job;
    job.hosts = [](double now) { return now < 12 ? 2 : 4; };
    const SupervisorOutcome outcome = supervise(job, quick());
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(job.ranks_used, testing::ElementsAre(2, 4));
    EXPECT_EQ(outcome.attempts[0].exit_code, 75);
}

// A rank takes a second request for the end at once, in the middle of its commit.
TEST(SuperviseTest, ARequestWhileRanksStopForAHostIsNotTheirSecond) {
    VirtualJob job;
    job.hosts = [](double now) { return now < 12 ? 2 : 4; };
    job.stop_at = 14;
    job.stopping_takes = 5;
    const SupervisorOutcome outcome = supervise(job, quick());
    EXPECT_EQ(outcome.exit_code, 75);
    EXPECT_EQ(outcome.attempts.size(), 1U);
    EXPECT_EQ(job.requests_to_job, 1);
}

// Whatever happens, it ends: done, or with the code of a crash loop, and never with two jobs at once.
TEST(SuperviseTest, AThousandRandomHistoriesEnd) {
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        const Philox random(seed, "supervise-histories");
        VirtualJob job;
        const std::uint64_t starts = 1 + random.below(0, 12);
        const int codes[] = {76, 137, 139, 141, 143, 205};
        for (std::uint64_t i = 0; i < starts; ++i) {
            job.starts.push_back({0.5 * static_cast<double>(random.below(3 * i + 1, 40)),
                                  codes[random.below(3 * i + 2, std::size(codes))],
                                  random.below(3 * i + 3, 6) == 0});
        }
        job.starts.push_back({});
        const SupervisorOutcome outcome = supervise(job, quick());
        EXPECT_TRUE(outcome.exit_code == 0 || outcome.exit_code == 76) << "seed " << seed;
        if (outcome.exit_code == 0) {
            EXPECT_EQ(job.generations_.back(), 30U) << "seed " << seed;
        }
    }
}

}  // namespace
}  // namespace lockstep
