#include "io/run/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/files/commit_hook.h"
#include "io/run/generation_files.h"
#include "io/run/retention.h"
#include "tests/io/run/damage.h"
#include "tests/io/run/manifest_edit.h"
#include "tests/io/run/small_run.h"
#include "tests/support/error_of.h"
#include "tests/support/forwarding_files.h"
#include "tests/support/refusing_files.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// ---- Names ----

TEST(CheckpointTest, NamesFilesAsDocumented) {
    EXPECT_EQ(generation_directory("run", 120), "run/checkpoints/step-00000120");
    EXPECT_EQ(generation_directory("run", 1234567890), "run/checkpoints/step-1234567890");
    EXPECT_EQ(shard_file_name(Rank{0}, WorldSize{4}), "shard-00000-of-00004.h5");
    EXPECT_EQ(shard_file_name(Rank{9999}, WorldSize{10000}), "shard-09999-of-10000.h5");
}

TEST(CheckpointTest, GenerationsAreTheFoldersNamedAsWeWould) {
    const TemporaryDirectory run;
    for (const char* name : {"step-00000012", "step-00000006", "step-123456789", "step-6", "step-0000001x",
                             "step-99999999999999999999", "other"}) {
        std::filesystem::create_directories(run / "checkpoints" / name);
    }
    EXPECT_THAT(generation_steps(run.path()), ElementsAre(6, 12, 123456789));
}

// ---- Shards ----

TEST(ShardTest, EmptySlicesAreWrittenAndRead) {
    const TemporaryDirectory run;
    const Manifest manifest = SmallRun(run.path()).commit(1, 9);
    EXPECT_EQ(manifest.shards[8].slice_begin, manifest.shards[8].slice_end);
    EXPECT_TRUE(holds_its_values(run.path(), manifest));
}

TEST(ShardTest, EqualContentGivesEqualFiles) {
    const TemporaryDirectory a, b;
    SmallRun(a.path()).commit(1, 2);
    SmallRun(b.path()).commit(1, 2);
    EXPECT_EQ(all_files(a.path()), all_files(b.path()));
}

TEST(ShardTest, NoticesEveryFlippedBitAndEveryCut) {
    const TemporaryDirectory run;
    const Manifest manifest = SmallRun(run.path()).commit(1, 1);
    const fs::path shard = generation_directory(run.path(), 1) / manifest.shards.front().file;
    const auto open = [&] { GenerationReader::open(run.path(), manifest); };
    EXPECT_EQ(unnoticed_bit_flips(shard, open), 0U);
    EXPECT_EQ(unnoticed_truncations(shard, open), 0U);
}

TEST(ShardTest, OfACommittedGenerationIsNeverWrittenAgain) {
    const TemporaryDirectory run;
    const Manifest manifest = SmallRun(run.path()).commit(1, 1);
    const auto before = all_files(run.path());
    const std::vector<float> slice(4);
    EXPECT_EQ(error_of([&] {
                  write_shard(generation_directory(run.path(), 1), Rank{0}, WorldSize{1}, manifest.cursor, 0,
                              slice, slice, slice);
              }).code(),
              ErrorCode::output_exists);
    EXPECT_EQ(error_of([&] { write_manifest(run.path(), manifest); }).code(), ErrorCode::output_exists);
    EXPECT_EQ(all_files(run.path()), before);
}

#if defined(LOCKSTEP_CONTRACTS)
TEST(ShardTest, IsOfARankOfItsWorldAndHasAllMomentsOfItsWeights) {
    const TemporaryDirectory run;
    for (const int rank : {-1, 2}) {
        EXPECT_EQ(error_of([&] { shard_file_name(Rank{rank}, WorldSize{2}); }).code(), ErrorCode::bug);
    }
    const std::vector<float> four(4), five(5);
    const auto write = [&](std::span<const float> m, std::span<const float> v) {
        write_shard(run / "generation", Rank{0}, WorldSize{1}, {}, 0, four, m, v);
    };
    EXPECT_EQ(error_of([&] { write(five, four); }).code(), ErrorCode::bug);
    EXPECT_EQ(error_of([&] { write(four, five); }).code(), ErrorCode::bug);
    EXPECT_FALSE(fs::exists(run / "generation"));
}
#endif

// ---- Generations ----

TEST(GenerationTest, IsReadInAnySlicesWhateverWorldWroteIt) {
    for (int world_size = 1; world_size <= 9; ++world_size) {
        const TemporaryDirectory run;
        EXPECT_TRUE(holds_its_values(run.path(), SmallRun(run.path()).commit(5, world_size))) << world_size;
    }
}

TEST(GenerationTest, RefusesToReadBeyondTheState) {
    const TemporaryDirectory run;
    const GenerationReader reader = GenerationReader::open(run.path(), SmallRun(run.path()).commit(1, 2));
    std::vector<float> out(4);
    EXPECT_EQ(error_of([&] { reader.read_weights(20, out); }).code(), ErrorCode::bug);
    EXPECT_EQ(error_of([&] { reader.read_adam_v(~std::uint64_t{0}, out); }).code(), ErrorCode::bug);
    EXPECT_NO_THROW(reader.read_weights(23, {}));
}

TEST(GenerationTest, ADirectoryWithoutCheckpointsHasNone) {
    const TemporaryDirectory run;
    EXPECT_THAT(list_generations(run.path()), IsEmpty());
    EXPECT_EQ(newest_step(run.path()), std::nullopt);
    settle_run_directory(run.path(), std::nullopt, std::nullopt);
    prune_generations(run.path(), {2, 0});
    EXPECT_THAT(all_files(run.path()), IsEmpty());
}

TEST(GenerationTest, IsInvalidWhenAnyOfItsPartsIs) {
    const TemporaryDirectory directory;
    using Spoil = std::function<void(const fs::path&, const Manifest&)>;
    const auto rejected_after = [&](const std::string& name, const Spoil& spoil) {
        const fs::path run = directory / name;
        SmallRun small(run);
        small.commit(2, 2);
        const Manifest newest = small.commit(4, 2);
        spoil(run, newest);
        std::vector<std::string> rejected;
        EXPECT_EQ(newest_step(run, &rejected), 2U) << name;
        EXPECT_EQ(rejected.size(), 1U) << name;
        EXPECT_EQ(valid_steps(run), std::vector<std::uint64_t>{2}) << name;
        return rejected.empty() ? std::string() : rejected.front();
    };
    const auto generation = [](const fs::path& run) { return generation_directory(run, 4); };

    EXPECT_THAT(
        rejected_after("manifest", [&](const fs::path& run,
                                       const Manifest&) { damage(generation(run) / "manifest.json"); }),
        HasSubstr("manifest.json"));
    EXPECT_THAT(
        rejected_after("shard", [&](const fs::path& run,
                                    const Manifest& m) { damage(generation(run) / m.shards[1].file); }),
        HasSubstr("shard-00001-of-00002.h5"));
    EXPECT_THAT(
        rejected_after("gone", [&](const fs::path& run,
                                   const Manifest& m) { fs::remove(generation(run) / m.shards[0].file); }),
        HasSubstr("shard-00000-of-00002.h5"));
    EXPECT_THAT(
        rejected_after("ledger", [&](const fs::path& run,
                                     const Manifest& m) { damage(run / "ledger" / m.ledger_head->file); }),
        HasSubstr("steps-00000002-00000004-"));
    EXPECT_THAT(rejected_after("swapped",
                               [&](const fs::path& run, const Manifest& m) {
                                   fs::copy_file(generation_directory(run, 2) / m.shards[0].file,
                                                 generation(run) / m.shards[0].file,
                                                 fs::copy_options::overwrite_existing);
                               }),
                HasSubstr("digest"));
    // Sound shards of another state under a manifest that names them: only the cursor tells.
    EXPECT_THAT(rejected_after("cursor",
                               [&](const fs::path& run, Manifest m) {
                                   m.cursor.targets_seen += 1;
                                   write_file_atomically(generation(run) / "manifest.json", to_json(m),
                                                         Overwrite::yes);
                               }),
                HasSubstr("cursor"));
    EXPECT_THAT(rejected_after("copied",
                               [&](const fs::path& run, const Manifest&) {
                                   fs::copy_file(generation_directory(run, 2) / "manifest.json",
                                                 generation(run) / "manifest.json",
                                                 fs::copy_options::overwrite_existing);
                               }),
                HasSubstr("step 2"));
}

TEST(GenerationTest, ThatOfTheStartNeedsNoLedger) {
    const TemporaryDirectory run;
    SmallRun(run.path()).commit(0, 2);
    EXPECT_EQ(valid_steps(run.path()), std::vector<std::uint64_t>{0});
    EXPECT_EQ(newest_step(run.path()), 0U);
}

TEST(GenerationTest, IsNotOpenedByAManifestThatContradictsItself) {
    const TemporaryDirectory run;
    Manifest manifest = SmallRun(run.path()).commit(2, 2);
    manifest.shards[1].slice_begin += 1;
    const Error error = error_of([&] { GenerationReader::open(run.path(), manifest); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("shards[1].slice_begin"));
}

// A disk that fails for a moment must not make a run go back.
TEST(GenerationTest, IsNotJudgedWhenItCannotBeReadJustNow) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    small.commit(2, 1);
    const Manifest newest = small.commit(4, 1);
    for (const std::string& file : {std::string("step-00000004/manifest.json"),
                                    "step-00000004/" + newest.shards[0].file, newest.ledger_head->file}) {
        for (const int reason : {EIO, EMFILE}) {
            const RefusingFiles refusing(file, reason);
            EXPECT_EQ(error_of([&] { newest_step(run.path()); }).code(), ErrorCode::io_failure) << file;
            EXPECT_EQ(error_of([&] { list_generations(run.path()); }).code(), ErrorCode::io_failure) << file;
        }
    }
    EXPECT_EQ(newest_step(run.path()), 4U);
}

/// Retires a generation, manifest first, when its shard is about to be opened.
class RetiringFiles : public ForwardingFiles {
  public:
    RetiringFiles(fs::path manifest, fs::path shard)
        : manifest_(std::move(manifest)), shard_(std::move(shard)) {}
    int open(const char* path, int flags) override {
        if (path == shard_) {
            remove_file(manifest_.c_str());
            remove_file(shard_.c_str());
        }
        return ForwardingFiles::open(path, flags);
    }

  private:
    fs::path manifest_, shard_;
};

TEST(GenerationTest, OneThatIsRetiredWhileWeLookWasNotCommitted) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    const Manifest old = small.commit(2, 1);
    small.commit(4, 1);
    const fs::path generation = generation_directory(run.path(), 2);
    const RetiringFiles retiring(generation / "manifest.json", generation / old.shards[0].file);
    const std::vector<GenerationStatus> generations = list_generations(run.path());
    ASSERT_EQ(generations.size(), 2U);
    EXPECT_FALSE(generations[0].valid);
    EXPECT_FALSE(generations[0].committed);
    EXPECT_TRUE(generations[1].valid);
}

TEST(GenerationTest, ALedgerRootThatIsNotTheCursorsIsFound) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    Manifest manifest = small.commit(2, 1);
    // A generation whose cursor, in shard and manifest alike, belongs to another ledger.
    manifest.cursor.ledger_root.bytes[0] ^= 1U;
    fs::remove_all(generation_directory(run.path(), 2));
    const std::vector<float> state(SmallRun::state_elements);
    manifest.shards = {write_shard(generation_directory(run.path(), 2), Rank{0}, WorldSize{1},
                                   manifest.cursor, 0, state, state, state)};
    write_manifest(run.path(), manifest);
    const std::vector<GenerationStatus> generations = list_generations(run.path());
    ASSERT_EQ(generations.size(), 1U);
    EXPECT_FALSE(generations[0].valid);
    EXPECT_THAT(generations[0].problem, HasSubstr("ledger's root"));
}

TEST(GenerationTest, DamageInTheSharedPastRejectsAllThatStandOnIt) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    const Manifest first = small.commit(2, 1);
    small.commit(4, 1);
    small.commit(6, 1);
    damage(run / "ledger" / first.ledger_head->file);
    std::vector<std::string> rejected;
    EXPECT_EQ(newest_step(run.path(), &rejected), std::nullopt);
    EXPECT_EQ(rejected.size(), 3U);
    for (const std::string& line : rejected) {
        EXPECT_THAT(line, HasSubstr(first.ledger_head->file));
        EXPECT_EQ(line.find('\n'), std::string::npos);
    }
}

TEST(GenerationTest, UncommittedOnesAreListedButNotReported) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    small.commit(2, 1);
    small.commit(4, 1);
    fs::remove(generation_directory(run.path(), 4) / "manifest.json");
    run.write("checkpoints/step-9/manifest.json", "a name of another shape");
    std::vector<std::string> rejected;
    EXPECT_EQ(newest_step(run.path(), &rejected), 2U);
    EXPECT_THAT(rejected, IsEmpty());
    const std::vector<GenerationStatus> generations = list_generations(run.path());
    ASSERT_EQ(generations.size(), 2U);
    EXPECT_FALSE(generations[1].manifest.has_value());
    EXPECT_THAT(generations[1].problem, HasSubstr("never committed"));
}

TEST(GenerationTest, NoFallingBackBehindANewerFormat) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    small.commit(2, 1);
    small.commit(4, 1);
    const fs::path file = generation_directory(run.path(), 4) / "manifest.json";
    write_file_atomically(file, with_value(read_file(file), "/format_version", "2"), Overwrite::yes);
    EXPECT_EQ(error_of([&] { newest_step(run.path()); }).code(), ErrorCode::incompatible_version);

    // With a digest that does not hold it is damage, not a newer format.
    std::string json = read_file(file);
    json.replace(json.find("\"format_version\": 2"), 19, "\"format_version\": 3");
    write_file_atomically(file, json, Overwrite::yes);
    EXPECT_EQ(newest_step(run.path()), 2U);
    damage(file);
    EXPECT_EQ(newest_step(run.path()), 2U);
}

TEST(ManifestWriteTest, CommitsNothingThatIsNotThere) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    const Manifest manifest = small.commit(2, 2);
    const fs::path generation = generation_directory(run.path(), 2);
    fs::remove(generation / "manifest.json");

    Manifest unsound = manifest;
    unsound.shards[1].slice_begin += 1;
    EXPECT_EQ(error_of([&] { write_manifest(run.path(), unsound); }).code(), ErrorCode::bug);
    const std::string bytes = read_file(generation / manifest.shards[1].file);
    write_file(generation / manifest.shards[1].file, bytes + "x");
    EXPECT_THAT(
        error_of([&] { write_manifest(run.path(), manifest); }).what(),
        HasSubstr(std::to_string(bytes.size() + 1) + " bytes, expected " + std::to_string(bytes.size())));
    fs::rename(generation / manifest.shards[1].file, generation / "elsewhere");
    const Error error = error_of([&] { write_manifest(run.path(), manifest); });
    EXPECT_EQ(error.code(), ErrorCode::io_failure);
    EXPECT_THAT(error.what(), HasSubstr(manifest.shards[1].file));
    EXPECT_FALSE(fs::exists(generation / "manifest.json"));
}

std::map<std::string, std::string> files_of_the_run(const fs::path& run) {
    std::map<std::string, std::string> files = all_files(run);
    std::erase_if(files, [](const auto& file) { return file.first.starts_with("abandoned/"); });
    return files;
}

// ---- Settling ----

TEST(SettleTest, MovesWhatIsLaterAndDeletesOnlyWhatWasNeverCommitted) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    const Manifest two = small.commit(2, 1);
    small.commit(4, 2);
    small.commit(6, 3);
    run.write("ledger/notes.txt", "not ours");
    const auto before = all_files(run.path());
    run.write("checkpoints/step-00000008/shard-00000-of-00001.h5", "never committed");
    run.write("checkpoints/step-00000008/shard-00000-of-00001.h5.tmp", "half");
    run.write("ledger/steps-00000006-00000008-00000000.h5.tmp", "half");
    run.write("run.json.tmp", "half");

    settle_run_directory(run.path(), two.step, two.ledger_head);
    EXPECT_EQ(valid_steps(run.path()), std::vector<std::uint64_t>{2});

    // Every file is where it was, or under abandoned/ with the same bytes.
    std::map<std::string, std::string> after;
    const std::string unique = "abandoned/00001-after-step-00000002/";
    for (const auto& [name, bytes] : all_files(run.path())) {
        after[name.starts_with(unique) ? name.substr(unique.size()) : name] = bytes;
        if (name.starts_with(unique)) {
            EXPECT_EQ(name.find("checkpoints/step-00000002/"), std::string::npos);
        }
    }
    EXPECT_EQ(after, before);
    EXPECT_TRUE(fs::exists(run / unique / "checkpoints/step-00000006/manifest.json"));
    EXPECT_TRUE(fs::exists(run / "ledger/notes.txt"));

    // Again: nothing to do.
    const auto settled = all_files(run.path());
    settle_run_directory(run.path(), two.step, two.ledger_head);
    EXPECT_EQ(all_files(run.path()), settled);
    EXPECT_FALSE(fs::exists(run / "abandoned/00002-after-step-00000002"));
}

TEST(SettleTest, AnAttemptThatWasCutOffLeavesItsRowsAlone) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    small.commit(2, 1);
    const Manifest four = small.commit(4, 2);
    const auto committed = all_files(run.path());
    const Manifest six = small.commit(6, 3);
    fs::remove(manifest_path(run.path(), six.step));
    settle_run_directory(run.path(), four.step, four.ledger_head);
    EXPECT_EQ(files_of_the_run(run.path()), committed);
    EXPECT_FALSE(fs::exists(run / "abandoned/00001-after-step-00000004/checkpoints"));
}

TEST(SettleTest, NeverOverwritesWhatWasAbandonedBefore) {
    const TemporaryDirectory run;
    for (int time = 0; time < 3; ++time) {
        SmallRun small(run.path());
        small.commit(2, 1 + time);
        settle_run_directory(run.path(), std::nullopt, std::nullopt);
        EXPECT_THAT(list_generations(run.path()), IsEmpty());
    }
    const auto files = all_files(run.path());
    EXPECT_EQ(files.size(), 3U + 4U + 5U);
    for (const auto& [name, bytes] : files) EXPECT_TRUE(name.starts_with("abandoned/0000")) << name;

    // A gap in the numbers does not lead into what is there.
    fs::remove_all(run / "abandoned/00001-before-first-generation");
    SmallRun(run.path()).commit(2, 1);
    settle_run_directory(run.path(), std::nullopt, std::nullopt);
    EXPECT_EQ(all_files(run.path()).size(), 3U + 4U + 5U);
}

TEST(SettleTest, MovesNothingWhenTheChainIsBroken) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    const Manifest two = small.commit(2, 1);
    small.commit(4, 1);
    damage(run / "ledger" / two.ledger_head->file);
    const auto before = all_files(run.path());
    EXPECT_EQ(error_of([&] { settle_run_directory(run.path(), two.step, two.ledger_head); }).code(),
              ErrorCode::corrupt_data);
    EXPECT_EQ(all_files(run.path()), before);
}

// ---- Killed anywhere ----

/// From generations 2 and 4: one more generation, pruned to two; as a run does it between steps.
void commit_and_prune(const fs::path& run) {
    std::vector<std::string> rejected;
    const std::optional<Manifest> newest = newest_valid_generation(run, rejected);
    if (!newest || !rejected.empty()) throw std::logic_error("no generation to go on from");
    settle_run_directory(run, newest->step, newest->ledger_head);
    SmallRun small(run);
    small.resume(*newest);
    if (newest->step < 6) small.commit(6, 3);
    prune_generations(run, {2, 0});
}

void two_generations(const fs::path& run) {
    SmallRun small(run);
    small.commit(2, 1);
    small.commit(4, 2);
}

/// The points that commit_and_prune passes, in order.
std::vector<std::string> points_passed() {
    const TemporaryDirectory run;
    two_generations(run.path());
    std::vector<std::string> points;
    set_commit_hook([&](std::string_view point) { points.emplace_back(point); });
    commit_and_prune(run.path());
    set_commit_hook({});
    return points;
}

/// Fail at each point in turn by `fail_at(run, n)`; whatever is left must load, and lead to the same run.
void expect_a_neighbour_after_each_failure(const std::function<void(const fs::path&, std::size_t)>& fail_at) {
    const TemporaryDirectory whole;
    two_generations(whole.path());
    commit_and_prune(whole.path());
    const auto expected = files_of_the_run(whole.path());

    const std::vector<std::string> points = points_passed();
    const auto renamed = std::find(points.begin(), points.end(), "manifest:renamed") - points.begin();
    for (std::size_t n = 0; n < points.size(); ++n) {
        SCOPED_TRACE(points[n]);
        const TemporaryDirectory run;
        two_generations(run.path());
        fail_at(run.path(), n);
        std::vector<std::string> rejected;
        EXPECT_EQ(newest_step(run.path(), &rejected), static_cast<std::ptrdiff_t>(n) < renamed ? 4U : 6U);
        EXPECT_THAT(rejected, IsEmpty());
        EXPECT_GE(valid_steps(run.path()).size(), 2U);
        commit_and_prune(run.path());
        EXPECT_EQ(files_of_the_run(run.path()), expected);
    }
}

TEST(KillTest, PassesEveryPointInTheDocumentedOrder) {
    std::vector<std::string> expected;
    for (const char* object : {"shard", "shard", "shard", "ledger", "manifest"}) {
        for (const char* moment : {"before-write", "written", "renamed", "published"}) {
            expected.push_back(std::string(object) + ":" + moment);
        }
    }
    for (const char* moment :
         {"before-manifest", "manifest-removed", "shards-removed", "directory-removed"}) {
        expected.push_back(std::string("prune:") + moment);
    }
    EXPECT_EQ(points_passed(), expected);
}

TEST(KillTest, KilledAtAnyPointLoadsANeighbour) {
    expect_a_neighbour_after_each_failure([](const fs::path& run, std::size_t n) {
        const pid_t child = fork();
        if (child == 0) {
            set_commit_hook([n, passed = std::size_t{0}](std::string_view) mutable {
                if (passed++ == n) kill(getpid(), SIGKILL);
            });
            commit_and_prune(run);
            _exit(1);
        }
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    });
}

TEST(KillTest, FailedAtAnyPointLoadsANeighbour) {
    expect_a_neighbour_after_each_failure([](const fs::path& run, std::size_t n) {
        set_commit_hook([n, passed = std::size_t{0}](std::string_view) mutable {
            if (passed++ == n) throw std::runtime_error("failed on purpose");
        });
        EXPECT_THROW(commit_and_prune(run), std::runtime_error);
        set_commit_hook({});
    });
}

TEST(KillTest, SettlingCutOffAnywhereIsFinishedByTheNext) {
    for (std::size_t n = 0; n < 8; ++n) {
        const TemporaryDirectory run;
        SmallRun small(run.path());
        const Manifest two = small.commit(2, 1);
        small.commit(4, 2);
        small.commit(6, 1);
        const std::size_t files = all_files(run.path()).size();
        set_commit_hook([n, passed = std::size_t{0}](std::string_view) mutable {
            if (passed++ == n) throw std::runtime_error("failed on purpose");
        });
        EXPECT_THROW(settle_run_directory(run.path(), two.step, two.ledger_head), std::runtime_error) << n;
        set_commit_hook({});
        // What is left is a run in itself.
        std::vector<std::string> rejected;
        EXPECT_TRUE(newest_step(run.path(), &rejected).has_value());
        EXPECT_THAT(rejected, IsEmpty());
        settle_run_directory(run.path(), two.step, two.ledger_head);
        EXPECT_EQ(newest_step(run.path()), 2U);
        EXPECT_EQ(all_files(run.path()).size(), files);
        EXPECT_EQ(files_of_the_run(run.path()).size(), 3U);
    }
}

}  // namespace
}  // namespace lockstep
