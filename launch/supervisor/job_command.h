// launch/supervisor/job_command.h
//
// A command that starts training, as the user typed it, and how a restart changes
// it: `train` learns to continue, mpirun gets other hosts and another number of ranks.

#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lockstep {

struct JobCommand {
    std::vector<std::string> words;
    std::filesystem::path run;            ///< The run's folder.
    std::optional<double> hang_timeout;   ///< As given to train or resume [s].
    std::optional<std::size_t> launcher;  ///< Index of mpirun's word.
    std::size_t verb = 0;      ///< Index of "train" or "resume"; words.size() when there is neither.
    std::size_t program = 0;   ///< Index of what mpirun starts, which ends its own options.
    std::optional<int> ranks;  ///< mpirun's -n.
};

/// @param run  the run's folder, where the command does not tell (a script of the user's); else empty.
/// @throws Error{invalid_argument} if the command is empty, names no run folder, is not one that trains, or
/// has a number of ranks that is none.
JobCommand parse_job_command(std::vector<std::string> words, const std::string& run);

/// The same command for another run folder.
JobCommand moved_to(const JobCommand& command, const std::filesystem::path& run);

struct JobStart {
    std::optional<int> ranks;            ///< Replaces mpirun's -n.
    std::string hosts;                   ///< "h1:2,h3:2" for mpirun's --host; empty: as typed.
    std::optional<double> hang_timeout;  ///< Given to train or resume unless it has one.
    std::vector<std::string> handed_on;  ///< Variables for mpirun's -x: the ranks have them on every host.
};

/// The words of one start. `train` gets --continue, so that every start is the same command.
std::vector<std::string> words_of(const JobCommand& command, const JobStart& start);

}  // namespace lockstep
