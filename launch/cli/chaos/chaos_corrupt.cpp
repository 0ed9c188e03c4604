#include "launch/cli/chaos/chaos_corrupt.h"

#include <filesystem>
#include <map>
#include <vector>

#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/base/philox.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"
#include "launch/chaos/artifact_mutator.h"
#include "launch/chaos/judged_apart.h"
#include "launch/cli/invocation.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

/// A reader that takes longer has hung.
constexpr int reader_seconds_max = 300;

/// Copies of all that a run rests on (but for initial weights, which no digest seals), and where each file
/// came from.
class RunCopy {
  public:
    RunCopy(const fs::path& run, const fs::path& folder) {
        const RunRecord record = read_run_record(run);
        places_.folder = folder;
        places_.run = folder / "run";
        for (const PlanInForce& plan : record.plans) {
            const std::size_t number = places_.plans.size();
            places_.plans.push_back(folder / (number == 0 ? "plan" : "revision-" + std::to_string(number)));
            copy_folder(plan.path, places_.plans.back());
        }
        copy_folder(run, places_.run);
        create_directories_durably(folder / "corpora");
        for (const RunCorpus& corpus : record.corpora) {
            const std::string number = std::to_string(places_.corpora.size());
            places_.corpora.push_back(folder / "corpora" / (number + ".h5"));
            copy_file(corpus.path, places_.corpora.back());
        }
    }

    const ArtifactPlaces& places() const { return places_; }
    const fs::path& origin(const fs::path& file) const { return origins_.at(file); }
    std::vector<fs::path> origins() const {
        std::vector<fs::path> all;
        for (const auto& [file, origin] : origins_) all.push_back(origin);
        return all;
    }
    void restore(const fs::path& file) const {
        fs::copy_file(origin(file), file, fs::copy_options::overwrite_existing);
    }

  private:
    void copy_folder(const fs::path& from, const fs::path& to) {
        create_directories_durably(to);
        for (const auto& entry : fs::recursive_directory_iterator(from)) {
            const fs::path place = to / entry.path().lexically_relative(from);
            if (entry.is_directory()) fs::create_directories(place);
            if (entry.is_regular_file()) copy_file(entry.path(), place);
        }
    }
    void copy_file(const fs::path& from, const fs::path& to) {
        fs::copy_file(from, to);
        origins_[to] = from;
    }

    ArtifactPlaces places_;
    std::map<fs::path, fs::path> origins_;
};

/// A copy inside what is copied would be copied again, without end.
void require_outside(const fs::path& output, const fs::path& folder) {
    const fs::path place = fs::weakly_canonical(fs::absolute(output));
    for (fs::path above = place;; above = above.parent_path()) {
        if (above == fs::weakly_canonical(fs::absolute(folder))) {
            throw Error(ErrorCode::invalid_argument, "-o '" + output.string() + "' lies in '" +
                                                         folder.string() +
                                                         "', which is copied there; choose a folder outside");
        }
        if (above == above.parent_path()) return;
    }
}

class ChaosCorrupt {
  public:
    ChaosCorrupt(const Invocation& invocation, const ChaosCorruptArguments& arguments)
        : invocation_(invocation), a_(arguments), copy_(a_.run, a_.output), watch_(copy_.places()) {}

    int run() {
        const std::vector<fs::path> donors = copy_.origins();
        invocation_.say(with_commas(watch_.files().size()) + " files of '" + a_.run + "' copied to '" +
                        a_.output + "'; the originals are only read");
        // Seeds begin again after the largest.
        for (std::uint64_t i = 0; i < a_.cases; ++i) run_case(a_.seed + i, donors);
        return give_result();
    }

  private:
    void run_case(std::uint64_t seed, const std::vector<fs::path>& donors) {
        const std::vector<fs::path>& files = watch_.files();
        const fs::path& file = files[Philox(seed, "chaos-corrupt").below(0, files.size())];
        const Mutation mutation = mutate(file, donors, seed);
        const DamageVerdict verdict = judge_apart(watch_, file, mutation.changed, reader_seconds_max);
        copy_.restore(file);
        ++outcomes_[verdict.outcome];
        if (verdict.outcome != DamageOutcome::wrong) return;
        const std::string what = copy_.origin(file).string() + ", " + mutation.text + ": " + verdict.text;
        failures_.push_back({{"seed", seed}, {"what", what}});
        log_rank(LogLevel::error, "seed " + std::to_string(seed) + ": " + what +
                                      "; the same again: lockstep chaos --corrupt 1 --seed " +
                                      std::to_string(seed) + " …");
    }

    int give_result() const {
        nlohmann::ordered_json outcomes;
        for (const auto& [outcome, count] : outcomes_) {
            invocation_.say("  " + with_commas(count) + " " + name_of(outcome));
            outcomes[name_of(outcome)] = count;
        }
        const bool sound = failures_.empty();
        invocation_.say((sound ? "nothing unseen: " : "FAILED: ") + with_commas(a_.cases) +
                        " damaged file(s), " + with_commas(failures_.size()) + " failure(s)");
        invocation_.give({{"cases", a_.cases},
                          {"seed", a_.seed},
                          {"files", watch_.files().size()},
                          {"outcomes", outcomes},
                          {"failures", failures_}});
        return sound ? 0 : exit_code_of(ErrorCode::check_failed);
    }

    const Invocation& invocation_;
    ChaosCorruptArguments a_;
    RunCopy copy_;
    ArtifactWatch watch_;
    std::map<DamageOutcome, std::uint64_t> outcomes_;
    nlohmann::ordered_json failures_ = nlohmann::ordered_json::array();
};

}  // namespace

int chaos_corrupt(const Invocation& invocation, const ChaosCorruptArguments& arguments) {
    require_one_rank("chaos");
    if (!directory_entries(arguments.output).empty()) {
        throw Error(ErrorCode::output_exists,
                    "'" + arguments.output + "' is not empty; choose another -o for the copies");
    }
    require_outside(arguments.output, arguments.run);
    for (const PlanInForce& plan : read_run_record(arguments.run).plans)
        require_outside(arguments.output, plan.path);
    create_directories_durably(arguments.output);
    return ChaosCorrupt(invocation, arguments).run();
}

}  // namespace lockstep
