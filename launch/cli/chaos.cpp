#include "launch/cli/chaos_kills.h"
#include "launch/cli/supervisor_verbs.h"

namespace lockstep {

void add_chaos(CLI::App& app, Invocation& invocation) {
    auto a = std::make_shared<ChaosKillsArguments>();
    CLI::App* verb = add_verb(
        app, invocation, "chaos", "Break a run on purpose and prove that nothing is lost",
        "  lockstep chaos --kills 100 --seed 1 -o chaos/ -- train -p plan/ -d corpus.h5 -m nano -o x --steps "
        "40\n"
        "  lockstep chaos --kills 20 -o chaos/ -- mpirun --bind-to none -n 4 lockstep train … -o x\n"
        "  lockstep chaos --kills 20 -o chaos/ -- run/        (a copy of this run, from its first step)\n"
        "SIGKILLs any rank, mpirun or everything, at any time and aimed at commits, and starts again with "
        "another\n"
        "number of ranks. In the end state digest and ledger root must be those of the undisturbed run.",
        [&invocation, a] { return chaos_kills(invocation, *a); });
    verb->add_option("command", a->command, "Training command or run folder, after --")->required();
    verb->add_option("-o,--output", a->output, "Folder for the runs; what failed stays there")->required();
    verb->add_option("--kills", a->kills, "Kills in all (100)")->check(CLI::Range(1, 100000000));
    verb->add_option("--seed", a->seed, "Of the schedule: whom, when, with how many ranks again (1)");
    verb->add_option("--kills-per-run", a->kills_per_run, "Most kills before a run may end (10)")
        ->check(CLI::Range(1, 1000000));
    verb->add_option("--max-ranks", a->ranks_max, "Ranks of a start are drawn from 1 to this (4)")
        ->check(CLI::Range(1, 1024));
}

}  // namespace lockstep
