#include <cstdio>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "launch/cli/supervisor_verbs.h"
#include "launch/launchers/launch_script.h"
#include "launch/supervisor/job_command.h"

namespace lockstep {

namespace {

struct LaunchArguments {
    LaunchRequest request;
    std::string system;
};

int print_script(const Invocation& invocation, const LaunchArguments& a) {
    LaunchRequest request = a.request;
    request.system = parse_launch_system(a.system);
    const std::string script = launch_script(request);
    // What the script's supervisor would refuse, a job that waited for hours would find out.
    std::vector<std::string> words{request.lockstep};
    words.insert(words.end(), request.train.begin(), request.train.end());
    parse_job_command(words, "");
    if (invocation.json) {
        invocation.give({{"system", a.system}, {"script", script}});
    } else if (std::fputs(script.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
        throw Error(ErrorCode::io_failure, "cannot write the script to standard output");
    }
    return 0;
}

}  // namespace

void add_launch(CLI::App& app, Invocation& invocation) {
    auto a = std::make_shared<LaunchArguments>();
    LaunchRequest& r = a->request;
    CLI::App* verb = add_verb(
        app, invocation, "launch",
        "Print a job script for a batch system, with the settings a run needs there",
        "  lockstep launch --print slurm --nodes 4 --ranks-per-node 8 --threads 4 -- train -p plan/ -d c.h5 "
        "-m tiny -o run/ > job.sh\n"
        "  lockstep launch --print kubernetes --nodes 4 --image registry/lockstep:1 -- train … > job.yaml\n"
        "Every script starts the supervisor, which continues the run; a notice before the limit becomes a "
        "commit,\n"
        "and code 75 queues the job again.",
        [&invocation, a] { return print_script(invocation, *a); });
    verb->add_option("--print", a->system, "mpirun, slurm, pbs, lsf, flux or kubernetes")->required();
    verb->add_option("train", r.train, "train … or resume …, after --")->required();
    verb->add_option("--nodes", r.nodes, "Hosts (1)");
    verb->add_option("--ranks-per-node", r.ranks_per_node, "Ranks on each (1)");
    verb->add_option("--threads", r.threads_per_rank, "Cores and threads of each rank (1)");
    verb->add_option("--time", r.time_limit, "Limit, HH:MM:SS (24:00:00)");
    verb->add_option("--notice", r.notice_seconds, "Seconds before the limit in which to commit (300)")
        ->check(CLI::Range(1, 86400));
    verb->add_option("--name", r.job_name, "Of the job (lockstep)");
    verb->add_option("--interface", r.interface,
                     "Network between the hosts, where Open MPI might choose wrongly");
    verb->add_option("--image", r.image, "Container image, for kubernetes (lockstep:latest)");
    verb->add_option("--program", r.lockstep, "Path of lockstep on the hosts (lockstep)");
}

}  // namespace lockstep
