# A Slurm cluster on the hosts of cluster.sh, to be sourced after it: h1 controls, h2… compute. Configuration, key,
# socket, state and logs are in one folder; every daemon is a process of a host and ends with it.
#
#   slurm_up FOLDER HOSTS        HOSTS of them compute, and are idle when it returns
#   start_node H                 after power_on
#   on_control COMMAND…          sbatch, scontrol, squeue …
#   job_field ID NAME            of scontrol show job

# Seconds. Longer than mpirun takes to notice a lost host, as on any real cluster.
node_timeout=${LOCKSTEP_SLURM_NODE_TIMEOUT:-20}

slurm_needs() {
    local tool
    for tool in munged slurmctld slurmd sbatch scontrol srun; do
        command -v "$tool" >/dev/null || cluster_fail "no $tool; install slurm-wlm and munge, or configure with -D$cluster_option=OFF"
    done
}

on_host() { # H LOG COMMAND…
    local host=$1 log=$slurm/log/$2
    shift 2
    "$cluster/agent" "$host" "$@" </dev/null >>"$log" 2>&1 &
}
on_control() { "$cluster/agent" h1 SLURM_CONF="$slurm/slurm.conf" "$@" </dev/null; }

start_node() {
    # Slurm has a folder of its own for each node, as each real one has.
    mkdir -p "$slurm/spool-$1"
    on_host "$1" "$1.out" slurmd -D -N "$1" -f "$slurm/slurm.conf"
}

idle_nodes() { on_control sinfo -h -t idle -o %D | awk '{ n += $1 } END { print n + 0 }'; }
node_state() { on_control sinfo -h -n "$1" -o %T; }
job_field() { on_control scontrol show job -o "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1; }

write_slurm_conf() { # HOSTS
    # Processors as claimed: a test needs two a node, whatever the machine has.
    cat >"$slurm/slurm.conf" <<CONF
ClusterName=lockstep
SlurmctldHost=h1
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$slurm/state
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmctldLogFile=$slurm/log/slurmctld.log
SlurmdSpoolDir=$slurm/spool-%n
SlurmdPidFile=$slurm/spool-%n/slurmd.pid
SlurmdLogFile=$slurm/log/%n.log
SlurmdDebug=verbose
SlurmctldDebug=verbose
PlugStackConfig=$slurm/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2
ReturnToService=2
SlurmdTimeout=$node_timeout
MessageTimeout=5
KillWait=10
SlurmdParameters=config_overrides
NodeName=h[2-$(($1 + 1))] CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

slurm_up() { # FOLDER HOSTS
    slurm=$1
    local k
    mkdir -p "$slurm/state" "$slurm/log"
    : >"$slurm/plugstack.conf"
    (umask 077 && head -c 128 /dev/urandom >"$slurm/munge.key")
    cluster_up "$slurm/cluster" $(($2 + 1))
    write_slurm_conf "$2"
    on_host h1 munged.out munged --foreground --key-file="$slurm/munge.key" --socket="$slurm/munge.socket" \
        --pid-file="$slurm/munged.pid" --log-file="$slurm/log/munged.log" --seed-file="$slurm/munged.seed"
    for _ in $(seq 100); do
        [ ! -S "$slurm/munge.socket" ] || break
        sleep 0.1
    done
    [ -S "$slurm/munge.socket" ] || cluster_fail "munged did not start: $(tail -n 1 "$slurm/log/munged.out")"
    on_host h1 slurmctld.out slurmctld -D -f "$slurm/slurm.conf"
    for k in $(seq 2 $(($2 + 1))); do start_node "h$k"; done
    for _ in $(seq 60); do
        [ "$(idle_nodes 2>/dev/null)" != "$2" ] || return 0
        sleep 0.5
    done
    cluster_fail "Slurm did not start: $(tail -n 5 "$slurm"/log/*)"
}
