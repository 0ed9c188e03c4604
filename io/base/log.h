// io/base/log.h
//
// Lines for people, on standard error (spdlog behind log.cpp). Log lines say who
// speaks: log_root for what is true of the run, printed by rank 0 alone; log_rank
// for what is true of one rank. No collectives in logging.

#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "io/base/ids.h"

namespace lockstep {

enum class LogLevel { debug, info, warning, error };

/// Who this process is; until called it speaks as rank 0 of 1.
void log_identify(Rank rank, WorldSize world_size);

/// Least level printed on standard error; info at first.
void log_set_level(LogLevel level);

/// Also append every line, with time and rank, to this file (run/logs/rank-00000.log).
/// @throws Error{io_failure} if it cannot be opened.
void log_to_file(const std::string& path);

void log_root(LogLevel level, std::string_view message);
void log_rank(LogLevel level, std::string_view message);
/// As log_rank, for the last words of a process: standard error or the log file may be what it is stuck in.
/// @return whether they were taken within `patience`; if not, a thread is left waiting with them.
bool log_rank_within(std::chrono::milliseconds patience, LogLevel level, std::string message) noexcept;

}  // namespace lockstep
