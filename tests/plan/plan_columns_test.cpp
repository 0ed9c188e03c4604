#include "plan/plan_columns.h"

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "plan/plan_structure.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

BatchPlan make_plan(PlanMode mode, bool lengths_only = false) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(1, 100, 300);
    source.sample_tokens[3] = 0;
    source.lengths_only = lengths_only;
    PlanOptions options;
    options.mode = mode;
    options.token_budget = 256;
    options.packs_per_step = 3;
    options.epochs = 2;
    options.bucket_edges = {16, 64};
    options.bucket_overflow_max = 256;
    return build_plan(options, source);
}

TEST(PlanColumnsTest, RoundTrip) {
    for (const auto mode : {PlanMode::pack, PlanMode::bucket}) {
        for (const bool lengths_only : {false, true}) {
            const BatchPlan plan = make_plan(mode, lengths_only);
            const BatchPlan again = from_columns(to_columns(plan));
            EXPECT_EQ(again, plan);
            EXPECT_NO_THROW(validate_plan(again, std::span<const SourceLengths>{}));
        }
    }
}

TEST(PlanColumnsTest, RoundTripOfARevision) {
    BatchPlan plan = make_plan(PlanMode::pack);
    plan.parent = plan.fingerprints.plan;
    plan.from_step = 7;
    plan.fingerprints = fingerprint_plan(plan);
    EXPECT_EQ(from_columns(to_columns(plan)), plan);
}

TEST(PlanColumnsTest, TypesAreTheNarrowestDocumented) {
    BatchPlan plan = make_plan(PlanMode::pack);
    PlanColumns columns = to_columns(plan);
    EXPECT_TRUE(std::holds_alternative<std::vector<std::uint32_t>>(columns.columns.at("segment_sample")));
    EXPECT_FALSE(columns.columns.contains("pack_bucket"));
    // Beyond 2^32 samples ids need 64 bits: the columns say so, and reading refuses what cannot be accounted
    // for.
    plan.sources[0].num_samples = (std::uint64_t{1} << 32U) + 1;
    columns = to_columns(plan);
    EXPECT_TRUE(std::holds_alternative<std::vector<std::uint64_t>>(columns.columns.at("segment_sample")));
    EXPECT_TRUE(std::holds_alternative<std::vector<std::uint64_t>>(columns.columns.at("disposition_sample")));
    expect_error(ErrorCode::corrupt_data, "account for", [&] { from_columns(columns); });
    plan.sources[0].num_samples = std::uint64_t{1} << 32U;
    EXPECT_TRUE(
        std::holds_alternative<std::vector<std::uint32_t>>(to_columns(plan).columns.at("segment_sample")));
}

TEST(PlanColumnsTest, LengthsOnlyPlansHaveNoTargets) {
    EXPECT_FALSE(to_columns(make_plan(PlanMode::pack, true)).columns.contains("pack_targets"));
}

TEST(PlanColumnsTest, NamesTheMissingColumnOrText) {
    const PlanColumns sound = to_columns(make_plan(PlanMode::bucket));
    for (const auto& [name, column] : sound.columns) {
        if (name == "pack_targets") continue;  // Lengths-only plans lack it.
        PlanColumns columns = sound;
        columns.columns.erase(name);
        expect_error(ErrorCode::corrupt_data, name, [&] { from_columns(columns); });
    }
    for (const auto& [name, text] : sound.texts) {
        PlanColumns columns = sound;
        columns.texts.erase(name);
        expect_error(ErrorCode::corrupt_data, name, [&] { from_columns(columns); });
    }
}

TEST(PlanColumnsTest, NamesTheColumnOfAnotherType) {
    const PlanColumns sound = to_columns(make_plan(PlanMode::bucket));
    for (const auto& [name, column] : sound.columns) {
        PlanColumns columns = sound;
        if (std::holds_alternative<std::vector<std::uint16_t>>(column)) {
            columns.columns[name] = std::vector<std::uint64_t>(3);
        } else {
            columns.columns[name] = std::vector<std::uint16_t>(3);
        }
        expect_error(ErrorCode::corrupt_data, name, [&] { from_columns(columns); });
    }
}

TEST(PlanColumnsTest, CutAndLengthenedColumnsAreRefused) {
    const PlanColumns sound = to_columns(make_plan(PlanMode::bucket));
    for (const auto& [name, column] : sound.columns) {
        for (const bool longer : {false, true}) {
            PlanColumns columns = sound;
            std::visit(
                [&](auto& values) {
                    if (longer)
                        values.push_back(values.empty() ? 0 : values.back());
                    else
                        values.pop_back();
                },
                columns.columns[name]);
            EXPECT_THROW(from_columns(columns), Error) << name;
        }
        PlanColumns columns = sound;
        std::visit([](auto& values) { values.clear(); }, columns.columns[name]);
        if (name == "pack_targets") continue;           // Empty means absent.
        if (name.starts_with("disposition")) continue;  // Checked against each other above.
        EXPECT_THROW(from_columns(columns), Error) << name;
    }
}

TEST(PlanColumnsTest, AnUnknownColumnIsRefused) {
    PlanColumns columns = to_columns(make_plan(PlanMode::pack));
    columns.columns["pack_colour"] = std::vector<std::uint8_t>{1};
    expect_error(ErrorCode::corrupt_data, "columns", [&] { from_columns(columns); });
}

TEST(PlanColumnsTest, ANewerVersionIsRefusedByNumber) {
    PlanColumns columns = to_columns(make_plan(PlanMode::pack));
    columns.texts["format_version"] = "4";
    expect_error(ErrorCode::incompatible_version, "version 4", [&] { from_columns(columns); });
    for (const char* text : {"", "0", "-1", "x", "1 ", "99999999999999999999999"}) {
        columns.texts["format_version"] = text;
        expect_error(ErrorCode::corrupt_data, "version", [&] { from_columns(columns); });
    }
}

TEST(PlanColumnsTest, AnOlderVersionIsToBeBuiltAgain) {
    PlanColumns columns = to_columns(make_plan(PlanMode::pack));
    for (const char* text : {"1", "2"}) {
        columns.texts["format_version"] = text;
        expect_error(ErrorCode::incompatible_version, std::string("version ") + text,
                     [&] { from_columns(columns); });
        expect_error(ErrorCode::incompatible_version, "build it again", [&] { from_columns(columns); });
    }
}

TEST(PlanColumnsTest, OptionsMustBeCanonical) {
    const PlanColumns sound = to_columns(make_plan(PlanMode::pack));
    const std::string text = sound.texts.at("options");
    EXPECT_EQ(text, text_of_options(make_plan(PlanMode::pack).options));
    EXPECT_EQ(text,
              R"({"balance":true,"bucket_edges":[],"bucket_overflow_max":0,"compat":"none","cost":[4096,1],)"
              R"("drop_last":false,"epochs":2,"long":"auto",)"
              R"("mode":"pack","order":"shuffle","packing":"auto","packs_per_step":3,)"
              R"("predictable":false,"seed":42,"segments_per_pack_max":0,"stages":0,"token_budget":256})");
    for (const std::string& bad :
         {std::string(), std::string("[]"), std::string("{}"), std::string("{"), std::string(100000, '['),
          " " + text, text.substr(0, text.size() - 1), text.substr(0, text.size() - 1) + R"(,"new":1})",
          R"({"balance":false,)" + text.substr(1)}) {
        PlanColumns columns = sound;
        columns.texts["options"] = bad;
        expect_error(ErrorCode::corrupt_data, "option", [&] { from_columns(columns); });
    }
}

TEST(PlanColumnsTest, NamesTheOptionOfAnotherTypeOrRange) {
    const PlanColumns sound = to_columns(make_plan(PlanMode::bucket));
    const std::string text = sound.texts.at("options");
    const auto refused = [&](const std::string& from, const std::string& to, const std::string& noun) {
        PlanColumns columns = sound;
        std::string& options = columns.texts["options"];
        const std::size_t at = text.find(from);
        ASSERT_NE(at, std::string::npos) << from << " in " << text;
        options.replace(at, from.size(), to);
        expect_error(ErrorCode::corrupt_data, noun, [&] { from_columns(columns); });
    };
    refused(R"("balance":true)", R"("balance":1)", "'balance' is not true or false");
    refused(R"("bucket_edges":[16,64])", R"("bucket_edges":{"16":64})", "'bucket_edges' is not a list");
    refused(R"("bucket_edges":[16,64])", R"("bucket_edges":[16,"64"])", "'bucket_edges' is not an integer");
    refused(R"("cost":[4096,1])", R"("cost":[4096])", "'cost' has 1 numbers; expected 2");
    refused(R"("cost":[4096,1])", R"("cost":[4096,-1])", "'cost' is not an integer in its range");
    refused(R"("mode":"bucket")", R"("mode":2)", "'mode' is not a name");
    refused(R"("mode":"bucket")", R"("mode":"bouquet")", "'mode'");
    refused(R"("epochs":2)", R"("epochs":2.0)", "'epochs' is not an integer in its range");
    // One more than fits, so that nothing is cut off to a number that would do.
    refused(R"("token_budget":256)", R"("token_budget":4294967552)", "'token_budget' is not an integer");
    refused(R"("seed":42)", R"("seed":18446744073709551658)", "'seed' is not an integer");
    refused(R"("seed":42)", R"("seed":42,"seed":42)", "canonical form");
}

TEST(PlanColumnsTest, AlgorithmsAreAListOfNamesAsWeWriteIt) {
    const PlanColumns sound = to_columns(make_plan(PlanMode::pack));
    const std::string text = sound.texts.at("algorithms");
    for (const auto& [bad, noun] :
         std::vector<std::pair<std::string, std::string>>{{R"({"packing":"in-order/1"})", "not a JSON list"},
                                                          {R"(["packing=in-order/1",2])", "not a name"},
                                                          {" " + text, "canonical form"}}) {
        PlanColumns columns = sound;
        columns.texts["algorithms"] = bad;
        expect_error(ErrorCode::corrupt_data, noun, [&] { from_columns(columns); });
    }
}

TEST(PlanColumnsTest, APlanHasEveryFingerprintButThatOfAParent) {
    const PlanColumns sound = to_columns(make_plan(PlanMode::pack));
    for (const char* name : {"fingerprint/plan", "fingerprint/settings", "fingerprint/order"}) {
        PlanColumns columns = sound;
        columns.texts[name].clear();
        expect_error(ErrorCode::corrupt_data, name, [&] { from_columns(columns); });
    }
    EXPECT_TRUE(sound.texts.at("parent").empty());
    PlanColumns columns = sound;
    columns.texts["parent"] = "someone";
    expect_error(ErrorCode::corrupt_data, "parent", [&] { from_columns(columns); });
}

TEST(PlanColumnsTest, AnotherSizeOfChunksIsRefused) {
    PlanColumns columns = to_columns(make_plan(PlanMode::pack));
    columns.texts["fingerprint/steps_per_chunk"] = "512";
    expect_error(ErrorCode::corrupt_data, "steps_per_chunk: expected 1024, found 512",
                 [&] { from_columns(columns); });
    const BatchPlan head = head_from_columns(columns);
    expect_error(ErrorCode::corrupt_data, "steps_per_chunk",
                 [&] { check_head_structure(head, head.epoch_begin.back()); });
}

template <class T>
void spoil(std::vector<T>& values, Dice& dice) {
    const std::uint64_t choice = dice.roll(0, 5);
    if (values.empty() || choice == 0) {
        values.resize(dice.roll(0, values.size() + 3), static_cast<T>(dice.roll(0, 255)));
        return;
    }
    T& value = values[dice.roll(0, values.size() - 1)];
    if (choice == 1) value = static_cast<T>(~std::uint64_t{0});
    if (choice == 2) value = 0;
    if (choice == 3) ++value;
    if (choice == 4) --value;
    if (choice == 5) value = static_cast<T>(dice.roll(0, ~std::uint64_t{0} - 1));
}

TEST(PlanColumnsTest, GarbageGivesAPlanThatCanBeWalkedOrAnError) {
    Dice dice(99);
    const PlanColumns sound[] = {to_columns(make_plan(PlanMode::pack)),
                                 to_columns(make_plan(PlanMode::bucket))};
    int accepted = 0;
    for (int i = 0; i < 4000; ++i) {
        PlanColumns columns = sound[dice.roll(0, 1)];
        for (std::uint64_t changes = dice.roll(1, 3); changes > 0; --changes) {
            if (dice.roll(0, 3) == 0) {
                auto text = columns.texts.begin();
                std::advance(text, static_cast<std::ptrdiff_t>(dice.roll(0, columns.texts.size() - 1)));
                if (!text->second.empty()) {
                    text->second[dice.roll(0, text->second.size() - 1)] =
                        static_cast<char>(dice.roll(0, 255));
                }
            } else {
                auto column = columns.columns.begin();
                std::advance(column, static_cast<std::ptrdiff_t>(dice.roll(0, columns.columns.size() - 1)));
                std::visit([&](auto& values) { spoil(values, dice); }, column->second);
            }
        }
        try {
            const BatchPlan plan = from_columns(columns);
            ++accepted;
            check_structure(plan);
            validate_plan(plan, std::span<const SourceLengths>{});
        } catch (const Error& error) {
            EXPECT_NE(error.code(), ErrorCode::bug) << error.what();
        }
    }
    EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace lockstep
