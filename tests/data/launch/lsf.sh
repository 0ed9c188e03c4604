#!/bin/bash
#BSUB -J lockstep
#BSUB -n 32
#BSUB -R "span[ptile=8] affinity[core(2)]"
#BSUB -W 12:30
#BSUB -wa USR1 -wt 5
#BSUB -r
#BSUB -Q "75"
#BSUB -o %J.out
# Code 75 is queued again by -Q.
set -u
# Open MPI notices a host that is gone after 8 minutes unless told otherwise.
export OMPI_MCA_oob_tcp_keepalive_time=3 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=3
# A rank that waits spins briefly, then sleeps; Open MPI's yielding would only add switches.
export OMPI_MCA_mpi_yield_when_idle=0
# In containers, where ranks may not read each other's memory, add:
# export OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0

job=
asked=
# The notice before the limit, and the system's own end: all ranks commit and stop, code 75.
stop() { asked=1; test -n "$job" && kill -USR1 "$job" 2>/dev/null; }
trap stop USR1 TERM HUP
lockstep run -- mpirun -n 32 --map-by ppr:8:node:PE=2 --bind-to core lockstep train -p /runs/plan -d 'web=/runs/web corpus.h5' -m tiny -o /runs/a --threads 2 &
job=$!
# Asked before it had a number.
test -z "$asked" || stop
while kill -0 "$job" 2>/dev/null; do wait "$job"; done
# bash keeps the code of what has ended; a wait that a signal cut short has another.
wait "$job"
code=$?
exit "$code"
