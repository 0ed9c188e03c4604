#include "launch/launchers/launch_script.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <utility>

#include "io/base/error.h"
#include "launch/launchers/open_mpi_keepalive.h"

namespace lockstep {

namespace {

constexpr std::array<std::pair<std::string_view, LaunchSystem>, 6> systems = {{
    {"mpirun", LaunchSystem::mpirun},
    {"slurm", LaunchSystem::slurm},
    {"pbs", LaunchSystem::pbs},
    {"lsf", LaunchSystem::lsf},
    {"flux", LaunchSystem::flux},
    {"kubernetes", LaunchSystem::kubernetes},
}};

std::string number(int value) {
    return std::to_string(value);
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : " ") + shell_quoted(word);
    return text;
}

int ranks(const LaunchRequest& r) {
    return r.nodes * r.ranks_per_node;
}

int limit_seconds(const LaunchRequest& r) {
    int hours = 0, minutes = 0, seconds = 0;
    char rest = 0;
    // Five digits of hours: in seconds, too, they fit an int.
    if (r.time_limit.find_first_not_of("0123456789:") != std::string::npos ||
        std::sscanf(r.time_limit.c_str(), "%5d:%2d:%2d%c", &hours, &minutes, &seconds, &rest) != 3 ||
        hours < 0 || minutes < 0 || minutes > 59 || seconds < 0 || seconds > 59) {
        throw Error(ErrorCode::invalid_argument,
                    "--time '" + r.time_limit + "' is not HH:MM:SS of at most 99999 hours");
    }
    return (hours * 60 + minutes) * 60 + seconds;
}

/// Rounded up.
int limit_minutes(const LaunchRequest& r) {
    return (limit_seconds(r) + 59) / 60;
}

int notice_minutes(const LaunchRequest& r) {
    return (r.notice_seconds + 59) / 60;
}

/// What Open MPI needs to know on any system, as environment: it reaches every host's daemon.
std::string settings(const LaunchRequest& r) {
    std::string keepalive;
    for (const auto& [name, value] : open_mpi_keepalive)
        keepalive += " " + std::string(name) + "=" + std::string(value);
    std::string text =
        "# Open MPI notices a host that is gone after 8 minutes unless told otherwise.\n"
        "export" +
        keepalive +
        "\n"
        "# A rank that waits spins briefly, then sleeps; Open MPI's yielding would only add switches.\n"
        "export OMPI_MCA_mpi_yield_when_idle=0\n"
        "# In containers, where ranks may not read each other's memory, add:\n"
        "# export OMPI_MCA_btl_vader_single_copy_mechanism=none\n";
    if (!r.interface.empty()) {
        const std::string interface = shell_quoted(r.interface);
        text += "export OMPI_MCA_btl_tcp_if_include=" + interface +
                " OMPI_MCA_oob_tcp_if_include=" + interface + "\n";
    }
    return text;
}

/// What follows "lockstep" on every rank.
std::vector<std::string> train_words(const LaunchRequest& r) {
    std::vector<std::string> words = r.train;
    const bool given = std::any_of(words.begin(), words.end(), [](const std::string& word) {
        return word == "--threads" || word.starts_with("--threads=");
    });
    if (!given) {
        words.insert(words.end(), {"--threads", number(r.threads_per_rank)});
    }
    return words;
}

/// Ranks side by side on their nodes, each with cores of its own for its threads.
std::string mpirun_line(const LaunchRequest& r) {
    return "mpirun -n " + number(ranks(r)) + " --map-by ppr:" + number(r.ranks_per_node) +
           ":node:PE=" + number(r.threads_per_rank) + " --bind-to core " + shell_quoted(r.lockstep) + " " +
           joined(train_words(r));
}

std::string supervised_line(const LaunchRequest& r) {
    return shell_quoted(r.lockstep) + " run -- " + mpirun_line(r);
}

/// The part every shell script shares: start, pass the notice on, and give back the code.
/// bash's wait returns early when a trapped signal comes, so it is asked again while the job lives, and
/// after.
/// @param timer  before the supervised command: what keeps the time where the system does not.
std::string body(const LaunchRequest& r, const std::string& requeue, const std::string& timer = {}) {
    std::string text =
        "set -u\n" + settings(r) +
        "\njob=\nasked=\n"
        "# The notice before the limit, and the system's own end: all ranks commit and stop, code 75.\n"
        "stop() { asked=1; test -n \"$job\" && kill -USR1 \"$job\" 2>/dev/null; }\n" +
        (requeue.empty() ? "trap stop USR1 TERM HUP\n"
                         : "ended=\ntrap stop USR1\ntrap 'ended=1; stop' TERM HUP\n") +
        timer + supervised_line(r) +
        " &\njob=$!\n"
        "# Asked before it had a number.\n"
        "test -z \"$asked\" || stop\n"
        "while kill -0 \"$job\" 2>/dev/null; do wait \"$job\"; done\n"
        "# bash keeps the code of what has ended; a wait that a signal cut short has another.\n"
        "wait \"$job\"\ncode=$?\n";
    if (!requeue.empty()) {
        text +=
            "# Stopped and resumable: queue it again. The same command continues the run. Not what the\n"
            "# system ended: its user may have cancelled it, and what is to run again it queues itself.\n"
            "if [ \"$code\" -eq 75 ] && [ -z \"$ended\" ]; then\n    " +
            requeue + "\nfi\n";
    }
    return text + "exit \"$code\"\n";
}

std::string mpirun_script(const LaunchRequest& r) {
    return "#!/bin/bash\n# Hosts: add --hostfile FILE after mpirun, or run: lockstep run --hosts n1:" +
           number(r.ranks_per_node) + ",n2:" + number(r.ranks_per_node) + " -- mpirun …\n" + body(r, "");
}

std::string slurm_script(const LaunchRequest& r) {
    return "#!/bin/bash\n#SBATCH --job-name=" + r.job_name + "\n#SBATCH --nodes=" + number(r.nodes) +
           "\n#SBATCH --ntasks-per-node=" + number(r.ranks_per_node) +
           "\n#SBATCH --cpus-per-task=" + number(r.threads_per_rank) + "\n#SBATCH --time=" + r.time_limit +
           "\n#SBATCH --signal=B:USR1@" + number(r.notice_seconds) +
           "\n#SBATCH --requeue\n#SBATCH --open-mode=append\n#SBATCH --output=%x-%j.out\n" +
           body(r, "scontrol requeue \"$SLURM_JOB_ID\"");
}

/// Words that give a command its notice, and are gone when it is; signals and code pass through.
std::string timer(const LaunchRequest& r) {
    return "timeout --foreground --preserve-status --signal=USR1 " +
           number(limit_seconds(r) - r.notice_seconds) + " ";
}

std::string pbs_script(const LaunchRequest& r) {
    const int cores = r.ranks_per_node * r.threads_per_rank;
    return "#!/bin/bash\n#PBS -N " + r.job_name + "\n#PBS -l select=" + number(r.nodes) +
           ":ncpus=" + number(cores) + ":mpiprocs=" + number(r.ranks_per_node) +
           ":ompthreads=" + number(r.threads_per_rank) + "\n#PBS -l walltime=" + r.time_limit +
           "\n#PBS -r y\n#PBS -j oe\ncd \"$PBS_O_WORKDIR\"\n"
           "# PBS gives no notice of its own.\n" +
           body(r, "qsub \"$0\"", timer(r));
}

std::string lsf_script(const LaunchRequest& r) {
    const int minutes = limit_minutes(r);
    char limit[32];
    std::snprintf(limit, sizeof limit, "%d:%02d", minutes / 60, minutes % 60);
    return "#!/bin/bash\n#BSUB -J " + r.job_name + "\n#BSUB -n " + number(ranks(r)) +
           "\n#BSUB -R \"span[ptile=" + number(r.ranks_per_node) + "] affinity[core(" +
           number(r.threads_per_rank) + ")]\"\n#BSUB -W " + limit + "\n#BSUB -wa USR1 -wt " +
           number(notice_minutes(r)) +
           "\n#BSUB -r\n#BSUB -Q \"75\"\n#BSUB -o %J.out\n"
           "# Code 75 is queued again by -Q.\n" +
           body(r, "");
}

std::string flux_script(const LaunchRequest& r) {
    return "#!/bin/bash\n#flux: --job-name=" + r.job_name + "\n#flux: -N " + number(r.nodes) +
           "\n#flux: -n " + number(ranks(r)) + "\n#flux: -c " + number(r.threads_per_rank) + "\n#flux: -t " +
           number(limit_minutes(r)) +
           "m\n#flux: --output={{name}}-{{id}}.out\n"
           "# Before 2025 Flux gave its notice (--signal) to jobs alone, not to the script of a batch "
           "job.\n" +
           // Inside a batch job, flux means the instance that ends with it.
           body(r, "flux --parent batch \"$0\"", timer(r));
}

std::string yaml_quoted(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') quoted += '\\';
        if (static_cast<unsigned char>(c) < ' ') {
            char code[8];
            std::snprintf(code, sizeof code, "\\x%02X", static_cast<unsigned>(c));
            quoted += code;
        } else {
            quoted += c;
        }
    }
    return quoted + "\"";
}

/// Words of a container's command, where Kubernetes replaces $(NAME), and $$ by one $.
std::string yaml_command(const std::vector<std::string>& words) {
    std::string text = "[";
    for (const std::string& word : words) {
        std::string doubled;
        for (const char c : word) doubled += c == '$' ? std::string("$$") : std::string(1, c);
        text += (text.size() == 1 ? "" : ", ") + yaml_quoted(doubled);
    }
    return text + "]";
}

/// An MPIJob of the Kubeflow MPI operator (v2beta1). The supervisor is the launcher's main program, so a
/// pod that is evicted (TERM) commits and ends with 75, and the launcher's back-off starts it again.
std::string kubernetes_manifest(const LaunchRequest& r) {
    std::vector<std::string> command = {
        r.lockstep, "run", "--", "mpirun", "--bind-to", "none", "-n", number(ranks(r)), r.lockstep};
    for (const std::string& word : train_words(r)) command.push_back(word);
    const std::string cores = number(r.ranks_per_node * r.threads_per_rank);
    // The image's user: it reads the operator's keys, and writes the runs.
    const std::string pod =
        "          securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000}\n"
        "          volumes:\n"
        "            - name: shared-memory\n"
        "              emptyDir: {medium: Memory, sizeLimit: 2Gi}\n"
        "            - name: runs\n"
        "              persistentVolumeClaim: {claimName: lockstep-runs}\n";
    const std::string mounts =
        "              volumeMounts:\n"
        "                - {name: shared-memory, mountPath: /dev/shm}\n"
        "                - {name: runs, mountPath: /runs}\n";
    std::string keepalive, interfaces;
    for (const auto& [name, value] : open_mpi_keepalive)
        keepalive += "                - {name: " + std::string(name) +
                     ", value: " + yaml_quoted(std::string(value)) + "}\n";
    for (const char* layer : {"btl", "oob"}) {
        if (r.interface.empty()) continue;
        interfaces += "                - {name: OMPI_MCA_" + std::string(layer) +
                      "_tcp_if_include, value: " + yaml_quoted(r.interface) + "}\n";
    }
    return "apiVersion: kubeflow.org/v2beta1\nkind: MPIJob\nmetadata:\n  name: " + r.job_name +
           "\nspec:\n  slotsPerWorker: " + number(r.ranks_per_node) +
           "\n  sshAuthMountPath: /home/lockstep/.ssh\n"
           "  runPolicy:\n    cleanPodPolicy: Running\n    backoffLimit: 100\n  mpiReplicaSpecs:\n"
           "    Launcher:\n      replicas: 1\n      restartPolicy: OnFailure\n      template:\n        "
           "spec:\n"
           "          terminationGracePeriodSeconds: " +
           number(r.notice_seconds) + "\n" + pod +
           "          containers:\n            - name: launcher\n              image: " +
           yaml_quoted(r.image) +
           "\n              workingDir: /runs\n              command: " + yaml_command(command) +
           "\n              env:\n" + keepalive +
           "                - {name: OMPI_MCA_btl_vader_single_copy_mechanism, value: none}\n"
           "                - {name: OMPI_MCA_mpi_yield_when_idle, value: \"0\"}\n" +
           interfaces + mounts + "    Worker:\n      replicas: " + number(r.nodes) +
           "\n      template:\n        spec:\n          terminationGracePeriodSeconds: " +
           number(r.notice_seconds) + "\n" + pod +
           "          containers:\n            - name: worker\n              image: " + yaml_quoted(r.image) +
           "\n              command: [\"/usr/sbin/sshd\", \"-De\", \"-f\", \"/etc/ssh/lockstep_sshd_config\"]"
           "\n              resources:\n                limits: {cpu: \"" +
           cores + "\"}\n" + mounts;
}

}  // namespace

LaunchSystem parse_launch_system(std::string_view name) {
    std::string known;
    for (const auto& [text, system] : systems) {
        if (text == name) return system;
        known += (known.empty() ? "" : ", ") + std::string(text);
    }
    throw Error(ErrorCode::invalid_argument, "--print '" + std::string(name) + "' is not one of " + known);
}

std::string shell_quoted(const std::string& word) {
    constexpr std::string_view plain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/=:,+@%";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

std::string launch_script(const LaunchRequest& r) {
    if (r.train.empty() || (r.train[0] != "train" && r.train[0] != "resume")) {
        throw Error(ErrorCode::invalid_argument,
                    "write what to train after --, as in lockstep launch --print slurm -- train -p plan/ …");
    }
    if (r.nodes < 1 || r.ranks_per_node < 1 || r.threads_per_rank < 1) {
        throw Error(ErrorCode::invalid_argument, "nodes, ranks per node and threads are 1 or more");
    }
    constexpr std::int64_t most = std::numeric_limits<int>::max();
    if (std::int64_t{r.nodes} * r.ranks_per_node > most ||
        std::int64_t{r.ranks_per_node} * r.threads_per_rank > most) {
        throw Error(ErrorCode::invalid_argument,
                    "nodes times ranks per node, and these times threads, are at most 2^31 - 1");
    }
    constexpr std::string_view name_characters = "abcdefghijklmnopqrstuvwxyz0123456789-";
    constexpr std::size_t name_bytes_max = 50;
    if (r.job_name.empty() || r.job_name.size() > name_bytes_max ||
        r.job_name.find_first_not_of(name_characters) != std::string::npos || r.job_name.front() < 'a' ||
        r.job_name.back() == '-') {
        throw Error(
            ErrorCode::invalid_argument,
            "--name '" + r.job_name +
                "': at most 50 lower-case letters, digits and dashes, from a letter to no dash, work on "
                "every system");
    }
    // LSF counts both in minutes.
    const bool too_long = r.system == LaunchSystem::lsf ? notice_minutes(r) >= limit_minutes(r)
                                                        : r.notice_seconds >= limit_seconds(r);
    if (too_long) {
        throw Error(ErrorCode::invalid_argument, "--time " + r.time_limit +
                                                     " is not longer than the notice of " +
                                                     number(r.notice_seconds) + " s");
    }
    switch (r.system) {
        case LaunchSystem::mpirun:
            return mpirun_script(r);
        case LaunchSystem::slurm:
            return slurm_script(r);
        case LaunchSystem::pbs:
            return pbs_script(r);
        case LaunchSystem::lsf:
            return lsf_script(r);
        case LaunchSystem::flux:
            return flux_script(r);
        case LaunchSystem::kubernetes:
            return kubernetes_manifest(r);
    }
    throw Error(ErrorCode::bug, "a launch system without a script");
}

}  // namespace lockstep
