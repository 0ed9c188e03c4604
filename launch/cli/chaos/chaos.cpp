#include "io/base/error.h"
#include "launch/cli/chaos/chaos_corrupt.h"
#include "launch/cli/chaos/chaos_kills.h"
#include "launch/cli/chaos/chaos_syscalls.h"
#include "launch/cli/supervisor_verbs.h"

namespace lockstep {

namespace {

/// What the verb was given, before it is known which harm is meant.
struct ChaosArguments {
    ChaosKillsArguments kills;
    std::uint64_t corrupt = 0, power = 0, syscalls = 0;
};

int corrupt(const Invocation& invocation, const ChaosArguments& a) {
    if (a.kills.command.size() != 1) {
        throw Error(ErrorCode::invalid_argument, "chaos --corrupt takes the folder of one run, after --");
    }
    return chaos_corrupt(invocation, {a.kills.command[0], a.kills.output, a.corrupt, a.kills.seed});
}

int chaos(const Invocation& invocation, ChaosArguments a) {
    if (a.corrupt != 0) return corrupt(invocation, a);
    if (a.syscalls != 0) {
        return chaos_syscalls(invocation, {a.kills.command, a.kills.output, a.syscalls, a.kills.seed});
    }
    if (a.power != 0) {
        a.kills.power = true;
        a.kills.kills = a.power;
    }
    return chaos_kills(invocation, a.kills);
}

}  // namespace

void add_chaos(CLI::App& app, Invocation& invocation) {
    auto a = std::make_shared<ChaosArguments>();
    CLI::App* verb = add_verb(
        app, invocation, "chaos", "Break a run on purpose and prove that nothing is lost",
        "  lockstep chaos --kills 100 --seed 1 -o chaos/ -- train -p plan/ -d corpus.h5 -m nano -o x --steps "
        "40\n"
        "  lockstep chaos --kills 20 -o chaos/ -- mpirun --bind-to none -n 4 lockstep train … -o x\n"
        "  lockstep chaos --kills 20 -o chaos/ -- run/        (a copy of this run, from its first step)\n"
        "  lockstep chaos --power 20 -o chaos/ -- run/        (as root: a disk of its own loses its power)\n"
        "  lockstep chaos --syscalls 50 -o chaos/ -- run/     (system calls of its saves fail)\n"
        "  lockstep chaos --corrupt 2000 -o chaos/ -- run/    (damages copies of run, plan and corpora)\n"
        "--kills SIGKILLs any rank, mpirun or everything, at any time and aimed at each write, sync and "
        "rename\n"
        "of a save, and starts again with another number of ranks; --power drops all that was not synced, "
        "at\n"
        "the same moments; --syscalls lets a system call of a save fail once (ENOSPC, EIO, EDQUOT, EINTR, a\n"
        "short write) or kills its rank there. In the end state "
        "digest\n"
        "and ledger root must be those of the undisturbed run. --corrupt flips bits, cuts, zeroes, swaps, "
        "appends,\n"
        "exchanges files and raises versions; what is read must be what was written, or one clear error.",
        [&invocation, a] { return chaos(invocation, *a); });
    verb->add_option("command", a->kills.command, "Training command or run folder, after --")->required();
    verb->add_option("-o,--output", a->kills.output, "Folder for the runs; what failed stays there")
        ->required();
    const auto range = CLI::Range(1, 100000000);
    auto* kills = verb->add_option("--kills", a->kills.kills, "Kills in all (100)")->check(range);
    auto* power = verb->add_option("--power", a->power, "Power cuts in all, instead of kills")->check(range);
    auto* damage = verb->add_option("--corrupt", a->corrupt, "Damaged files, instead of kills")->check(range);
    auto* syscalls =
        verb->add_option("--syscalls", a->syscalls, "Faults of system calls of a save, instead of kills")
            ->check(range);
    const std::vector<CLI::Option*> harms = {kills, power, damage, syscalls};
    for (CLI::Option* harm : harms) {
        for (CLI::Option* other : harms) {
            if (harm != other) harm->excludes(other);
        }
    }
    verb->add_option("--seed", a->kills.seed,
                     "Of the schedule: whom, when, with how many ranks again; of the first fault (1)");
    verb->add_option("--kills-per-run", a->kills.kills_per_run,
                     "Most kills or cuts before a run may end (10)")
        ->check(CLI::Range(1, 1000000));
    verb->add_option("--max-ranks", a->kills.ranks_max, "Ranks of a start are drawn from 1 to this (4)")
        ->check(CLI::Range(1, 1024));
}

}  // namespace lockstep
