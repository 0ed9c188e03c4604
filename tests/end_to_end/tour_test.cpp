// The README's tour, run as it stands; every artifact it leaves opens with tools that know nothing of us.

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace lockstep::test {
namespace {

/// The ```sh blocks of the README, in order.
std::string tour_commands() {
    std::string commands;
    bool inside = false;
    for (const std::string& line : lines_of(LOCKSTEP_README)) {
        if (line == "```sh") {
            inside = true;
        } else if (line == "```") {
            inside = false;
        } else if (inside) {
            commands += line + "\n";
        }
    }
    return commands;
}

Environment tour_environment() {
    const std::string bin = std::filesystem::path(LOCKSTEP_BINARY).parent_path().string();
    return {{"PATH", bin + ":" + std::getenv("PATH")},
            {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
            {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
            {"ASAN_OPTIONS", "detect_leaks=0"}};
}

class TourTest : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryDirectory;
        result_ = new ProgramResult(run_program({"bash", "-euxo", "pipefail", "-c", tour_commands()},
                                                tour_environment(), folder_->path()));
    }
    static void TearDownTestSuite() {
        delete folder_;
        delete result_;
    }
    static TemporaryDirectory* folder_;
    static ProgramResult* result_;
};

TemporaryDirectory* TourTest::folder_ = nullptr;
ProgramResult* TourTest::result_ = nullptr;

TEST_F(TourTest, EveryCommandSucceeds) {
    ASSERT_GT(tour_commands().size(), 500U);
    EXPECT_EQ(result_->exit_code, 0) << result_->err;
    EXPECT_NE(result_->out.find("equal to 'alone' in every bit"), std::string::npos) << result_->out;
    EXPECT_NE(result_->out.find("the ledger says the same, to the bit"), std::string::npos) << result_->out;
}

TEST_F(TourTest, EveryArtifactOpensWithH5dumpAndH5py) {
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_->path())) {
        if (entry.path().extension() != ".h5") continue;
        ++files;
        const auto dump = run_program({"h5dump", "-H", entry.path().string()});
        EXPECT_EQ(dump.exit_code, 0) << entry.path() << dump.err;
        const auto python = run_program(
            {"/usr/bin/python3", "-c",
             "import h5py, sys\n"
             "f = h5py.File(sys.argv[1], 'r')\n"
             "seen = []\n"
             "f.visititems(lambda n, o: seen.append(o[...].size) if isinstance(o, h5py.Dataset) else None)\n"
             "assert seen and f.attrs['format_version'] >= 1, seen",
             entry.path().string()});
        EXPECT_EQ(python.exit_code, 0) << entry.path() << python.err;
    }
    EXPECT_GE(files, 8U) << "corpus, plan, shards and ledger segments of two runs";
}

TEST_F(TourTest, EveryArtifactPassesInspect) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_->path())) {
        const std::string extension = entry.path().extension().string();
        if (extension != ".h5" && extension != ".json" && extension != ".jsonl") continue;
        // The format of others, without a digest: it has a doctor of its own.
        if (entry.path().filename() == "tokenizer.json") {
            const auto doctor = run_lockstep_program(0, {"tokenizer", "doctor", "-t", entry.path().string()});
            EXPECT_EQ(doctor.exit_code, 0) << doctor.out << doctor.err;
            continue;
        }
        const auto inspect = run_lockstep_program(0, {"inspect", entry.path().string(), "--json"});
        EXPECT_EQ(inspect.exit_code, 0) << entry.path() << inspect.err;
        EXPECT_TRUE(nlohmann::json::accept(inspect.out)) << inspect.out;
    }
}

// Real text: a short training must already be far below what counting tokens alone can reach.
TEST_F(TourTest, LossOnFortunesFallsBelowTheUnigramEntropy) {
    const auto plan =
        run_lockstep_program(0, {"batchplan", "build", "-l", (*folder_ / "corpus.h5").string(), "-b", "1024",
                                 "--packs-per-step", "2", "-o", (*folder_ / "plan-loss").string()});
    ASSERT_EQ(plan.exit_code, 0) << plan.err;
    const auto train = run_lockstep_program(
        0, {"train", "-p", (*folder_ / "plan-loss").string(), "-d", (*folder_ / "corpus.h5").string(), "-m",
            "tiny", "-o", (*folder_ / "loss").string(), "--steps", "150", "--schedule-steps", "150", "--lr",
            "0.004", "--quiet", "--json"});
    ASSERT_EQ(train.exit_code, 0) << train.err;
    const double loss = nlohmann::json::parse(train.out)["last_loss"];
    const auto entropy =
        run_program({"/usr/bin/python3", "-c",
                     "import h5py, numpy, sys\n"
                     "c = numpy.bincount(h5py.File(sys.argv[1], 'r')['tokens'][:]).astype(float)\n"
                     "p = c[c > 0] / c.sum()\n"
                     "print(-(p * numpy.log(p)).sum())",
                     (*folder_ / "corpus.h5").string()});
    ASSERT_EQ(entropy.exit_code, 0) << entropy.err;
    EXPECT_LT(loss, std::stod(entropy.out) - 0.3);
}

}  // namespace
}  // namespace lockstep::test
