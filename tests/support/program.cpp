#include "tests/support/program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace lockstep::test {

namespace {

std::string take_file(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    unlink(path.c_str());
    return text.str();
}

std::string make_capture_file() {
    std::string path = (std::filesystem::temp_directory_path() / "lockstep-capture-XXXXXX").string();
    const int descriptor = mkstemp(path.data());
    if (descriptor < 0) throw std::runtime_error("cannot make a capture file");
    close(descriptor);
    return path;
}

[[noreturn]] void become(const std::vector<std::string>& arguments, const Environment& environment,
                         const std::filesystem::path& directory, const std::string& out,
                         const std::string& err) {
    const int out_descriptor = open(out.c_str(), O_WRONLY | O_TRUNC);
    const int err_descriptor = open(err.c_str(), O_WRONLY | O_TRUNC);
    const int in_descriptor = open("/dev/null", O_RDONLY);
    dup2(in_descriptor, STDIN_FILENO);
    dup2(out_descriptor, STDOUT_FILENO);
    dup2(err_descriptor, STDERR_FILENO);
    if (!directory.empty() && chdir(directory.c_str()) != 0) _exit(126);
    // The kernels a program gets are a test's to choose, not those of the shell that runs it.
    unsetenv("OPENBLAS_CORETYPE");
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> raw;
    for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
    raw.push_back(nullptr);
    execvp(raw[0], raw.data());
    _exit(127);
}

ProgramResult run_binary(const std::string& binary, int ranks, const std::vector<std::string>& arguments,
                         Environment environment) {
    environment.insert({{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                        {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                        // What Open MPI leaves behind at exit is its own.
                        {"ASAN_OPTIONS", "detect_leaks=0"}});
    std::vector<std::string> all;
    if (ranks > 0) all = {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", std::to_string(ranks)};
    all.push_back(binary);
    all.insert(all.end(), arguments.begin(), arguments.end());
    return run_program(all, environment);
}

}  // namespace

ProgramResult run_program(const std::vector<std::string>& arguments, const Environment& environment,
                          const std::filesystem::path& directory) {
    const std::string out = make_capture_file();
    const std::string err = make_capture_file();
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("cannot fork");
    if (child == 0) become(arguments, environment, directory, out, err);
    int status = 0;
    waitpid(child, &status, 0);
    ProgramResult result;
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.out = take_file(out);
    result.err = take_file(err);
    return result;
}

ProgramResult run_lockstep_program(int ranks, const std::vector<std::string>& arguments,
                                   const Environment& environment) {
    return run_binary(LOCKSTEP_BINARY, ranks, arguments, environment);
}

ProgramResult run_hooked_program(int ranks, const std::vector<std::string>& arguments,
                                 const Environment& environment) {
    return run_binary(LOCKSTEP_HOOKED_BINARY, ranks, arguments, environment);
}

std::vector<std::string> lines_of(const std::filesystem::path& path) {
    std::vector<std::string> lines;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

}  // namespace lockstep::test
