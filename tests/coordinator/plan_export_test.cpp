#include "coordinator/plan_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "coordinator/npz_writer.h"
#include "io/files/sealed_json.h"
#include "plan/shard.h"
#include "tests/coordinator/small_plan.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::uint32_t crc_of(const std::string& text) {
    return crc32(std::as_bytes(std::span(text.data(), text.size())));
}

TEST(NpzWriterTest, Crc32GivesThePublishedCheckValue) {
    EXPECT_EQ(crc_of("123456789"), 0xCBF43926U);
    EXPECT_EQ(crc_of(""), 0U);
    const std::string text = "The quick brown fox jumps over the lazy dog";
    EXPECT_EQ(crc_of(text), 0x414FA339U);
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        const std::string rest = text.substr(cut);
        EXPECT_EQ(crc32(std::as_bytes(std::span(rest.data(), rest.size())), crc_of(text.substr(0, cut))),
                  crc_of(text));
    }
}

TEST(NpzWriterTest, HeadersAreAlignedAndSpellShapesAsNumpyDoes) {
    const std::uint64_t row[] = {5};
    const std::uint64_t matrix[] = {3, 0};
    for (const std::string& header : {npy_header("<u8", row), npy_header("|u1", matrix)}) {
        EXPECT_EQ(header.size() % 64, 0U);
        EXPECT_EQ(header.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
        EXPECT_EQ(header.back(), '\n');
    }
    EXPECT_NE(npy_header("<u8", row).find("'shape': (5,), }"), std::string::npos);
    EXPECT_NE(npy_header("|u1", matrix).find("'shape': (3, 0), }"), std::string::npos);
    EXPECT_EQ(npy_type<std::int32_t>(), "<i4");
    EXPECT_EQ(npy_type<std::uint8_t>(), "|u1");
}

class PlanExportTest : public testing::Test {
  protected:
    PlanExportTest() : small_(directory_.path()) {
        save_plan(directory_ / "plan", small_.plan, plan_stats(small_.plan), small_.inputs,
                  WriteJsonl::always, Overwrite::no);
    }

    PlanFile open() const { return PlanFile::open(directory_ / "plan"); }
    json index_of(const fs::path& folder) const {
        return json::parse(unseal_json(read_file(folder / "index.json"), "index.json"));
    }
    /// Every file is there, of the digest named, and nothing else.
    void expect_whole(const fs::path& folder) const {
        const json files = index_of(folder)["files"];
        std::size_t found = 0;
        for (const auto& entry : fs::directory_iterator(folder)) {
            const std::string name = entry.path().filename().string();
            if (name == "index.json") continue;
            ++found;
            ASSERT_TRUE(files.contains(name)) << name;
            const std::string bytes = read_file(entry.path());
            EXPECT_EQ(files[name]["sha256"],
                      sha256(std::as_bytes(std::span(bytes.data(), bytes.size()))).hex());
            EXPECT_EQ(files[name]["bytes"], bytes.size());
        }
        EXPECT_EQ(found, files.size());
    }

    TemporaryDirectory directory_;
    SmallPlan small_;
};

TEST_F(PlanExportTest, JsonlIsThePlansOwn) {
    export_jsonl(open(), small_.inputs, directory_ / "out.jsonl", Overwrite::no);
    EXPECT_EQ(read_file(directory_ / "out.jsonl"), read_file(directory_ / "plan" / "plan.jsonl"));
    EXPECT_EQ(error_of([&] { export_jsonl(open(), {}, directory_ / "out.jsonl", Overwrite::no); }).code(),
              ErrorCode::output_exists);
}

TEST_F(PlanExportTest, ShardsPartitionThePlanAsRanksDo) {
    for (int world = 1; world <= 7; ++world) {
        const fs::path folder = directory_ / ("shards-" + std::to_string(world));
        const auto counts = export_shards(open(), small_.inputs, WorldSize{world}, folder, Overwrite::no);
        expect_whole(folder);
        ASSERT_EQ(counts.size(), static_cast<std::size_t>(world));
        std::uint64_t packs = 0;
        for (int rank = 0; rank < world; ++rank) {
            std::vector<std::uint64_t> expected;
            for (std::uint64_t step = 0; step < small_.plan.num_steps(); ++step) {
                for (const std::uint64_t pack :
                     shard_of(small_.plan, Step{step}, Rank{rank}, WorldSize{world})) {
                    expected.push_back(pack);
                }
            }
            std::ifstream file(folder / ("rank-0000" + std::to_string(rank) + ".jsonl"));
            std::vector<std::uint64_t> found;
            for (std::string line; std::getline(file, line);) found.push_back(json::parse(line)["pack"]);
            EXPECT_EQ(found, expected);
            EXPECT_EQ(counts[static_cast<std::size_t>(rank)].packs, expected.size());
            packs += found.size();
        }
        EXPECT_EQ(packs, small_.plan.num_packs());
    }
}

TEST_F(PlanExportTest, FoldersAreWholeRepeatableAndReplaceOnlyTheirOwn) {
    export_columns(open(), "npy", {{"lockstep_plan.py", "import"}}, directory_ / "a", Overwrite::no);
    export_columns(open(), "npy", {{"lockstep_plan.py", "import"}}, directory_ / "b", Overwrite::no);
    expect_whole(directory_ / "a");
    EXPECT_EQ(read_file(directory_ / "a" / "index.json"), read_file(directory_ / "b" / "index.json"));
    const auto again = [&](const fs::path& folder, Overwrite overwrite) {
        return error_of([&] { export_columns(open(), "npy", {}, folder, overwrite); }).code();
    };
    EXPECT_EQ(again(directory_ / "a", Overwrite::no), ErrorCode::output_exists);
    EXPECT_NO_THROW(export_columns(open(), "npy", {}, directory_ / "a", Overwrite::yes));
    EXPECT_FALSE(fs::exists(directory_ / "a" / "lockstep_plan.py"));
    EXPECT_EQ(again(directory_ / "plan", Overwrite::yes), ErrorCode::output_exists) << "a plan is no export";
    directory_.write("other/index.json", R"({"format":5})");
    EXPECT_EQ(again(directory_ / "other", Overwrite::yes), ErrorCode::output_exists);
    EXPECT_TRUE(fs::exists(directory_ / "plan" / "plan.h5"));
}

TEST_F(PlanExportTest, WhatAnInterruptedExportLeftIsReplaced) {
    const std::vector<std::function<void(const fs::path&)>> exports{
        [&](const fs::path& folder) {
            export_columns(open(), "npy", {{"lockstep_plan.py", "import"}}, folder, Overwrite::no);
        },
        [&](const fs::path& folder) {
            export_batches(open(), small_.inputs, 0, small_.plan.num_steps(), folder, Overwrite::no);
        },
        [&](const fs::path& folder) {
            export_shards(open(), small_.inputs, WorldSize{3}, folder, Overwrite::no);
        }};
    for (std::size_t i = 0; i < exports.size(); ++i) {
        SCOPED_TRACE(i);
        const fs::path folder = directory_ / ("export-" + std::to_string(i));
        exports[i](folder);
        fs::rename(folder, folder.string() + ".tmp");
        exports[i](folder);
        expect_whole(folder);
        EXPECT_FALSE(fs::exists(folder.string() + ".tmp"));
    }
}

TEST_F(PlanExportTest, BatchesAreOneFileAStepAndRepeatable) {
    const std::uint64_t steps = small_.plan.num_steps();
    EXPECT_EQ(export_batches(open(), small_.inputs, 0, steps, directory_ / "a", Overwrite::no).files, steps);
    export_batches(open(), small_.inputs, 0, steps, directory_ / "b", Overwrite::no);
    expect_whole(directory_ / "a");
    EXPECT_EQ(read_file(directory_ / "a" / "index.json"), read_file(directory_ / "b" / "index.json"));
}

}  // namespace
}  // namespace lockstep
