#include "io/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "io/base/error.h"

namespace lockstep {

namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warning:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

struct Log {
    std::mutex mutex;
    Rank rank{0};
    WorldSize world_size{1};
    std::shared_ptr<spdlog::sinks::stderr_color_sink_mt> terminal =
        std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
    spdlog::logger logger{"lockstep", terminal};

    Log() {
        logger.set_level(spdlog::level::debug);
        logger.flush_on(spdlog::level::info);
        terminal->set_level(spdlog::level::info);
        const char* no_color = std::getenv("NO_COLOR");
        if (no_color != nullptr && *no_color != '\0') terminal->set_color_mode(spdlog::color_mode::never);
        terminal->set_pattern("%^lockstep%$: %v");
    }
};

/// Never destroyed: a thread that was left with its words may still be in it when the process ends.
Log& the_log() {
    static Log* const log = new Log;
    return *log;
}

std::string level_prefix(LogLevel level) {
    if (level == LogLevel::warning) return "warning: ";
    if (level == LogLevel::error) return "error: ";
    return {};
}

}  // namespace

void log_identify(Rank rank, WorldSize world_size) {
    Log& log = the_log();
    const std::lock_guard lock(log.mutex);
    log.rank = rank;
    log.world_size = world_size;
}

void log_set_level(LogLevel level) {
    the_log().terminal->set_level(to_spdlog(level));
}

void log_to_file(const std::string& path) {
    Log& log = the_log();
    const std::lock_guard lock(log.mutex);
    try {
        auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
        file->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
        auto& sinks = log.logger.sinks();
        sinks.erase(sinks.begin() + 1, sinks.end());
        sinks.push_back(std::move(file));
    } catch (const spdlog::spdlog_ex& failure) {
        throw Error(ErrorCode::io_failure, "cannot open log file '" + path + "': " + failure.what());
    }
}

void log_root(LogLevel level, std::string_view message) {
    Log& log = the_log();
    if (log.rank.value != 0) return;
    log.logger.log(to_spdlog(level), "{}{}", level_prefix(level), message);
}

void log_rank(LogLevel level, std::string_view message) {
    Log& log = the_log();
    if (log.world_size.value == 1) {
        log.logger.log(to_spdlog(level), "{}{}", level_prefix(level), message);
    } else {
        log.logger.log(to_spdlog(level), "rank {}: {}{}", log.rank.value, level_prefix(level), message);
    }
}

bool log_rank_within(std::chrono::milliseconds patience, LogLevel level, std::string message) noexcept {
    try {
        const auto taken = std::make_shared<std::promise<void>>();
        std::thread([taken, level, message = std::move(message)] {
            log_rank(level, message);
            taken->set_value();
        }).detach();
        return taken->get_future().wait_for(patience) == std::future_status::ready;
    } catch (const std::exception&) {
        return false;
    }
}

}  // namespace lockstep
