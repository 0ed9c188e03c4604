// tests/end_to_end/small_world.h
//
// A small corpus and its plan, made once a test program, and runs on them.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace lockstep::test {

/// Texts of very different lengths, some of them far over the budget; the same everywhere.
void write_made_up_texts(const std::filesystem::path& file, int documents);

class SmallWorld {
  public:
    /// The one of this program: corpus.h5 (bytes), plan (budget 256, 5 packs a step), in a temporary folder.
    static const SmallWorld& get();

    const std::filesystem::path& folder() const { return folder_.path(); }
    std::string corpus() const { return (folder_ / "corpus.h5").string(); }
    std::string plan() const { return (folder_ / "plan").string(); }
    /// A path no run has used yet.
    std::string fresh(const std::string& name) const;

  private:
    SmallWorld();
    TemporaryDirectory folder_;
};

/// Start a command in the background, do `script` (sh; $p is its process, $run the run's folder, soon
/// 'COMMAND' waits until the command succeeds, a minute at most), wait for it, and return its code and
/// output.
ProgramResult run_meanwhile(const std::string& script, const std::string& run,
                            const std::vector<std::string>& command, Environment environment = {});
/// For the script: until rank 0 of the run trains.
inline constexpr const char* soon_training = "soon 'grep -qs \"training.:true\" $run/heartbeat.json'; ";

/// What must be equal for two runs to be the same.
struct RunBits {
    std::string state_digest;
    std::vector<std::string> loss_hex;
    friend bool operator==(const RunBits&, const RunBits&) = default;
};

/// `train` arguments for the small world (nano, a generation every 6 steps, unless `more` says otherwise);
/// `more` is appended.
std::vector<std::string> train_arguments(const std::string& run, int steps,
                                         const std::vector<std::string>& more = {});

/// state digest of the newest generation and every step's loss bits. Fails the test if the run has none.
RunBits bits_of(const std::string& run);

/// Train on `ranks` ranks (0: without mpirun) and return the bits; fails the test unless it exits 0.
RunBits train_bits(int ranks, int steps, const std::vector<std::string>& more = {},
                   const Environment& environment = {});

/// The uninterrupted run of `steps` steps on one rank that all others are compared with; trained once a
/// program.
const RunBits& undisturbed_bits(int steps);

}  // namespace lockstep::test
