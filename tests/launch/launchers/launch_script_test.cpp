// Scripts are compared with golden texts and read by bash; LOCKSTEP_TEST_WRITE_GOLDEN=1 writes them anew.

#include "launch/launchers/launch_script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "io/base/error.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

struct System {
    const char* name;
    const char* file;
    bool is_shell;
};

constexpr System systems[] = {
    {"mpirun", "mpirun.sh", true}, {"slurm", "slurm.sh", true}, {"pbs", "pbs.sh", true},
    {"lsf", "lsf.sh", true},       {"flux", "flux.sh", true},   {"kubernetes", "kubernetes.yaml", false},
};

LaunchRequest request_for(const char* system) {
    LaunchRequest request;
    request.system = parse_launch_system(system);
    request.train = {"train", "-p",   "/runs/plan", "-d",     "web=/runs/web corpus.h5",
                     "-m",    "tiny", "-o",         "/runs/a"};
    request.nodes = 4;
    request.ranks_per_node = 8;
    request.threads_per_rank = 2;
    request.time_limit = "12:30:00";
    request.interface = "eth0";
    return request;
}

class LaunchScriptTest : public testing::TestWithParam<System> {};

TEST_P(LaunchScriptTest, IsTheGoldenText) {
    const std::string script = launch_script(request_for(GetParam().name));
    const std::string path = std::string(LOCKSTEP_TEST_DATA) + "/launch/" + GetParam().file;
    if (std::getenv("LOCKSTEP_TEST_WRITE_GOLDEN") != nullptr) std::ofstream(path) << script;
    std::ostringstream golden;
    golden << std::ifstream(path).rdbuf();
    EXPECT_EQ(script, golden.str()) << path;
}

TEST_P(LaunchScriptTest, ShellsReadIt) {
    const TemporaryDirectory folder;
    const std::string script = launch_script(request_for(GetParam().name));
    const auto file = folder.write("script", script);
    if (GetParam().is_shell) {
        const auto result = test::run_program({"bash", "-n", file.string()});
        EXPECT_EQ(result.exit_code, 0) << result.err;
        EXPECT_THAT(script, testing::HasSubstr("'web=/runs/web corpus.h5'"));
        EXPECT_THAT(script, testing::HasSubstr("kill -USR1 \"$job\""));
    } else {
        EXPECT_THAT(script, testing::HasSubstr("\"web=/runs/web corpus.h5\""));
    }
    EXPECT_THAT(script, testing::HasSubstr("keepalive_time"));
}

TEST_P(LaunchScriptTest, WhatNoSystemTakesIsRefused) {
    const auto refused = [](auto&& change) {
        LaunchRequest request = request_for(GetParam().name);
        change(request);
        EXPECT_THROW(launch_script(request), Error);
    };
    refused([](LaunchRequest& r) { r.nodes = r.ranks_per_node = 100000; });
    for (const char* time : {" 01:00:00", "+1:00:00", "01:00: 5", "1:00", "01:00:60"})
        refused([&](LaunchRequest& r) { r.time_limit = time; });
    for (const char* name : {"", "-a", "a-", "4", "A", "a b"})
        refused([&](LaunchRequest& r) { r.job_name = name; });
    refused([](LaunchRequest& r) { r.job_name.assign(51, 'a'); });
}

TEST(LaunchManifestTest, ReplacesNothingInTheWordsOfTheCommand) {
    LaunchRequest request = request_for("kubernetes");
    request.train = {"train", "-o", "$(HOME)/$$a\nb"};
    EXPECT_THAT(launch_script(request), testing::HasSubstr(R"("-o", "$$(HOME)/$$$$a\x0Ab")"));
}

INSTANTIATE_TEST_SUITE_P(Systems, LaunchScriptTest, testing::ValuesIn(systems),
                         [](const auto& name) { return std::string(name.param.name); });

/// A script run with a job that waits for a notice, and commands of the batch system that note what they are
/// told.
struct StoppedScript {
    TemporaryDirectory folder;
    int exit_code = 0;
    std::string queued_again;  ///< Words of the command that did it; empty: none was called.

    /// @param signal  to the script once its job runs; empty: it is left to its own notice, after a second.
    StoppedScript(const char* system, const std::string& signal) {
        LaunchRequest request = request_for(system);
        request.lockstep = (folder / "job").string();
        if (signal.empty()) {
            request.time_limit = "0:01:00";
            request.notice_seconds = 59;
        }
        folder.write("job", "#!/bin/sh\ntrap 'exit 75' USR1\n: > ready\nwhile :; do sleep 0.05; done\n");
        for (const char* name : {"scontrol", "qsub", "flux"}) {
            folder.write(std::string("bin/") + name, "#!/bin/sh\necho ${0##*/} \"$@\" > queued\n");
        }
        folder.write("script", launch_script(request));
        const std::string strike =
            signal.empty() ? "" : "until test -e ready; do sleep 0.05; done; kill -" + signal + " $p; ";
        const auto result = test::run_program(
            {"sh", "-c",
             "chmod +x job bin/*; export PATH=$PWD/bin:$PATH SLURM_JOB_ID=42 PBS_O_WORKDIR=$PWD; "
             "bash ./script & p=$!; " +
                 strike +
                 "wait $p; code=$?; while kill -0 $p 2>/dev/null; do wait $p; code=$?; done; exit $code"},
            {}, folder.path());
        exit_code = result.exit_code;
        if (std::filesystem::exists(folder / "queued")) queued_again = folder.read("queued");
    }

    /// Processes that were started in the script's folder and are still there.
    int left() const {
        int found = 0;
        std::error_code gone;
        for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
            if (std::filesystem::read_symlink(entry.path() / "cwd", gone) == folder.path()) ++found;
        }
        return found;
    }
};

struct Requeue {
    const char* system;
    const char* command;  ///< That queues the job again; empty: none, or the system itself goes by the code.
};

class StoppedScriptTest : public testing::TestWithParam<Requeue> {};

// The shell part does what it says: a notice reaches the job, its code comes back, and 75 queues again.
TEST_P(StoppedScriptTest, ANoticeIsPassedOnAndCode75QueuesAgain) {
    const StoppedScript script(GetParam().system, "USR1");
    EXPECT_EQ(script.exit_code, 75);
    EXPECT_EQ(script.queued_again, GetParam().command);
    EXPECT_EQ(script.left(), 0);
}

// Or a job cancelled by its user would come back. Flux cancels with HUP.
TEST_P(StoppedScriptTest, WhatTheSystemEndsIsNotQueuedAgain) {
    for (const char* signal : {"TERM", "HUP"}) {
        const StoppedScript script(GetParam().system, signal);
        EXPECT_EQ(script.exit_code, 75);
        EXPECT_EQ(script.queued_again, "");
        EXPECT_EQ(script.left(), 0);
    }
}

INSTANTIATE_TEST_SUITE_P(Systems, StoppedScriptTest,
                         testing::Values(Requeue{"mpirun", ""}, Requeue{"slurm", "scontrol requeue 42\n"},
                                         Requeue{"pbs", "qsub ./script\n"}, Requeue{"lsf", ""},
                                         Requeue{"flux", "flux --parent batch ./script\n"}),
                         [](const auto& system) { return std::string(system.param.system); });

// Where the system tells the script nothing before the limit, and nothing of it outlives the job.
TEST(LaunchScriptBehaviourTest, AScriptThatKeepsTheTimeStopsTheJobItself) {
    for (const char* system : {"pbs", "flux"}) {
        const StoppedScript script(system, "");
        EXPECT_EQ(script.exit_code, 75) << system;
        EXPECT_NE(script.queued_again, "") << system;
        EXPECT_EQ(script.left(), 0) << system;
    }
}

TEST(LaunchScriptTextTest, ThreadsGivenAsOneWordAreNotGivenTwice) {
    LaunchRequest request = request_for("mpirun");
    request.train.emplace_back("--threads=4");
    const std::string script = launch_script(request);
    EXPECT_THAT(script, testing::Not(testing::HasSubstr("--threads 2")));
}

TEST(LaunchScriptTextTest, AnInterfaceIsOneWordOnEverySystem) {
    for (const System& system : systems) {
        LaunchRequest request = request_for(system.name);
        request.interface = "eth0; reboot";
        EXPECT_THAT(
            launch_script(request),
            testing::HasSubstr(system.is_shell ? "_tcp_if_include='eth0; reboot'" : "\"eth0; reboot\""));
    }
}

// No reader of YAML is among our packages; the command is a list that JSON reads as well.
TEST(LaunchScriptTextTest, TheManifestHasTheShapeOfAnMpiJob) {
    const LaunchRequest request = request_for("kubernetes");
    std::istringstream lines(launch_script(request));
    std::vector<std::string> keys;  // Of the mappings that are open, by depth.
    std::set<std::string> paths;
    std::vector<std::string> command;
    for (std::string line; std::getline(lines, line);) {
        const std::size_t indent = line.find_first_not_of(' ');
        ASSERT_NE(indent, std::string::npos);
        ASSERT_EQ(indent % 2, 0U) << line;
        ASSERT_EQ(line.find('\t'), std::string::npos) << line;
        // "- name: x" opens a mapping two deeper.
        const bool item = line.compare(indent, 2, "- ") == 0;
        const std::size_t depth = indent / 2 + (item ? 1 : 0);
        const std::string entry = line.substr(indent + (item ? 2 : 0));
        ASSERT_LE(depth, keys.size() + 1) << line;
        if (entry.starts_with("{")) continue;
        const std::size_t colon = entry.find(':');
        ASSERT_NE(colon, std::string::npos) << line;
        keys.resize(depth);
        keys.push_back(entry.substr(0, colon));
        std::string path;
        for (const std::string& key : keys) {
            if (!key.empty()) path += "/" + key;
        }
        paths.insert(path);
        if (keys.back() == "command" && command.empty())
            command = nlohmann::json::parse(entry.substr(colon + 1));
    }
    const std::string replicas = "/spec/mpiReplicaSpecs";
    for (const std::string& wanted :
         {std::string("/apiVersion"), std::string("/kind"), std::string("/metadata/name"),
          std::string("/spec/slotsPerWorker"), std::string("/spec/sshAuthMountPath"),
          replicas + "/Launcher/template/spec/securityContext",
          replicas + "/Worker/template/spec/securityContext",
          replicas + "/Worker/template/spec/containers/command",
          replicas + "/Launcher/template/spec/containers/name",
          replicas + "/Launcher/template/spec/containers/image",
          replicas + "/Launcher/template/spec/containers/command", replicas + "/Worker/replicas",
          replicas + "/Worker/template/spec/containers/image"}) {
        EXPECT_TRUE(paths.contains(wanted)) << wanted;
    }
    EXPECT_THAT(command, testing::IsSupersetOf(request.train));
}

TEST(LaunchRequestTest, NonsenseIsRefused) {
    const auto refused = [](auto change) {
        LaunchRequest request = request_for("slurm");
        change(request);
        EXPECT_THROW(launch_script(request), Error);
    };
    refused([](LaunchRequest& r) { r.train.clear(); });
    refused([](LaunchRequest& r) { r.train = {"verify", "run"}; });
    refused([](LaunchRequest& r) { r.nodes = 0; });
    refused([](LaunchRequest& r) { r.time_limit = "1h"; });
    refused([](LaunchRequest& r) { r.time_limit = "0:05:00"; });
    refused([](LaunchRequest& r) { r.time_limit = "600000:00:00"; });
    refused([](LaunchRequest& r) { r.job_name = "a b"; });
    EXPECT_THROW(parse_launch_system("cron"), Error);
}

TEST(ShellQuotedTest, WordsComeBackAsTheyWere) {
    EXPECT_EQ(shell_quoted("a-b_c/d.e=f:1,2"), "a-b_c/d.e=f:1,2");
    EXPECT_EQ(shell_quoted(""), "''");
    EXPECT_EQ(shell_quoted("it's $HOME"), "'it'\\''s $HOME'");
}

}  // namespace
}  // namespace lockstep
