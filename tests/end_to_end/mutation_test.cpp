// The proof has teeth: each thing a worker could do wrong makes `verify` fail, or the comparison with a sound
// run.

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

constexpr int steps = 6;

struct Mutation {
    const char* name;
    bool seen_by_ledger;  ///< Verify alone finds it; else only the bits of a sound run do.
};

class MutationTest : public testing::TestWithParam<Mutation> {};

TEST_P(MutationTest, IsFound) {
    const std::string sound = SmallWorld::get().fresh("sound");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(sound, steps)).exit_code, 0);
    const std::string run = SmallWorld::get().fresh("mutant");
    const auto trained =
        run_hooked_program(2, train_arguments(run, steps), {{"LOCKSTEP_TEST_MUTATION", GetParam().name}});
    ASSERT_EQ(trained.exit_code, 0) << trained.err;

    const auto alone = run_lockstep_program(0, {"verify", run});
    EXPECT_EQ(alone.exit_code, GetParam().seen_by_ledger ? 1 : 0) << alone.out;
    const auto compared = run_lockstep_program(0, {"verify", run, "--against", sound});
    EXPECT_EQ(compared.exit_code, 1) << compared.out;
    EXPECT_NE(compared.out.find("the state digest differs"), std::string::npos) << compared.out;
}

INSTANTIATE_TEST_SUITE_P(All, MutationTest,
                         testing::Values(Mutation{"forget-pack", false}, Mutation{"twice", false},
                                         Mutation{"shift-target", true}, Mutation{"change-token", true},
                                         Mutation{"drop-gradient", false}),
                         [](const auto& instance) {
                             std::string name = instance.param.name;
                             name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
                             return name;
                         });

// Packs left out, of another step, or computed twice: all ranks know it before anything is updated.
// (That `verify` finds them in a ledger is tested on made-up ledgers.)
TEST(MutationTest, AStepWhosePacksAreNotComputedOnceIsRefused) {
    const std::pair<const char*, const char*> cases[] = {{"skip-pack", "computed 0 times"},
                                                         {"swap", "computed 0 times"},
                                                         {"record-twice", "computed 2 times"}};
    for (const auto& [mutation, message] : cases) {
        const std::string run = SmallWorld::get().fresh("mutant");
        const auto trained =
            run_hooked_program(2, train_arguments(run, steps), {{"LOCKSTEP_TEST_MUTATION", mutation}});
        EXPECT_EQ(trained.exit_code, 70) << mutation << trained.err;
        EXPECT_NE(trained.err.find(message), std::string::npos) << mutation << trained.err;
        EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 66) << "nothing was committed";
    }
}

TEST(MutationTest, TheSoundRunIsProven) {
    const std::string run = SmallWorld::get().fresh("hooked");
    ASSERT_EQ(run_hooked_program(2, train_arguments(run, steps)).exit_code, 0);
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 0);
}

}  // namespace
}  // namespace lockstep::test
