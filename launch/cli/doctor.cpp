#include <unistd.h>

#include <algorithm>
#include <optional>

#include "coordinator/version.h"
#include "io/base/error.h"
#include "kernels/blas_runtime.h"
#include "kernels/gemm.h"
#include "kernels/speed_probe.h"
#include "launch/cli/runs/training.h"
#include "worker/model/transformer.h"
#include "worker/step_rate.h"

namespace lockstep {

namespace {

struct DoctorArguments {
    std::string model = "small";
    std::size_t tokens = 1024;
    std::optional<std::size_t> segments;
    std::size_t vocabulary = 257;
    std::optional<int> threads;
    double seconds = 2.0;
    std::string gemm = "auto";
    std::string numerics = "fma256";
};

constexpr double probe_seconds = 0.5;

int run_doctor(const Invocation& invocation, const DoctorArguments& arguments) {
    require_one_rank("doctor");
    const std::size_t segments = arguments.segments.value_or(std::min<std::size_t>(4, arguments.tokens));
    if (segments > arguments.tokens) {
        throw Error(ErrorCode::invalid_argument,
                    "--segments is " + std::to_string(segments) + ", more than the --tokens of " +
                        std::to_string(arguments.tokens) + " can be divided into");
    }
    const int cores = default_threads(World{});
    const int threads = arguments.threads.value_or(cores);
    const auto memory = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    const GemmNumerics numerics = parse_gemm_numerics(arguments.numerics);
    const std::string numerics_name(name_of(numerics));
    invocation.say(std::string("lockstep ") + tool_version + ", numerics " + numerics_name);
    invocation.say("cores " + std::to_string(cores) + ", memory " + bytes_text(memory) +
                   ", instruction set " + name_of(kernel_isa()));
    const ModelConfig config = load_model_config(arguments.model, arguments.vocabulary).config;
    ThreadPool pool(threads);
    const Gemm gemm(pool, parse_gemm_backend(arguments.gemm), gemm_shapes(config, arguments.tokens),
                    numerics);
    invocation.say("OpenBLAS " + blas_version() + ", core type " + blas_core_type() +
                   (blas_core_type_was_asked_for() ? " (OPENBLAS_CORETYPE of the environment)" : ""));
    invocation.say("matrix product: " + gemm.describe());

    // Probe and step in turn, so that a change of the machine's speed meets both.
    const double probe_before = measure_sgemm_rate(arguments.tokens, 1024, 256, threads, probe_seconds);
    const double large_probe = measure_sgemm_rate(1024, 1024, 1024, threads, probe_seconds);
    const StepRate step = measure_step_rate(config, gemm, arguments.tokens, segments, arguments.seconds);
    const double probe_after = measure_sgemm_rate(arguments.tokens, 1024, 256, threads, probe_seconds);
    const double probe = (probe_before + probe_after) / 2;
    const double share = step.flop_per_second / probe;
    invocation.say("sgemm probe, " + std::to_string(threads) + " thread(s): " + fixed(probe / 1e9, 1) +
                   " GFLOP/s at " + std::to_string(arguments.tokens) + "x1024x256, " +
                   fixed(large_probe / 1e9, 1) + " at 1024x1024x1024");
    invocation.say("step of " + arguments.model + ", " + std::to_string(arguments.tokens) + " tokens in " +
                   std::to_string(segments) + " segments: " + fixed(step.median_seconds * 1e3, 1) + " ms, " +
                   rate_text(static_cast<double>(step.tokens) / step.median_seconds) + " tokens/s, " +
                   fixed(step.flop_per_second / 1e9, 1) + " GFLOP/s = " + fixed(share, 2) + " of the probe");
    invocation.give({{"version", tool_version},
                     {"numerics", numerics_name},
                     {"cores", cores},
                     {"memory_bytes", memory},
                     {"instruction_set", name_of(kernel_isa())},
                     {"blas_version", blas_version()},
                     {"blas_core_type", blas_core_type()},
                     {"gemm", std::string(name_of(gemm.backend()))},
                     {"gemm_description", gemm.describe()},
                     {"threads", threads},
                     {"probe_flop_per_second", probe},
                     {"probe_large_flop_per_second", large_probe},
                     {"model", arguments.model},
                     {"step_tokens", step.tokens},
                     {"step_seconds", step.median_seconds},
                     {"step_flop_per_second", step.flop_per_second},
                     {"step_over_probe", share}});
    return 0;
}

}  // namespace

void add_doctor(CLI::App& app, Invocation& invocation) {
    auto arguments = std::make_shared<DoctorArguments>();
    CLI::App* verb =
        add_verb(app, invocation, "doctor", "What this machine can do, and whether the contract holds on it",
                 "  lockstep doctor\n"
                 "  lockstep doctor --model gpt2-124m --tokens 1024 --segments 4",
                 [&invocation, arguments] { return run_doctor(invocation, *arguments); });
    verb->add_option("-m,--model", arguments->model, "Model whose step is measured (small)");
    verb->add_option("--tokens", arguments->tokens, "Tokens of a pack (1024)")->check(CLI::Range(1, 1 << 20));
    verb->add_option("--segments", arguments->segments, "Segments of the pack (4)")
        ->check(CLI::Range(1, 1 << 20));
    verb->add_option("--threads", arguments->threads, "Threads (all cores)")->check(CLI::Range(1, 1024));
    verb->add_option("--seconds", arguments->seconds, "How long to measure the step (2)")
        ->check(CLI::Range(0.1, 600.0));
    verb->add_option("--gemm", arguments->gemm, "auto, openblas, own or reference");
    verb->add_option("--numerics", arguments->numerics, "fma256 or bf16 (fma256)");
}

}  // namespace lockstep
