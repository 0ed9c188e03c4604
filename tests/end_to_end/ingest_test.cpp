// Ingest as users run it: any number of ranks and threads, killed and started
// again, always the same bytes; bad input; and what drift looks like later.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/gzip.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace lockstep::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class IngestTest : public testing::Test {
  protected:
    std::string path(const std::string& name) const { return (directory_ / name).string(); }

    /// Keys, prompts and responses, repeated texts, and lengths of every kind.
    std::string write_lines(const std::string& name, int lines, int first = 0) {
        std::string text;
        for (int i = first; i < first + lines; ++i) {
            const std::string body = "line " + std::to_string(i % 7 == 3 ? 3 : i) + " – " +
                                     std::string(static_cast<std::size_t>(i * 37 % 211), 'y');
            text += i % 5 == 0 ? json({{"prompt", "Q" + body}, {"response", body}, {"id", i}}).dump()
                               : json({{"text", body}, {"id", i}}).dump();
            text += i % 3 == 0 ? "\r\n" : "\n";
            if (i % 11 == 0) text += "\n";
        }
        return directory_.write(name, text).string();
    }

    static double score_of(int document) { return document * 37 % 101 / 4.0; }
    /// Texts that grow longer, each with a `quality`.
    std::string write_scored(const std::string& name, int documents, int first = 0) {
        std::string text;
        for (int i = first; i < first + documents; ++i)
            text += json({{"text", "document " + std::to_string(i)},
                          {"id", "d" + std::to_string(i)},
                          {"quality", score_of(i)},
                          {"id_number", i}})
                        .dump() +
                    "\n";
        return directory_.write(name, text).string();
    }

    std::vector<std::string> ingest(const std::vector<std::string>& sources, const std::string& output,
                                    const std::vector<std::string>& more = {}) const {
        std::vector<std::string> arguments{"ingest", "-t", tokenizer_, "-o", path(output), "--json", "-d"};
        arguments.insert(arguments.end(), sources.begin(), sources.end());
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    json run(const std::vector<std::string>& arguments, int ranks = 0) {
        const ProgramResult result = run_lockstep_program(ranks, arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return json::parse(result.out, nullptr, false);
    }
    void refused(const std::vector<std::string>& arguments, int code, const std::string& noun) {
        const ProgramResult result = run_lockstep_program(0, arguments);
        EXPECT_EQ(result.exit_code, code) << result.err;
        EXPECT_THAT(result.err, HasSubstr(noun));
    }
    /// The corpus and its work folder are not there.
    void nothing_left(const std::string& output) const {
        EXPECT_FALSE(std::filesystem::exists(path(output)));
        EXPECT_FALSE(std::filesystem::exists(path(output + ".ingest")));
        EXPECT_FALSE(std::filesystem::exists(path(output + ".tmp")));
    }

    void expect_same_bytes_however_divided(const std::vector<std::string>& sources) {
        run(ingest(sources, "one.h5", {"--threads", "1"}));
        const std::string expected = directory_.read("one.h5");
        struct Case {
            int ranks;
            const char* threads;
            const char* piece_bytes;
        };
        for (const auto& [ranks, threads, piece_bytes] :
             {Case{0, "3", "1000"}, Case{2, "1", "777"}, Case{3, "2", "5000"}, Case{3, "1", "100000000"}}) {
            const std::string output = "n" + std::to_string(ranks) + threads + piece_bytes + ".h5";
            run(ingest(sources, output, {"--threads", threads, "--piece-bytes", piece_bytes}), ranks);
            EXPECT_TRUE(directory_.read(output) == expected) << output;
            EXPECT_FALSE(std::filesystem::exists(path(output + ".ingest")));
        }
    }

    void flip_bit(const std::string& file, std::size_t at) const {
        std::string bytes = directory_.read(file);
        ASSERT_LT(at, bytes.size());
        bytes[at] = static_cast<char>(bytes[at] ^ 1);
        directory_.write(file, bytes);
    }

    TemporaryDirectory directory_;
    std::string tokenizer_ = "bytes";
};

TEST_F(IngestTest, RanksThreadsAndPiecesDoNotShowInTheBytes) {
    expect_same_bytes_however_divided({write_lines("a.jsonl", 400), write_lines("b.jsonl", 150, 1000)});
}

TEST_F(IngestTest, NorDoTheyWithATrainedTokenizer) {
    // What a thread keeps between documents, cached words and scratch, differs with every division.
    const std::vector<std::string> sources{write_lines("a.jsonl", 400), write_lines("b.jsonl", 150, 1000)};
    tokenizer_ = path("mine");
    run({"tokenizer", "train", "--vocab-size", "500", "-d", sources.front(), "-o", tokenizer_, "--json"});
    expect_same_bytes_however_divided(sources);
}

TEST_F(IngestTest, KilledAnywhereItGoesOnAndEndsInTheSameBytes) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 500)};
    run(ingest(sources, "whole.h5"));
    const std::string expected = directory_.read("whole.h5");
    const std::vector<std::string> arguments = ingest(sources, "killed.h5", {"--piece-bytes", "2000"});
    for (const char* point : {"0:piece:written:3", "0:piece:renamed:0", "0:piece:renamed:5"}) {
        const ProgramResult killed = run_hooked_program(0, arguments, {{"LOCKSTEP_TEST_KILL", point}});
        EXPECT_EQ(killed.exit_code, 128 + 9) << killed.err;
        EXPECT_FALSE(std::filesystem::exists(path("killed.h5")));
    }
    const json result = run(arguments, 2);
    EXPECT_GE(result.at("pieces_found").get<int>(), 6);
    EXPECT_TRUE(directory_.read("killed.h5") == expected);
    EXPECT_FALSE(std::filesystem::exists(path("killed.h5.ingest")));
}

TEST_F(IngestTest, KilledWhileItsCorporaAppearItGoesOnAndEndsInTheSameBytes) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 300)};
    const std::vector<std::string> more{"--piece-bytes", "2000", "--validation-share", "0.2"};
    run(ingest(sources, "whole.h5", more));
    const auto expect_whole = [&] {
        EXPECT_TRUE(directory_.read("killed.h5") == directory_.read("whole.h5"));
        EXPECT_TRUE(directory_.read("killed.validation.h5") == directory_.read("whole.validation.h5"));
        EXPECT_FALSE(std::filesystem::exists(path("killed.h5.ingest")));
        EXPECT_FALSE(std::filesystem::exists(path("killed.h5.tmp")));
        EXPECT_FALSE(std::filesystem::exists(path("killed.validation.h5.tmp")));
    };
    const std::vector<std::string> arguments = ingest(sources, "killed.h5", more);
    for (const char* point : {"0:validation:written:0", "0:validation:renamed:0", "0:corpus:written:0",
                              "0:corpus:renamed:0", "0:ingest:published:0"}) {
        const ProgramResult killed = run_hooked_program(0, arguments, {{"LOCKSTEP_TEST_KILL", point}});
        EXPECT_EQ(killed.exit_code, 128 + 9) << killed.err;
        EXPECT_GT(run(arguments).at("pieces_found"), 5) << point;
        expect_whole();
        std::filesystem::remove(path("killed.h5"));
        std::filesystem::remove(path("killed.validation.h5"));
    }
    // One corpus alone.
    const std::vector<std::string> alone = ingest(sources, "alone.h5", {"--piece-bytes", "2000"});
    run_hooked_program(0, alone, {{"LOCKSTEP_TEST_KILL", "0:corpus:renamed:0"}});
    EXPECT_GT(run(alone).at("pieces_found"), 5);
    refused(alone, 73, "exists");
}

TEST_F(IngestTest, ReplacingTwoCorporaLosesNone) {
    const std::vector<std::string> share{"--validation-share", "0.2", "--force"};
    run(ingest({write_lines("old.jsonl", 200)}, "c.h5", share));
    const std::vector<std::string> sources{write_lines("new.jsonl", 200, 1000)};
    run(ingest(sources, "whole.h5", share));
    const ProgramResult full =
        run_hooked_program(0, ingest(sources, "c.h5", share), {{"LOCKSTEP_TEST_FAIL", "0:corpus:written:0"}});
    EXPECT_EQ(full.exit_code, 74) << full.err;
    EXPECT_TRUE(directory_.read("c.validation.h5") == directory_.read("whole.validation.h5"));
    EXPECT_TRUE(std::filesystem::exists(path("c.h5")));
    run(ingest(sources, "c.h5", share));
    EXPECT_TRUE(directory_.read("c.h5") == directory_.read("whole.h5"));
    EXPECT_TRUE(directory_.read("c.validation.h5") == directory_.read("whole.validation.h5"));
}

TEST_F(IngestTest, ARankThatFailsNamesItselfAndKeepsTheWork) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 1500)};
    const std::vector<std::string> arguments = ingest(sources, "c.h5", {"--piece-bytes", "100"});
    const ProgramResult full =
        run_hooked_program(2, arguments, {{"LOCKSTEP_TEST_FAIL", "1:piece:written:0"}});
    EXPECT_EQ(full.exit_code, 74) << full.err;
    EXPECT_THAT(full.err, HasSubstr("rank 1"));
    int done = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path("c.h5.ingest")))
        done += entry.path().filename().string().starts_with("piece-") ? 1 : 0;
    EXPECT_EQ(run(ingest(sources, "c.h5", {"--piece-bytes", "100", "--dedup"})).at("pieces_found"), done);
}

// Repeated texts have to be known before the tokens find their place: pieces hold them until then.
TEST_F(IngestTest, ADamagedPieceOfAnEarlierStartIsMadeAgain) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 300)};
    run(ingest(sources, "whole.h5", {"--dedup"}));
    const std::vector<std::string> arguments =
        ingest(sources, "again.h5", {"--piece-bytes", "2000", "--dedup"});
    run_hooked_program(0, arguments, {{"LOCKSTEP_TEST_KILL", "0:piece:renamed:4"}});
    directory_.write("again.h5.ingest/piece-00000001", "cut");
    EXPECT_EQ(run(arguments).at("pieces_found"), 4);
    EXPECT_TRUE(directory_.read("again.h5") == directory_.read("whole.h5"));
}

TEST_F(IngestTest, PiecesWhoseTokensChangedAreRemovedAndMadeAgain) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 300)};
    run(ingest(sources, "whole.h5", {"--dedup"}));
    const std::vector<std::string> arguments =
        ingest(sources, "again.h5", {"--piece-bytes", "2000", "--dedup"});
    run_hooked_program(0, arguments, {{"LOCKSTEP_TEST_KILL", "0:piece:renamed:4"}});
    for (const std::string piece : {"again.h5.ingest/piece-00000001", "again.h5.ingest/piece-00000003"})
        flip_bit(piece, 10);
    refused(arguments, 74, "piece-00000001': its tokens have digest");
    int kept = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path("again.h5.ingest")))
        kept += entry.path().filename().string().starts_with("piece-") ? 1 : 0;
    EXPECT_GT(kept, 3);
    EXPECT_EQ(run(arguments).at("pieces_found"), kept);
    EXPECT_TRUE(directory_.read("again.h5") == directory_.read("whole.h5"));
}

TEST_F(IngestTest, WhatOneRankWroteIsKeptUpToTheFirstDamage) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 300)};
    run(ingest(sources, "whole.h5"));
    const std::vector<std::string> arguments = ingest(sources, "again.h5", {"--piece-bytes", "2000"});
    const std::string tokens = "again.h5.ingest/tokens";
    const auto expect_found_after = [&](const std::function<void()>& damage, int pieces) {
        run_hooked_program(0, arguments, {{"LOCKSTEP_TEST_KILL", "0:piece:renamed:4"}});
        damage();
        EXPECT_EQ(run(arguments).at("pieces_found"), pieces);
        EXPECT_TRUE(directory_.read("again.h5") == directory_.read("whole.h5"));
        EXPECT_FALSE(std::filesystem::exists(path("again.h5.ingest")));
        std::filesystem::remove(path("again.h5"));
    };
    expect_found_after([] {}, 5);
    expect_found_after([&] { directory_.write("again.h5.ingest/piece-00000001", "cut"); }, 1);
    expect_found_after([&] { std::filesystem::remove(path("again.h5.ingest/piece-00000000")); }, 0);
    expect_found_after([&] { std::filesystem::remove(path(tokens)); }, 0);
    const auto size = [&] { return static_cast<std::size_t>(std::filesystem::file_size(path(tokens))); };
    expect_found_after([&] { flip_bit(tokens, size() - 1); }, 4);
    expect_found_after([&] { flip_bit(tokens, size() / 2); }, 2);
    expect_found_after([&] { std::filesystem::resize_file(path(tokens), size() - 1); }, 4);
    expect_found_after([&] { std::filesystem::resize_file(path(tokens), 100); }, 0);
    // What stands in front of the tokens and behind them is made again.
    expect_found_after(
        [&] {
            flip_bit(tokens, 0);
            directory_.write(tokens, directory_.read(tokens) + std::string(5000, 'x'));
        },
        5);
}

TEST_F(IngestTest, OneRankAndManyGoOnWithEachOthersPieces) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 300)};
    run(ingest(sources, "whole.h5"));
    run(ingest(sources, "dedup.h5", {"--dedup", "--validation-share", "0.3"}));
    const auto arguments = [&](std::vector<std::string> more) {
        more.insert(more.end(), {"--piece-bytes", "2000"});
        return ingest(sources, "again.h5", more);
    };
    const auto kill = [&](const std::vector<std::string>& more, int ranks, const char* point) {
        const ProgramResult killed =
            run_hooked_program(ranks, arguments(more), {{"LOCKSTEP_TEST_KILL", point}});
        EXPECT_NE(killed.exit_code, 0) << killed.err;
    };
    kill({}, 0, "0:piece:renamed:2");
    kill({}, 2, "1:piece:renamed:2");
    kill({}, 0, "0:piece:renamed:0");
    EXPECT_GT(run(arguments({}), 3).at("pieces_found"), 5);
    EXPECT_TRUE(directory_.read("again.h5") == directory_.read("whole.h5"));
    std::filesystem::remove(path("again.h5"));

    kill({}, 0, "0:corpus:written:0");
    const auto all = run(arguments({"--dedup", "--validation-share", "0.3"}));
    EXPECT_GT(all.at("pieces_found"), 5);
    EXPECT_TRUE(directory_.read("again.h5") == directory_.read("dedup.h5"));
    EXPECT_TRUE(directory_.read("again.validation.h5") == directory_.read("dedup.validation.h5"));
}

// Scores are no part of what identifies its tokens.
TEST_F(IngestTest, AnotherCorpusOfTheSameTokensIsReplacedAfterAKill) {
    const std::vector<std::string> sources{write_scored("a.jsonl", 50)};
    const std::vector<std::string> scored{"--score-field", "quality", "--force"};
    run(ingest(sources, "whole.h5", scored));
    run(ingest(sources, "c.h5"));
    run_hooked_program(0, ingest(sources, "c.h5", scored), {{"LOCKSTEP_TEST_KILL", "0:corpus:written:0"}});
    EXPECT_FALSE(directory_.read("c.h5") == directory_.read("whole.h5"));
    run(ingest(sources, "c.h5", scored));
    EXPECT_TRUE(directory_.read("c.h5") == directory_.read("whole.h5"));
}

TEST_F(IngestTest, NothingOfAKilledStartStaysBeside) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 300)};
    run_hooked_program(0, ingest(sources, "c.h5", {"--dedup"}),
                       {{"LOCKSTEP_TEST_KILL", "0:corpus:written:0"}});
    EXPECT_TRUE(std::filesystem::exists(path("c.h5.tmp")));
    std::filesystem::remove_all(path("c.h5.ingest"));
    run(ingest(sources, "c.h5"));
    EXPECT_FALSE(std::filesystem::exists(path("c.h5.tmp")));
}

TEST_F(IngestTest, AWorkFolderMayBeElsewhere) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 300)};
    run(ingest(sources, "whole.h5"));
    // A file system of its own, which nothing can be renamed from.
    std::string elsewhere = "/dev/shm/lockstep-test-XXXXXX";
    ASSERT_NE(::mkdtemp(elsewhere.data()), nullptr);
    std::filesystem::create_directory_symlink(elsewhere, path("c.h5.ingest"));
    const std::vector<std::string> arguments = ingest(sources, "c.h5", {"--piece-bytes", "2000"});
    run_hooked_program(0, arguments, {{"LOCKSTEP_TEST_KILL", "0:piece:renamed:4"}});
    EXPECT_EQ(run(arguments).at("pieces_found"), 5);
    std::filesystem::remove_all(elsewhere);
    EXPECT_TRUE(directory_.read("c.h5") == directory_.read("whole.h5"));
}

TEST_F(IngestTest, KilledWhileItsOneCorpusAppearsItGoesOnAndSaysTheSame) {
    const std::vector<std::string> sources{write_lines("a.jsonl", 300),
                                           directory_.write("b.jsonl", "{\"text\": 7}\n{\"text\": \"\"}\n")};
    const std::vector<std::string> more{"--piece-bytes", "2000", "--skip-bad", "1"};
    const auto said = [&](const std::string& output) {
        json result = run(ingest(sources, output, more));
        for (const char* changing : {"corpus", "seconds", "pieces_found"}) result.erase(changing);
        return result;
    };
    const json expected = said("whole.h5");
    EXPECT_EQ(expected.at("bad_lines"), 1);
    for (const char* point :
         {"0:corpus:written:0", "0:corpus:renamed:0", "0:ingest:published:0", "0:ingest:removed:0"}) {
        const ProgramResult killed =
            run_hooked_program(0, ingest(sources, "killed.h5", more), {{"LOCKSTEP_TEST_KILL", point}});
        EXPECT_EQ(killed.exit_code, 128 + 9) << killed.err;
        if (std::filesystem::exists(path("killed.h5.ingest"))) {
            EXPECT_EQ(said("killed.h5"), expected) << point;
        }
        EXPECT_TRUE(directory_.read("killed.h5") == directory_.read("whole.h5")) << point;
        EXPECT_FALSE(std::filesystem::exists(path("killed.h5.ingest"))) << point;
        std::filesystem::remove(path("killed.h5"));
    }
}

TEST_F(IngestTest, OtherSourcesOrOptionsStartAnew) {
    const std::string source = write_lines("a.jsonl", 300);
    const std::vector<std::string> arguments = ingest({source}, "c.h5", {"--piece-bytes", "2000"});
    run_hooked_program(0, arguments, {{"LOCKSTEP_TEST_KILL", "0:piece:renamed:4"}});
    EXPECT_EQ(run(ingest({source}, "c.h5", {"--piece-bytes", "2000", "--eos", "none"})).at("pieces_found"),
              0);
}

TEST_F(IngestTest, RepeatedTextsAndIdsAndLengths) {
    const std::string source = directory_
                                   .write("a.jsonl", R"({"id": "a", "text": "same"})"
                                                     "\n"
                                                     R"({"id": "b", "text": "same"})"
                                                     "\n"
                                                     R"({"id": "c", "text": "x"})"
                                                     "\n"
                                                     R"({"id": "d", "text": "a long one"})"
                                                     "\n")
                                   .string();
    const json deduplicated = run(ingest({source}, "dedup.h5", {"--dedup"}));
    EXPECT_EQ(deduplicated.at("documents"), 3);
    EXPECT_EQ(deduplicated.at("duplicates"), 1);
    const json filtered = run(ingest({source}, "filtered.h5", {"--min-tokens", "3", "--max-bytes", "5"}));
    EXPECT_EQ(filtered.at("documents"), 2);
    EXPECT_EQ(filtered.at("too_short"), 1);
    EXPECT_EQ(filtered.at("too_long"), 1);
    const std::string more = directory_.write("b.jsonl", "{\"id\": \"c\", \"text\": \"other\"}\n").string();
    refused(ingest({source, more}, "repeated.h5"), 65, "'c'");
    nothing_left("repeated.h5");
}

TEST_F(IngestTest, TheValidationShareIsByTextAndLosesNothing) {
    std::string repeated;
    for (int i = 0; i < 50; ++i)
        repeated += json({{"text", "one and the same"}, {"id", "r" + std::to_string(i)}}).dump() + "\n";
    const std::vector<std::string> sources{write_lines("a.jsonl", 600),
                                           directory_.write("r.jsonl", repeated).string()};
    const json whole = run(ingest(sources, "whole.h5"));
    const json divided = run(ingest(sources, "c.h5", {"--validation-share", "0.2"}), 2);
    const json validation = divided.at("validation");
    EXPECT_EQ(validation.at("corpus"), path("c.validation.h5"));
    const auto aside = validation.at("documents").get<int>();
    EXPECT_GT(aside, 60);
    EXPECT_LT(aside, 240);
    EXPECT_EQ(divided.at("documents").get<int>() + aside, whole.at("documents").get<int>());
    std::vector<int> found;
    for (const char* corpus : {"c.h5", "c.validation.h5"}) {
        const ProgramResult result =
            run_lockstep_program(0, {"corpus", "search", path(corpus), "one and the same", "--json"});
        found.push_back(json::parse(result.out).at("found").get<int>());
    }
    EXPECT_THAT(found, testing::UnorderedElementsAre(0, 50));
}

TEST_F(IngestTest, BadInputIsOneErrorAndLeavesNothing) {
    const auto bad = [&](const std::string& name, const std::string& bytes) {
        return directory_.write(name, bytes).string();
    };
    refused(ingest({bad("nul.txt", std::string("a\0b", 3))}, "c.h5"), 65, "NUL");
    refused(ingest({bad("latin.txt", "caf\xe9\n")}, "c.h5"), 65, "UTF-8");
    refused(ingest({bad("cut.jsonl.gz", "\x1f\x8b\x08")}, "c.h5"), 65, "cut short");
    refused(ingest({bad("cut.jsonl.zst", "\x28\xb5\x2f\xfd")}, "c.h5"), 65, "cut short");
    refused(ingest({bad("no.parquet", "PAR1 nothing")}, "c.h5"), 65, "Parquet");
    refused(ingest({bad("cut.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b")}, "c.h5"), 65, "cut.jsonl:2");
    refused(ingest({bad("long.jsonl", "{\"text\": \"" + std::string(200'000, 'x') + "\"}\n")}, "c.h5",
                   {"--document-bytes-max", "100000"}),
            65, "--document-bytes-max");
    std::string bomb;
    const std::string member = gzip(std::string(std::size_t{1} << 20U, '\n'));
    for (int i = 0; i < 100; ++i) bomb += member;
    refused(ingest({bad("bomb.jsonl.gz", bomb)}, "c.h5", {"--threads", "2"}), 65, "--expansion-max");
    std::filesystem::create_directory(path("folder.jsonl"));
    refused(ingest({path("folder.jsonl")}, "c.h5"), 66, "folder.jsonl");
    refused(ingest({bad("text.txt", "text\n")}, "no/such/folder/c.h5"), 66, "no folder");
    refused(ingest({path("text.txt")}, "."), 73, "exists");
    nothing_left("c.h5");
    const json result = run(
        ingest({bad("crlf.jsonl", "\xEF\xBB\xBF{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\"}\r\n")}, "c.h5"));
    EXPECT_EQ(result.at("documents"), 2);
    EXPECT_EQ(result.at("empty"), 1);
}

TEST_F(IngestTest, AChangedDocumentIsFoundBeforeTheFirstStep) {
    const std::string source = write_lines("a.jsonl", 40);
    run(ingest({source}, "c.h5"));
    run({"batchplan", "build", "-l", path("c.h5"), "-e", "1", "-b", "512", "-o", path("plan"), "--json"});
    const std::vector<std::string> validate{"batchplan", "validate", "-p", path("plan"), "-l", path("c.h5")};
    const std::vector<std::string> train{"train", "-p",      path("plan"), "-d", path("c.h5"), "-m",
                                         "nano",  "--steps", "1",          "-o", path("run")};
    EXPECT_EQ(run_lockstep_program(0, validate).exit_code, 0);
    EXPECT_EQ(run({"corpus", "check", path("c.h5"), "--json"}).at("samples_unreadable"), 0);

    const std::string text = directory_.read("a.jsonl");
    std::string changed = text;
    for (std::size_t at = changed.find("line"); at != std::string::npos; at = changed.find("line", at + 1))
        changed[at] = 'L';
    directory_.write("a.jsonl", changed);
    refused(validate, 65, "was changed since it was ingested");
    refused(train, 65, "a.jsonl");
    EXPECT_FALSE(std::filesystem::exists(path("run")));

    std::filesystem::remove(source);
    const ProgramResult absent = run_lockstep_program(0, train);
    EXPECT_EQ(absent.exit_code, 0) << absent.err;
    EXPECT_THAT(absent.err + absent.out, HasSubstr("only fingerprints checked"));
}

TEST_F(IngestTest, AChangedTokenizerIsFoundBeforeTheFirstStep) {
    const std::string source = write_lines("a.jsonl", 40), folder = path("mine");
    const auto train_tokenizer = [&](const std::string& split) {
        std::filesystem::remove_all(folder);
        run({"tokenizer", "train", "--vocab-size", "300", "--split", split, "-d", source, "-o", folder,
             "--json"});
    };
    train_tokenizer("gpt2");
    run({"ingest", "-t", folder, "-o", path("c.h5"), "--json", "-d", source});
    run({"corpus", "merge", path("c.h5"), "-o", path("same.h5"), "--json"});
    for (const std::string corpus : {"c.h5", "same.h5"}) {
        const std::string plan = path("plan-" + corpus);
        run({"batchplan", "build", "-l", path(corpus), "-e", "1", "-b", "512", "-o", plan, "--json"});
        const std::vector<std::string> validate{"batchplan", "validate", "-p", plan, "-l", path(corpus)};
        EXPECT_EQ(run_lockstep_program(0, validate).exit_code, 0);
        train_tokenizer("cl100k");
        refused(validate, 65, "pre-tokenizer: ");
        refused({"train", "-p", plan, "-d", path(corpus), "-m", "nano", "--steps", "1", "-o", path("run")},
                65, "its tokenizer '" + folder + "' was changed since it was ingested");
        EXPECT_FALSE(std::filesystem::exists(path("run")));
        std::filesystem::remove_all(folder);
        const ProgramResult absent = run_lockstep_program(0, validate);
        EXPECT_EQ(absent.exit_code, 0) << absent.err;
        EXPECT_THAT(absent.err + absent.out, HasSubstr("is not there, only its fingerprint was checked"));
        train_tokenizer("gpt2");
    }
}

TEST_F(IngestTest, CorpusToolsKeepEverySample) {
    const std::string a = write_lines("a.jsonl", 60);
    const std::string b = write_lines("b.jsonl", 40, 1000);
    run(ingest({a}, "a.h5"));
    run(ingest({b}, "b.h5"));
    const json both = run(ingest({a, b}, "both.h5"));
    const json merged =
        run({"corpus", "merge", path("a.h5"), path("b.h5"), "-o", path("merged.h5"), "--json"});
    EXPECT_EQ(merged.at("content_fingerprint"), both.at("content_fingerprint"));
    EXPECT_EQ(run({"corpus", "check", path("merged.h5"), "--json"}).at("samples_unreadable"), 0);
    refused({"corpus", "merge", path("a.h5"), path("a.h5"), "-o", path("twice.h5")}, 65, "id '0'");

    const json split = run({"corpus", "split", path("both.h5"), "--share", "0.3", "-o", path("s.h5"),
                            "--rest", path("r.h5"), "--json"});
    EXPECT_EQ(split.at("corpora")[0].at("tokens").get<int>() + split.at("corpora")[1].at("tokens").get<int>(),
              both.at("tokens").get<int>());

    const json shown = run({"corpus", "show", path("both.h5"), "0", "--json"});
    EXPECT_EQ(shown.at("key"), "0");
    EXPECT_THAT(shown.at("text").get<std::string>(), HasSubstr("line 0"));
    refused({"corpus", "show", path("both.h5"), "100"}, 2, "0 to 99");
    EXPECT_EQ(run({"corpus", "search", path("both.h5"), "line 1038", "--json"}).at("found"), 1);
    EXPECT_EQ(run({"corpus", "sample", path("both.h5"), "-n", "2", "--json"}).at("samples").size(), 2U);
    EXPECT_EQ(run({"corpus", "stats", path("both.h5"), "--json"}).at("sources"), 2);

    // Out as Megatron's files and in again: the same tokens.
    run(ingest({directory_.write("t.txt", "one\ntwo\nthree\n").string()}, "t.h5", {"--document", "line"}));
    run({"corpus", "export", path("t.h5"), "-o", path("set"), "--json"});
    run(ingest({path("set.idx")}, "back.h5"));
    EXPECT_EQ(run({"corpus", "show", path("back.h5"), "2", "--tokens", "--json"}).at("tokens"),
              run({"corpus", "show", path("t.h5"), "2", "--tokens", "--json"}).at("tokens"));
}

TEST_F(IngestTest, ScoresOfDocumentsOrderAPlan) {
    const std::string a = write_scored("a.jsonl", 60), b = write_scored("b.jsonl", 60, 60);
    const std::vector<std::string> scored{"--score-field", "quality"};
    run(ingest({a, b}, "both.h5", {"--score-field", "quality", "--piece-bytes", "700"}), 2);
    run(ingest({a}, "a.h5", scored));
    run(ingest({b}, "b.h5", scored));
    run(ingest({b}, "plain.h5"));
    EXPECT_EQ(run({"corpus", "show", path("both.h5"), "77", "--json"}).at("score"), score_of(77));
    EXPECT_FALSE(run({"corpus", "show", path("plain.h5"), "0", "--json"}).contains("score"));

    // From the corpus, its lengths and parts of it joined: the same order.
    run({"corpus", "merge", path("a.h5"), path("b.h5"), "-o", path("merged.h5"), "--json"});
    run({"lengths", "convert", path("both.h5"), "-o", path("lengths.jsonl"), "--json"});
    run({"lengths", "build", "-t", "bytes", "-d", a, b, "-o", path("built.h5"), "--score-field", "quality",
         "--json"});
    const auto batches = [&](const std::string& from) {
        const std::string plan = path("plan-" + from);
        run({"batchplan", "build", "-l", "s=" + path(from), "-b", "64", "--order", "score-stages", "--stages",
             "3", "-o", plan, "--json"});
        return directory_.read("plan-" + from + "/plan.jsonl");
    };
    const std::string expected = batches("both.h5");
    EXPECT_FALSE(expected.empty());
    for (const char* from : {"merged.h5", "lengths.jsonl", "built.h5"})
        EXPECT_TRUE(batches(from) == expected) << from;

    // Other scores make another order: said of the input, not of the plan.
    run(ingest({a, b}, "other.h5", {"--score-field", "id_number"}));
    refused({"batchplan", "validate", "-p", path("plan-both.h5"), "-l", "s=" + path("other.h5"), "--strict"},
            65, "scores fingerprint");
    EXPECT_EQ(run({"batchplan", "validate", "-p", path("plan-both.h5"), "-l", "s=" + path("both.h5"),
                   "--strict", "--json"})
                  .at("rebuilt"),
              true);

    refused({"batchplan", "build", "-l", path("plain.h5"), "--order", "score-stages", "-o", path("p")}, 2,
            "--score-field");
    refused(ingest({a, b}, "x.h5", {"--score-field", "absent"}), 65, "no score in 'absent'");
    refused(ingest({directory_.write("t.txt", "text").string()}, "x.h5", scored), 2, "has no fields");
}

TEST_F(IngestTest, ASampleKeepsItsScoreWhereOthersGo) {
    const std::string a = write_scored("a.jsonl", 120);
    const std::vector<std::string> scored{"--score-field", "quality"};
    run(ingest({a}, "a.h5", scored));
    run({"corpus", "split", path("a.h5"), "--share", "0.3", "-o", path("s.h5"), "--rest", path("r.h5"),
         "--json"});
    // "document 10" and its line end are 12 tokens; the first ten and the last twenty are left out.
    run(ingest(
        {a}, "filtered.h5",
        {"--score-field", "quality", "--min-tokens", "12", "--max-tokens", "12", "--piece-bytes", "700"}));
    std::vector<int> found;
    for (const char* name : {"s.h5", "r.h5", "filtered.h5"}) {
        const json stats = run({"corpus", "stats", path(name), "--json"});
        const auto samples = stats.at("samples").get<int>();
        found.push_back(samples);
        for (int sample = 0; sample < samples; sample += 7) {
            const json shown = run({"corpus", "show", path(name), std::to_string(sample), "--json"});
            const auto key = shown.at("key").get<std::string>();
            EXPECT_EQ(shown.at("score"), score_of(std::stoi(key.substr(1)))) << name << ", " << key;
        }
    }
    EXPECT_EQ(found[0] + found[1], 120);
    EXPECT_GT(found[0], 10);
    EXPECT_EQ(found[2], 90);
}

TEST_F(IngestTest, ScoresThatCannotGoAlongAreSaidToBeLeftOut) {
    run(ingest({write_scored("a.jsonl", 60)}, "a.h5", {"--score-field", "quality"}));
    run(ingest({write_scored("b.jsonl", 60, 60)}, "plain.h5"));
    const std::vector<std::string> merge{"corpus",         "merge", path("a.h5"),
                                         path("plain.h5"), "-o",    path("m.h5")};
    const ProgramResult mixed = run_lockstep_program(0, merge);
    EXPECT_EQ(mixed.exit_code, 0);
    EXPECT_THAT(mixed.out, HasSubstr("scores are left out: '" + path("plain.h5") + "' has none"));
    EXPECT_EQ(run({"corpus", "merge", path("a.h5"), path("plain.h5"), "-o", path("m2.h5"), "--json"})
                  .at("scores_left_out"),
              true);
    EXPECT_FALSE(run({"corpus", "show", path("m.h5"), "0", "--json"}).contains("score"));
    EXPECT_FALSE(
        run({"corpus", "merge", path("a.h5"), "-o", path("m3.h5"), "--json"}).contains("scores_left_out"));

    const auto exported = [&](const char* corpus, const char* prefix) {
        const ProgramResult result =
            run_lockstep_program(0, {"corpus", "export", path(corpus), "-o", path(prefix)});
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result.out;
    };
    EXPECT_THAT(exported("a.h5", "a"), HasSubstr("(scores have no place there)"));
    EXPECT_THAT(exported("plain.h5", "plain"), Not(HasSubstr("scores")));
}

TEST_F(IngestTest, CorpusToolsReplaceNothingButCorpora) {
    run(ingest({write_lines("a.jsonl", 60)}, "a.h5"));
    const std::string before = directory_.read("a.h5");
    const auto split = [&](const std::string& share, const std::string& rest) {
        return std::vector<std::string>{"corpus", "split", path("a.h5"), "--share", "0.3",
                                        "-o",     share,   "--rest",     rest,      "--force"};
    };
    refused(split(path("s.h5"), path("s.h5")), 2, "are one file");
    refused(split(path("s.h5"), path("./s.h5")), 2, "are one file");
    refused(split(path("a.h5"), path("r.h5")), 2, "is input");
    std::filesystem::create_symlink(path("a.h5"), path("link.h5"));
    refused(split(path("s.h5"), path("link.h5")), 2, "is input");
    refused({"corpus", "merge", path("a.h5"), "-o", path("a.h5"), "--force"}, 2, "is input");
    refused(ingest({path("a.jsonl")}, "b.h5",
                   {"--validation-share", "0.3", "--validation-output", path("./b.h5")}),
            2, "are one file");

    directory_.write("short", "short notes");
    directory_.write("notes", std::string(2000, 'n'));
    for (const char* name : {"short", "notes", "a.jsonl"}) {
        const std::string text = directory_.read(name);
        refused({"corpus", "merge", path("a.h5"), "-o", path(name), "--force"}, 73, "is not a corpus");
        refused(split(path("s.h5"), path(name)), 73, "is not a corpus");
        refused(ingest({path("a.jsonl")}, name, {"--force"}), 73, "is not a corpus");
        EXPECT_EQ(directory_.read(name), text);
    }
    EXPECT_FALSE(std::filesystem::exists(path("s.h5")));
    EXPECT_EQ(directory_.read("a.h5"), before);

    // A corpus may go, also one that is damaged.
    std::filesystem::copy_file(path("a.h5"), path("old.h5"));
    std::filesystem::resize_file(path("old.h5"), 700);
    run({"corpus", "merge", path("a.h5"), "-o", path("old.h5"), "--force", "--json"});
    run({"corpus", "check", path("old.h5"), "--json"});

    // Megatron's pair goes by its index; a file that only has the name stays.
    const std::vector<std::string> exported = {"corpus",    "export",  path("a.h5"), "-o",
                                               path("set"), "--force", "--json"};
    directory_.write("set.bin", "somebody's");
    refused(exported, 73, "set.bin");
    EXPECT_EQ(directory_.read("set.bin"), "somebody's");
    std::filesystem::remove(path("set.bin"));
    run(exported);
    run(exported);
    std::filesystem::copy_file(path("a.h5"), path("set2.bin"));
    refused({"corpus", "export", path("set2.bin"), "-o", path("set2"), "--force"}, 2, "is input");
}

// The second half fails: what was there before it stays, what was made for it goes.
TEST_F(IngestTest, AFailedSplitRemovesOnlyWhatItMade) {
    run(ingest({write_lines("a.jsonl", 60)}, "a.h5"));
    refused(
        {"corpus", "split", path("a.h5"), "--share", "1", "-o", path("new.h5"), "--rest", path("none.h5")}, 2,
        "");
    EXPECT_FALSE(std::filesystem::exists(path("new.h5")));
    std::filesystem::copy_file(path("a.h5"), path("old.h5"));
    refused({"corpus", "split", path("a.h5"), "--share", "1", "-o", path("old.h5"), "--rest", path("none.h5"),
             "--force"},
            2, "");
    EXPECT_TRUE(std::filesystem::exists(path("old.h5")));
}

TEST_F(IngestTest, CorpusToolsWorkOnOneRank) {
    run(ingest({write_lines("a.jsonl", 10)}, "a.h5"));
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"merge", path("a.h5"), "-o", path("m.h5")},
          {"split", path("a.h5"), "--share", "0.5", "-o", path("s.h5"), "--rest", path("r.h5")},
          {"export", path("a.h5"), "-o", path("set")},
          {"check", path("a.h5")}}) {
        std::vector<std::string> all = {"corpus"};
        all.insert(all.end(), arguments.begin(), arguments.end());
        const ProgramResult result = run_lockstep_program(0, all, {{"OMPI_COMM_WORLD_SIZE", "2"}});
        EXPECT_EQ(result.exit_code, 2) << arguments[0];
        EXPECT_THAT(result.err, HasSubstr("works on one rank"));
    }
}

}  // namespace
}  // namespace lockstep::test
