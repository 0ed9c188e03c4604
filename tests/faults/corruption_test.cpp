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
#include <optional>
#include <string>
#include <vector>

#include "coordinator/plan_store.h"
#include "coordinator/run_record.h"
#include "coordinator/verify.h"
#include "io/atomic_file.h"
#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/checkpoint.h"
#include "io/state_digest.h"
#include "launch/chaos/artifact_mutator.h"
#include "tests/coordinator/small_artifacts.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

/// What train, resume and verify would go by, in words that differ when it does.
using Observation = std::map<std::string, std::string>;

/// An error a user can act on: one line, the documented kind, and it names something of the run.
void expect_clear(const Error& error, const std::string& what) {
    const std::string text = error.what();
    const int code = exit_code_of(error.code());
    EXPECT_TRUE(code == 65 || code == 66) << what << ": exit " << code << ", " << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << what << ": " << text;
    EXPECT_GT(text.size(), 20U) << what << ": " << text;
    EXPECT_LT(text.size(), 2000U) << what << ": " << text;
}

/// The readers that meet files of one place. Each returns what it would go on with, or throws.
Observation observe_inputs(const SmallArtifacts& original) {
    Observation seen;
    std::vector<PlanInput> inputs;
    for (const char* name : {"plain", "answered"}) {
        inputs.push_back(PlanInput::open(original.folder() / (std::string(name) + ".h5"), name));
    }
    BatchPlan plan = original.plan();
    for (const PlanSource& source : bind_plan(plan, inputs)) seen[source.name] = source.corpus.hex();
    for (const char* name : {"lengths.h5", "lengths.jsonl"}) {
        const Fingerprint lengths = open_lengths(original.folder() / name).lengths_fingerprint();
        // What binds lengths to a corpus, and to a plan made from them.
        if (lengths != original.plan().sources[1].lengths) {
            throw Error(ErrorCode::fingerprint_mismatch, std::string("'") + name + "' holds other lengths");
        }
        seen[name] = lengths.hex();
    }
    return seen;
}

Observation observe_plan(const SmallArtifacts& original) {
    const BatchPlan plan = load_plan(original.folder() / "plan", PlanCheck::content);
    check_plan_files(original.folder() / "plan", plan);
    if (plan.fingerprints.plan != original.plan().fingerprints.plan) {
        throw Error(ErrorCode::fingerprint_mismatch, "the plan is another one");  // As `resume` compares.
    }
    return {{"plan", plan.fingerprints.plan.hex()}};
}

Observation observe_run(const SmallArtifacts& original) {
    const fs::path run = original.folder() / "run";
    Observation seen;
    const RunRecord record = read_run_record(run);
    seen["record"] = record.settings_json + record.numerics + record.model.hex() + record.plan_path +
                     record.plan.hex() + record.checkpoint_every + std::to_string(record.keep);
    for (const RunCorpus& corpus : record.corpora) seen["record"] += corpus.path + corpus.content.hex();
    std::vector<std::string> rejected;
    const auto newest = newest_valid_generation(run, rejected);
    for (const std::string& reason : rejected) seen["rejected"] += reason + "\n";
    if (!newest) throw Error(ErrorCode::corrupt_data, "no generation is valid: " + rejected.front());
    const GenerationReader reader = GenerationReader::open(run, *newest);
    seen["state of step " + std::to_string(newest->step)] =
        state_digest_of(reader, newest->state_elements).hex() + to_json(*newest);
    try {
        const VerifyReport report = verify_run(run, original.plan(), original.inputs());
        seen["proof"] = report.proven() ? report.ledger_root.hex() : report.problems.front();
    } catch (const Error& error) {
        expect_clear(error, "verify");
        seen["proof"] = "refused";
    }
    return seen;
}

Observation observe(const SmallArtifacts& original, const fs::path& file) {
    const std::string place = fs::relative(file, original.folder()).begin()->string();
    if (place == "run") return observe_run(original);
    if (place == "plan") return observe_plan(original);
    return observe_inputs(original);
}

/// What each generation of the sound run looks like when it is fallen back to.
Observation sound_generations(const SmallArtifacts& original) {
    Observation sound;
    for (const GenerationStatus& status : list_generations(original.folder() / "run")) {
        const GenerationReader reader = GenerationReader::open(original.folder() / "run", *status.manifest);
        sound["state of step " + std::to_string(status.step)] =
            state_digest_of(reader, status.manifest->state_elements).hex() + to_json(*status.manifest);
    }
    return sound;
}

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

TEST(CorruptionTest, NothingDamagedIsTakenForWhatWasNamed) {
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL}) std::signal(signal, name_the_case);
    const TemporaryDirectory directory;
    const SmallArtifacts original(directory / "original", 1);
    const SmallArtifacts other(directory / "other", 2);
    std::vector<fs::path> donors = original.files();
    for (const fs::path& file : other.files()) donors.push_back(file);
    const std::vector<fs::path> files = original.files();
    std::map<fs::path, std::string> bytes;
    std::map<fs::path, Observation> sound;
    for (const fs::path& file : files) {
        bytes[file] = read_file(file);
        sound[file] = observe(original, file);
    }
    const Observation generations = sound_generations(original);

    const std::uint64_t first = number_from("LOCKSTEP_CORRUPT_SEED", 1);
    const std::uint64_t cases = number_from("LOCKSTEP_CORRUPT_CASES", 2000);
    std::map<std::string, int> outcomes;
    for (std::uint64_t seed = first; seed < first + cases && !HasFailure(); ++seed) {
        case_seed = seed;
        const fs::path& file = files[Philox(seed, "corruption-test").below(0, files.size())];
        // Donors are the files as they were; the one at hand is restored before the next case.
        const Mutation mutation = mutate(file, donors, seed);
        const std::string what = "LOCKSTEP_CORRUPT_SEED=" + std::to_string(seed) + ": " +
                                 fs::relative(file, directory.path()).string() + " " + mutation.text;
        try {
            const Observation seen = observe(original, file);
            if (seen == sound[file]) {
                ++outcomes[mutation.changed ? "read as written" : "unchanged"];
            } else if (seen.contains("rejected")) {
                // Fallen back, to a state that was really committed; one line for each generation given up.
                ++outcomes["fallen back"];
                for (const auto& [name, value] : seen) {
                    if (name.starts_with("state of")) {
                        EXPECT_EQ(value, generations.at(name)) << what;
                    }
                }
                EXPECT_EQ(seen.at("record"), sound[file].at("record")) << what;
            } else if (seen.contains("proof") && seen.at("proof") == "refused") {
                // An older generation, or a part of the ledger: training goes on as it would have.
                ++outcomes["refused by verify alone"];
                for (const auto& [name, value] : sound[file]) {
                    if (name != "proof") {
                        EXPECT_EQ(seen.at(name), value) << what;
                    }
                }
            } else {
                ADD_FAILURE() << what << ": read without an error, and not as it was written";
            }
        } catch (const Error& error) {
            ++outcomes["refused"];
            expect_clear(error, what);
        } catch (const std::exception& exception) {
            ADD_FAILURE() << what << ": not an Error but " << exception.what();
        }
        std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes[file];
    }
    for (const auto& [outcome, count] : outcomes) {
        std::cout << count << " " << outcome << "\n";
    }
    if (cases >= 1000) {
        const int noticed =
            outcomes["refused"] + outcomes["refused by verify alone"] + outcomes["fallen back"];
        EXPECT_GT(noticed, static_cast<int>(cases / 4 * 3)) << "the harness damages what is read";
        EXPECT_GT(outcomes["fallen back"], 0);
    }
}

}  // namespace
}  // namespace lockstep
