#include <csignal>

#include "kernels/blas_runtime.h"
#include "launch/lockstep.h"

int main(int argc, char** argv) {
    // Before anything else, MPI above all: OpenBLAS chooses its kernels while it loads.
    lockstep::ensure_blas_core_type(argv);
    // A write over the file size limit (ulimit -f) is refused then, and told as every refused write.
    std::signal(SIGXFSZ, SIG_IGN);
    return lockstep::run_lockstep(argc, argv);
}
