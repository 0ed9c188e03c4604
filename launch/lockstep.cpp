#include "launch/lockstep.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "coordinator/version.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "kernels/blas_runtime.h"
#include "launch/cli/invocation.h"
#include "launch/cli/supervisor_verbs.h"

namespace lockstep {

namespace {

std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

/// The deepest verb that was understood.
const CLI::App* deepest(const CLI::App& app) {
    const CLI::App* at = &app;
    while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
    return at;
}

/// What an unknown word was most likely meant to be; empty if nothing is near.
std::string suggestion(const CLI::App& app, const std::string& word) {
    std::string plain = word.substr(0, word.find('='));
    std::vector<std::string> known;
    for (const CLI::Option* option : app.get_options()) {
        for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
        for (const std::string& name : option->get_snames()) known.push_back("-" + name);
    }
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
        known.push_back(verb->get_name());
    }
    std::string best;
    std::size_t best_distance = std::max<std::size_t>(2, plain.size() / 3) + 1;
    for (const std::string& name : known) {
        const std::size_t distance = edit_distance(plain, name);
        if (distance < best_distance) {
            best_distance = distance;
            best = name;
        }
    }
    return best;
}

/// CLI11 wraps negative numbers given for unsigned options around; only this option has any use for one.
void refuse_negative_numbers(const std::vector<std::string>& arguments) {
    const auto is_negative = [](std::string_view text) {
        return text.size() > 1 && text[0] == '-' && (std::isdigit(static_cast<unsigned char>(text[1])) != 0);
    };
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::size_t equals = arguments[i].find('=');
        const bool attached = arguments[i].starts_with("--") && equals != std::string::npos;
        const std::string option =
            attached ? arguments[i].substr(0, equals) : (i > 0 ? arguments[i - 1] : "");
        const std::string value = attached ? arguments[i].substr(equals + 1) : arguments[i];
        if (is_negative(value) && option != "--scale-exponent") {
            throw Error(ErrorCode::invalid_argument, option + " is " + value + "; it cannot be negative");
        }
    }
}

/// One way to write a number: CLI11 takes "010" for eight, and what no integer holds for the greatest one.
template <class Integer>
std::string require_decimal(std::string& text) {
    Integer value = 0;
    const std::string_view digits = std::string_view(text).substr(text.starts_with('+') ? 1 : 0);
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (failure == std::errc::invalid_argument || end != digits.data() + digits.size())
        return "'" + text + "' is no whole number";
    if (failure == std::errc::result_out_of_range)
        return text + " is out of range; allowed: " + std::to_string(std::numeric_limits<Integer>::min()) +
               " to " + std::to_string(std::numeric_limits<Integer>::max());
    text = std::to_string(value);
    return {};
}

std::string require_finite(std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0') return "'" + text + "' is no number";
    return std::isfinite(value) ? std::string() : "'" + text + "' is no finite number";
}

/// Of all options of all verbs, before any validator of their own.
void check_numbers(CLI::App& app) {
    for (CLI::Option* option : app.get_options()) {
        const std::string type = option->get_type_name();
        if (option->get_items_expected_max() == 0) continue;  // A flag.
        if (type.starts_with("UINT")) option->transform(CLI::Validator(require_decimal<std::uint64_t>, ""));
        if (type.starts_with("INT")) option->transform(CLI::Validator(require_decimal<std::int64_t>, ""));
        if (type.starts_with("FLOAT")) option->transform(CLI::Validator(require_finite, ""));
    }
    for (CLI::App* verb : app.get_subcommands([](CLI::App*) { return true; })) check_numbers(*verb);
}

/// Lazarus' spellings become ours: "data batchplan build", "train sft --batch-plan".
std::vector<std::string> normalized_arguments(int argc, char** argv) {
    std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() > 1 && arguments[0] == "data") arguments.erase(arguments.begin());
    if (arguments.size() > 1 && arguments[0] == "train" && arguments[1] == "sft") {
        arguments.erase(arguments.begin() + 1);
    }
    refuse_negative_numbers(arguments);
    // CLI11 takes them last first.
    std::reverse(arguments.begin(), arguments.end());
    return arguments;
}

/// Under mpirun one rank speaks for all; after an agreement they all say the same.
bool is_first_rank() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
        if (const char* rank = std::getenv(name)) return std::string_view(rank) == "0";
    }
    return true;
}

/// One line for people; under --json also {"error", "code"} on standard output.
int report(const Invocation& invocation, ErrorCode code, const std::string& message) {
    log_rank(LogLevel::error, message);
    const int exit_code = exit_code_of(code);
    try {
        if (is_first_rank()) invocation.give({{"error", message}, {"code", exit_code}});
    } catch (const Error&) {
        // Nobody reads standard output; the exit code still says it.
    }
    return exit_code;
}

int report_usage(const Invocation& invocation, const CLI::App& app, const CLI::ParseError& error) {
    const CLI::App* verb = deepest(app);
    std::string message = error.what();
    std::vector<std::string> unknown = app.remaining(true);
    std::erase(unknown, "--");
    // What a validator refuses leaves the rest unparsed, and says so itself.
    const bool refused = dynamic_cast<const CLI::ValidationError*>(&error) != nullptr ||
                         dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr;
    if (!unknown.empty() && !refused) {
        message = "unknown argument '" + unknown.front() + "'";
        const std::string meant = suggestion(*verb, unknown.front());
        if (!meant.empty()) message += "; did you mean '" + meant + "'?";
    }
    std::replace(message.begin(), message.end(), '\n', ' ');
    std::string name;
    for (const CLI::App* at = verb; at != nullptr; at = at->get_parent())
        name = at->get_name() + (name.empty() ? "" : " ") + name;
    return report(invocation, ErrorCode::invalid_argument, message + " (see " + name + " --help)");
}

enum class Act { yes, no };

int parse_and_act(int argc, char** argv, const WorkerHooks& hooks, Act act) {
    Invocation invocation;
    invocation.hooks = hooks;
    CLI::App app("Lockstep: a lockfile for training data, and the machine that enforces it.", "lockstep");
    app.set_version_flag("--version", std::string("lockstep ") + tool_version);
    app.require_subcommand(1);
    app.failure_message(CLI::FailureMessage::simple);
    add_ingest(app, invocation);
    add_corpus(app, invocation);
    add_lengths(app, invocation);
    add_batchplan(app, invocation);
    add_train(app, invocation);
    add_resume(app, invocation);
    add_verify(app, invocation);
    add_inspect(app, invocation);
    add_checkpoint(app, invocation);
    add_doctor(app, invocation);
    add_batching(app, invocation);
    add_tokenizer(app, invocation);
    add_bench(app, invocation);
    add_run(app, invocation);
    add_chaos(app, invocation);
    add_launch(app, invocation);
    check_numbers(app);
    try {
        // Known before the parse, which may fail.
        invocation.json = std::any_of(argv + 1, argv + argc, [](const char* argument) {
            return std::string_view(argument) == "--json";
        });
        std::vector<std::string> arguments = normalized_arguments(argc, argv);
        app.parse(std::move(arguments));
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        return report_usage(invocation, app, error);
    } catch (const Error& error) {
        return report(invocation, error.code(), error.what());
    }
    if (act == Act::no) return 0;
    try {
        set_floating_point_mode();
        return invocation.action();
    } catch (const std::exception& failure) {
        const Error error = error_of(failure);
        return report(invocation, error.code(), error.what());
    }
}

}  // namespace

int run_lockstep(int argc, char** argv, const WorkerHooks& hooks) {
    return parse_and_act(argc, argv, hooks, Act::yes);
}

int check_arguments(int argc, char** argv) {
    return parse_and_act(argc, argv, {}, Act::no);
}

}  // namespace lockstep
