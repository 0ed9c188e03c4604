// launch/cli/invocation.h
//
// What a verb gets from the command line's common part, and how it speaks:
// with --json one object on standard output and people's text on standard error.

#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "worker/worker_hooks.h"

namespace lockstep {

/// Shared by all verbs; outlives the parse.
struct Invocation {
    bool json = false;
    WorkerHooks hooks;
    std::function<int()> action;  ///< Set by the verb that was chosen; returns the exit code.

    /// People's text: standard output, or standard error under --json.
    void say(const std::string& line) const;
    /// The result, printed only under --json.
    void give(const nlohmann::ordered_json& object) const;
};

/// A verb with --json and the action that runs when it is chosen. `examples` come first in its help.
CLI::App* add_verb(CLI::App& parent, Invocation& invocation, const std::string& name,
                   const std::string& description, const std::string& examples, std::function<int()> action);

void add_ingest(CLI::App& app, Invocation& invocation);
void add_corpus(CLI::App& app, Invocation& invocation);
void add_lengths(CLI::App& app, Invocation& invocation);
void add_batchplan(CLI::App& app, Invocation& invocation);
void add_plan_import(CLI::App& batchplan, Invocation& invocation);
void add_train(CLI::App& app, Invocation& invocation);
void add_resume(CLI::App& app, Invocation& invocation);
void add_verify(CLI::App& app, Invocation& invocation);
void add_inspect(CLI::App& app, Invocation& invocation);
void add_checkpoint(CLI::App& app, Invocation& invocation);
/// `checkpoint export`, below `checkpoint`.
void add_checkpoint_export(CLI::App& checkpoint, Invocation& invocation);
void add_doctor(CLI::App& app, Invocation& invocation);
void add_batching(CLI::App& app, Invocation& invocation);
void add_tokenizer(CLI::App& app, Invocation& invocation);
void add_bench(CLI::App& app, Invocation& invocation);
// Below `bench`.
void add_bench_plan(CLI::App& bench, Invocation& invocation);
void add_bench_gemm(CLI::App& bench, Invocation& invocation);
void add_bench_attention(CLI::App& bench, Invocation& invocation);
void add_bench_allreduce(CLI::App& bench, Invocation& invocation);
void add_bench_step(CLI::App& bench, Invocation& invocation);

/// For verbs that work on one rank. @throws Error{invalid_argument} under mpirun with more.
void require_one_rank(const std::string& verb);

/// "4,096", "1.5 MB", "0:42", "31.2k": numbers as people read them.
std::string with_commas(std::uint64_t value);
std::string bytes_text(std::uint64_t bytes);
std::string duration_text(double seconds);
std::string rate_text(double per_second);
std::string fixed(double value, int digits);

/// "[NAME=]FILE" → name (may be empty) and file.
std::pair<std::string, std::string> split_named(const std::string& argument);

}  // namespace lockstep
