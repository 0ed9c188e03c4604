// P4 for damaged files: whatever becomes of one file, what is read is what was
// written, or one clear error says otherwise. LOCKSTEP_CORRUPT_CASES (2,000) and
// LOCKSTEP_CORRUPT_SEED (1): case i has seed LOCKSTEP_CORRUPT_SEED + i, so one is
// repeated by its seed and LOCKSTEP_CORRUPT_CASES=1.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "io/base/philox.h"
#include "io/files/atomic_file.h"
#include "launch/chaos/artifact_mutator.h"
#include "launch/chaos/artifact_watch.h"
#include "launch/chaos/column_copy.h"
#include "tests/coordinator/small_artifacts.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

// So that a crash names its case.
volatile std::uint64_t case_seed = 0;

extern "C" void name_the_case(int signal) {
    char text[64] = "crashed at LOCKSTEP_CORRUPT_SEED=";
    std::size_t end = 33;
    char digits[20];
    std::size_t count = 0;
    for (std::uint64_t rest = case_seed; rest != 0 || count == 0; rest /= 10) {
        digits[count++] = static_cast<char>('0' + rest % 10);
    }
    while (count > 0) text[end++] = digits[--count];
    text[end++] = '\n';
    if (write(STDERR_FILENO, text, end) < 0) _exit(1);
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

/// Sound artifacts, and what is read of them.
class Ground {
  public:
    Ground(const fs::path& folder, std::uint64_t seed, Revised revised)
        : artifacts_(folder, seed, revised), watch_(places(artifacts_, revised)) {
        EXPECT_EQ(files(), artifacts_.files()) << "all of them are told";
        for (const fs::path& file : files()) bytes_[file] = read_file(file);
    }

    const std::vector<fs::path>& files() const { return watch_.files(); }
    const ArtifactWatch& watch() const { return watch_; }
    void restore(const fs::path& file) const {
        std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes_.at(file);
    }

  private:
    static ArtifactPlaces places(const SmallArtifacts& made, Revised revised) {
        const fs::path& folder = made.folder();
        ArtifactPlaces places{folder,
                              {made.plan_folder()},
                              made.run(),
                              {folder / "plain.h5", folder / "answered.h5"},
                              {folder / "lengths.h5", folder / "lengths.jsonl"}};
        if (revised == Revised::yes) places.plans.push_back(made.revision_folder());
        return places;
    }

    SmallArtifacts artifacts_;
    ArtifactWatch watch_;
    std::map<fs::path, std::string> bytes_;
};

TEST(CorruptionTest, NothingDamagedIsTakenForWhatWasNamed) {
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL}) std::signal(signal, name_the_case);
    const TemporaryDirectory directory;
    const Ground grounds[] = {{directory / "original", 1, Revised::no},
                              {directory / "revised", 1, Revised::yes}};
    const SmallArtifacts other(directory / "other", 2, Revised::yes);
    const std::uint64_t first = number_from("LOCKSTEP_CORRUPT_SEED", 1);
    const std::uint64_t cases = number_from("LOCKSTEP_CORRUPT_CASES", 2000);
    std::map<std::string, int> outcomes;
    std::uint64_t done = 0;
    for (; done < cases && !HasFailure(); ++done) {
        const std::uint64_t seed = first + done;  // Begins again after the largest.
        case_seed = seed;
        const Philox random(seed, "corruption-test");
        const Ground& ground = grounds[random.below(1, std::size(grounds))];
        const fs::path& file = ground.files()[random.below(0, ground.files().size())];
        // Donors are the files as they were; the one at hand is restored before the next case. The other
        // ground's would be right in many places.
        std::vector<fs::path> donors = other.files();
        donors.insert(donors.end(), ground.files().begin(), ground.files().end());
        const Mutation mutation = mutate(file, donors, seed);
        const DamageVerdict verdict = ground.watch().judge(file, mutation.changed);
        ++outcomes[name_of(verdict.outcome)];
        EXPECT_NE(verdict.outcome, DamageOutcome::wrong)
            << "LOCKSTEP_CORRUPT_SEED=" << seed << ": " << fs::relative(file, directory.path()).string()
            << " " << mutation.text << ": " << verdict.text;
        ground.restore(file);
    }
    for (const auto& [outcome, count] : outcomes) {
        std::cout << count << " " << outcome << "\n";
    }
    EXPECT_TRUE(HasFailure() || done == cases) << done << " of " << cases;
    if (cases >= 1000 && !HasFailure()) {
        const int noticed =
            outcomes["refused"] + outcomes["refused by verify alone"] + outcomes["fallen back"];
        EXPECT_GT(noticed, static_cast<int>(cases / 4 * 3)) << "the harness damages what is read";
        EXPECT_GT(outcomes["fallen back"], 0);
    }
}

/// Two whole samples of one length change places in a plan whose digests then fit again.
void exchange_samples(const fs::path& file) {
    ColumnCopy plan = take_apart(file);
    const auto column = [&]<class T>(const std::string& name, T) {
        const auto found = std::find_if(plan.columns.begin(), plan.columns.end(),
                                        [&](const ColumnCopy::Column& c) { return c.name == name; });
        return std::span(reinterpret_cast<T*>(found->bytes.data()), found->bytes.size() / sizeof(T));
    };
    const auto sample = column("/segment_sample", std::uint32_t{});
    const auto tokens = column("/segment_tokens", std::uint32_t{});
    const auto offset = column("/segment_offset", std::uint32_t{});
    for (std::size_t a = 0; a < sample.size(); ++a) {
        for (std::size_t b = a + 1; b < sample.size(); ++b) {
            if (tokens[a] != tokens[b] || offset[a] + offset[b] != 0 || sample[a] == sample[b]) continue;
            std::swap(sample[a], sample[b]);
            put_together(plan, file);
            return;
        }
    }
    FAIL() << "no two samples are of one length";
}

TEST(CorruptionTest, APlanOfSoundDigestsAndOtherOrderIsServedToNobody) {
    const TemporaryDirectory directory;
    const Ground ground(directory / "revised", 1, Revised::yes);
    for (const char* folder : {"plan", "revision"}) {
        const fs::path file = directory / "revised" / folder / "plan.h5";
        exchange_samples(file);
        const DamageVerdict verdict = ground.watch().judge(file, true);
        EXPECT_EQ(verdict.outcome, DamageOutcome::refused) << verdict.text;
        ground.restore(file);
        EXPECT_EQ(ground.watch().judge(file, false).outcome, DamageOutcome::unchanged);
    }
}

}  // namespace
}  // namespace lockstep
