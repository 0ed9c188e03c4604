#include "launch/supervisor/host_pool.h"

#include <array>
#include <csignal>

#include "io/base/error.h"
#include "io/base/host_name.h"

namespace lockstep {

namespace {

/// Host names go into a shell command: letters, digits, dots, dashes and colons of addresses only.
bool is_host_name(std::string_view name) {
    constexpr std::string_view known = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return !name.empty() && name[0] != '-' && name.find_first_not_of(known) == std::string_view::npos;
}

bool is_this_host(const std::string& name) {
    return name == "localhost" || name == own_host_name();
}

std::string with_host(std::string command, const std::string& host) {
    for (std::size_t at = command.find("{}"); at != std::string::npos;
         at = command.find("{}", at + host.size()))
        command.replace(at, 2, host);
    return command;
}

}  // namespace

std::vector<HostSlots> parse_hosts(std::string_view text) {
    std::vector<HostSlots> hosts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        const std::string_view part = text.substr(begin, end - begin);
        begin = end + 1;
        const std::size_t colon = part.find(':');
        HostSlots host{std::string(part.substr(0, colon)), 1};
        const std::string slots(colon == std::string_view::npos ? "1" : part.substr(colon + 1));
        const bool is_number =
            !slots.empty() && slots.size() < 6 && slots.find_first_not_of("0123456789") == std::string::npos;
        if (is_number) host.slots = std::stoi(slots);
        if (!is_host_name(host.name) || !is_number || host.slots < 1) {
            throw Error(ErrorCode::invalid_argument, "--hosts: '" + std::string(part) +
                                                         "' is not HOST or HOST:SLOTS; write them as in "
                                                         "node1:8,node2:8");
        }
        hosts.push_back(std::move(host));
    }
    return hosts;
}

std::string to_text(const std::vector<HostSlots>& hosts) {
    std::string text;
    for (const HostSlots& host : hosts) {
        text += (text.empty() ? "" : ",") + host.name + ":" + std::to_string(host.slots);
    }
    return text;
}

int total_slots(const std::vector<HostSlots>& hosts) {
    int slots = 0;
    for (const HostSlots& host : hosts) slots += host.slots;
    return slots;
}

HostPool::HostPool(Processes& processes, std::vector<HostSlots> hosts, std::string probe,
                   double deadline_seconds)
    : processes_(processes),
      hosts_(std::move(hosts)),
      command_(std::move(probe)),
      deadline_seconds_(deadline_seconds) {}

void HostPool::begin() {
    probes_.clear();
    begun_ = monotonic_seconds();
    for (const HostSlots& host : hosts_) {
        Probe probe{host, this_host};
        if (!is_this_host(host.name)) {
            // Nobody is harmed by a question that cannot be asked now, least of all a job that runs.
            try {
                probe.process =
                    processes_.start({"/bin/sh", "-c", with_host(command_, host.name)}, {}, "/dev/null");
            } catch (const Error&) {
                probe.process = not_asked;
            }
        }
        probes_.push_back(std::move(probe));
    }
}

bool HostPool::all_answered() {
    for (const Probe& probe : probes_) {
        if (probe.process > 0 && !processes_.exit_code(probe.process)) {
            if (monotonic_seconds() - begun_ < deadline_seconds_) return false;
            processes_.signal(probe.process, SIGKILL);
        }
    }
    return true;
}

std::vector<HostSlots> HostPool::answers() {
    std::vector<HostSlots> alive;
    for (const Probe& probe : probes_) {
        const bool answered = probe.process > 0 && processes_.exit_code(probe.process) == 0;
        if (probe.process == this_host || answered) alive.push_back(probe.host);
    }
    probes_.clear();
    return alive;
}

const std::vector<HostSlots>& HostPool::ask() {
    begin();
    while (!all_answered()) processes_.wait(0.05);
    alive_ = answers();
    return alive_;
}

std::optional<int> HostPool::slots_in_reach() {
    if (probes_.empty()) {
        begin();
        return std::nullopt;
    }
    if (!all_answered()) return std::nullopt;
    return total_slots(answers());
}

}  // namespace lockstep
