#include "launch/chaos/kill_schedule.h"

#include <cstdio>

#include "io/base/philox.h"

namespace lockstep {

namespace {

/// Draws of one start, in this order; a new one goes to the end.
enum Draw : std::uint64_t {
    draw_ranks,
    draw_target,
    draw_victim,
    draw_moment,
    draw_share,
    draw_changes,
    draw_calls
};

std::uint64_t draw(std::uint64_t seed, std::uint64_t start, Draw what, std::uint64_t end) {
    return Philox(seed, "chaos-kills", start).below(what, end);
}

/// A commit of a small world changes some twenty files and names.
constexpr std::uint64_t changes_max = 40;

}  // namespace

int KillSchedule::ranks(std::uint64_t start) const {
    return 1 + static_cast<int>(draw(seed_, start, draw_ranks, static_cast<std::uint64_t>(ranks_max_)));
}

std::optional<PlannedKill> KillSchedule::kill(std::uint64_t start) const {
    if (start >= kills_max_) return std::nullopt;
    PlannedKill kill;
    const std::uint64_t target = draw(seed_, start, draw_target, 4);
    kill.target = target < 2    ? KillTarget::one_rank
                  : target == 2 ? KillTarget::launcher
                                : KillTarget::everything;
    kill.victim = draw(seed_, start, draw_victim, 1U << 20U);
    const std::uint64_t moment = draw(seed_, start, draw_moment, 4);
    kill.moment = moment == 0                      ? KillMoment::any_time
                  : moment == 1                    ? KillMoment::while_training
                  : moment == 2 || calls_max_ == 0 ? KillMoment::at_commit
                                                   : KillMoment::at_call;
    kill.share = static_cast<double>(draw(seed_, start, draw_share, 1U << 20U)) / (1U << 20U);
    kill.changes = draw(seed_, start, draw_changes, changes_max);
    if (calls_max_ > 0) kill.calls = draw(seed_, start, draw_calls, calls_max_);
    return kill;
}

std::string to_text(const PlannedKill& kill) {
    std::string text;
    switch (kill.target) {
        case KillTarget::one_rank:
            text = "one rank";
            break;
        case KillTarget::launcher:
            text = "the launcher";
            break;
        case KillTarget::everything:
            text = "everything";
            break;
    }
    char share[32];
    std::snprintf(share, sizeof share, "%.0f %%", 100 * kill.share);
    switch (kill.moment) {
        case KillMoment::any_time:
            return text + " at " + share + " of a start";
        case KillMoment::while_training:
            return text + " at " + share + " of its training";
        case KillMoment::at_commit:
            return text + " at change " + std::to_string(kill.changes) + " of a commit";
        case KillMoment::at_call:
            return text + " at system call " + std::to_string(kill.calls) + " of a save";
    }
    return text;
}

}  // namespace lockstep
