// tests/support/program.h
//
// Runs our program, or mpirun on it, as a user would: arguments in, exit code and
// both streams out.

#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace lockstep::test {

struct ProgramResult {
    int exit_code = -1;  ///< 128 + signal if killed by one.
    std::string out, err;
};

using Environment = std::map<std::string, std::string>;

/// Run `arguments[0]` with the rest and these variables added, in `directory` if given.
ProgramResult run_program(const std::vector<std::string>& arguments, const Environment& environment = {},
                          const std::filesystem::path& directory = {});

/// The lockstep binary on `ranks` ranks: 0 means without mpirun.
ProgramResult run_lockstep_program(int ranks, const std::vector<std::string>& arguments,
                                   const Environment& environment = {});
/// The same with the binary that has hooks (tests/end_to_end/hooked_main.cpp).
ProgramResult run_hooked_program(int ranks, const std::vector<std::string>& arguments,
                                 const Environment& environment = {});

/// Lines of a file; empty if it does not exist.
std::vector<std::string> lines_of(const std::filesystem::path& path);

}  // namespace lockstep::test
