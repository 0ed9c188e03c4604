// Ingest and its later check where the world is not as a program run by root finds it.

#include "coordinator/ingest/ingest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/ingest/drift.h"
#include "coordinator/ingest/source_names.h"
#include "io/base/error.h"
#include "io/comm/serial_communicator.h"
#include "io/corpus/corpus_rewrite.h"
#include "io/documents/megatron.h"
#include "io/files/commit_hook.h"
#include "tests/support/error_of.h"
#include "tests/support/refusing_files.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

class IngestWorkTest : public testing::Test {
  protected:
    IngestJob job_of(const std::vector<std::filesystem::path>& sources,
                     std::uint64_t piece_bytes = 100) const {
        IngestJob job;
        job.document = options_;
        job.filter = filter_;
        job.set_tokenizer(make_bytes_tokenizer(tokenizer_policy_));
        plan_pieces(job, sources, piece_bytes);
        return job;
    }
    IngestTotals ingest(const std::vector<std::filesystem::path>& sources, int threads = 1) {
        const auto comm = make_serial_communicator();
        IngestOutputs outputs;
        outputs.corpus = corpus_;
        if (filter_.validation_share > 0) outputs.validation = directory_ / "v.h5";
        return *run_ingest(
            *comm, [&] { return job_of(sources); }, outputs, threads, [](std::uint64_t, std::uint64_t) {});
    }
    std::filesystem::path write_lines(int lines) const {
        std::string text;
        for (int i = 0; i < lines; ++i) text += "{\"text\": \"line " + std::to_string(i) + "\"}\n";
        return directory_.write("a.jsonl", text);
    }
    bool has_work() const { return std::filesystem::exists(ingest_work_folder(corpus_)); }

    TemporaryDirectory directory_;
    DocumentOptions options_;
    SampleFilter filter_;
    SpecialsPolicy tokenizer_policy_;
    std::filesystem::path corpus_ = directory_ / "c.h5";
};

/// Fail where a test says, once.
class FailAt {
  public:
    FailAt(std::string where, int count) {
        set_commit_hook([where = std::move(where), count](std::string_view point) mutable {
            if (point == where && count-- == 0) throw Error(ErrorCode::io_failure, "the disk is full");
        });
    }
    ~FailAt() { set_commit_hook({}); }
    FailAt(const FailAt&) = delete;
    FailAt& operator=(const FailAt&) = delete;
};

TEST_F(IngestWorkTest, ASourceThatCannotBeReadJustNowKeepsTheWork) {
    const auto source = write_lines(40);
    {
        const FailAt full("piece:renamed", 3);
        EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::io_failure);
    }
    {
        const auto comm = make_serial_communicator();
        IngestOutputs outputs;
        outputs.corpus = corpus_;
        std::optional<RefusingFiles> refusing;
        const auto refused = [&] {
            run_ingest(
                *comm,
                [&] {
                    IngestJob job = job_of({source});
                    refusing.emplace("a.jsonl", EMFILE);
                    return job;
                },
                outputs, 1, [](std::uint64_t, std::uint64_t) {});
        };
        EXPECT_EQ(error_of(refused).code(), ErrorCode::io_failure);
    }
    EXPECT_EQ(ingest({source}).pieces_found, 4U);
    EXPECT_FALSE(has_work());
}

TEST_F(IngestWorkTest, APieceThatCannotBeReadJustNowKeepsTheWork) {
    const auto source = write_lines(40);
    {
        const FailAt full("piece:renamed", 3);
        EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::io_failure);
    }
    for (const char* file : {"piece-00000000", "piece-00000002", "tokens"}) {
        const RefusingFiles refusing(file, EIO);
        EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::io_failure) << file;
    }
    EXPECT_EQ(ingest({source}).pieces_found, 4U);
}

TEST_F(IngestWorkTest, SourcesAreIdentifiedHoweverTheyWereRead) {
    options_.rule = DocumentRule::line;
    const std::vector<std::filesystem::path> sources{
        write_lines(40), directory_.write("empty.jsonl", ""),
        directory_.write("marked.jsonl", "\xEF\xBB\xBF{\"text\": \"a\"}\n"),
        directory_.write("unended.txt", std::string(1000, 'x') + "\nlast"),
        directory_.write("blank.txt", "\n\n")};
    const auto expect_identified = [&] {
        const std::vector<SourceFile> found = Corpus::open(corpus_).sources();
        ASSERT_EQ(found.size(), sources.size());
        for (std::size_t i = 0; i < sources.size(); ++i) {
            const SourceIdentity expected = identify_source(sources[i], source_kind_of(sources[i]));
            EXPECT_EQ(found[i].bytes, expected.bytes) << sources[i];
            EXPECT_EQ(found[i].digest, expected.digest) << sources[i];
        }
        std::filesystem::remove(corpus_);
    };
    for (const int threads : {1, 3}) {
        ingest(sources, threads);
        expect_identified();
        {
            const FailAt full("piece:renamed", 3);  // The rest is read, without what comes before it.
            EXPECT_EQ(error_of([&] { ingest(sources, threads); }).code(), ErrorCode::io_failure);
        }
        EXPECT_GT(ingest(sources, threads).pieces_found, 0U);
        expect_identified();
    }
}

TEST_F(IngestWorkTest, TheFirstErrorIsTheSameForAnyNumberOfThreads) {
    const auto bad = directory_.write("a.jsonl", "{\"text\": \"good\"}\n{\"text\": 7}\n");
    const auto cut_short = directory_.write("b.jsonl.gz", std::string("\x1f\x8b\x08\0", 4));
    const std::string expected = error_of([&] { ingest({bad, cut_short}); }).what();
    EXPECT_THAT(expected, HasSubstr("a.jsonl"));
    for (const int threads : {2, 4}) {
        EXPECT_EQ(error_of([&] { ingest({bad, cut_short}, threads); }).what(), expected);
        EXPECT_FALSE(has_work());
    }
}

TEST_F(IngestWorkTest, WhatOnlyAssemblyAsksKeepsThePieces) {
    const auto source = write_lines(40);
    {
        const FailAt full("piece:renamed", 3);
        EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::io_failure);
    }
    filter_.dedup = true;
    filter_.validation_share = 0.3;
    options_.skip_bad_max = 2;
    EXPECT_EQ(ingest({source}).pieces_found, 4U);
}

TEST_F(IngestWorkTest, AnotherTokenizerStartsAnew) {
    const auto source = write_lines(40);
    {
        const FailAt full("piece:renamed", 3);
        EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::io_failure);
    }
    tokenizer_policy_.literal = LiteralSpecials::parse;
    const IngestTotals totals = ingest({source});
    EXPECT_EQ(totals.pieces_found, 0U);
    EXPECT_EQ(totals.tokenizer, Corpus::open(corpus_).tokenizer().fingerprint);
    EXPECT_EQ(totals.vocabulary_size, 257U);
}

TEST_F(IngestWorkTest, AnOutputOfSomebodyElseIsNeverTakenForItsOwn) {
    const auto source = write_lines(40);
    filter_.validation_share = 0.3;
    {
        const FailAt full("corpus:written", 0);
        EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::io_failure);
    }
    EXPECT_TRUE(std::filesystem::exists(directory_ / "v.h5"));
    EXPECT_FALSE(std::filesystem::exists(corpus_));
    const std::string own = directory_.read("v.h5");
    directory_.write("v.h5", "of somebody else");
    EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::output_exists);
    EXPECT_EQ(directory_.read("v.h5"), "of somebody else");
    directory_.write("v.h5", own);
    ingest({source});
    EXPECT_EQ(directory_.read("v.h5"), own);
    EXPECT_TRUE(std::filesystem::exists(corpus_));
    EXPECT_FALSE(has_work());
    // Now it is done, and the same command has nothing of its own to go on with.
    EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::output_exists);
}

TEST_F(IngestWorkTest, KilledWhileItsCorporaAppearItGoesOn) {
    const auto source = write_lines(40);
    filter_.validation_share = 0.3;
    ingest({source});
    const std::string corpus = directory_.read("c.h5");
    const std::string validation = directory_.read("v.h5");
    for (const char* at : {"validation:written", "validation:renamed", "corpus:written", "corpus:renamed",
                           "ingest:published"}) {
        std::filesystem::remove(corpus_);
        std::filesystem::remove(directory_ / "v.h5");
        const pid_t child = ::fork();
        if (child == 0) {
            set_commit_hook([at](std::string_view point) {
                if (point == at) ::raise(SIGKILL);
            });
            ingest({source});
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        EXPECT_TRUE(WIFSIGNALED(status)) << at;
        EXPECT_TRUE(has_work()) << at;
        EXPECT_GT(ingest({source}).pieces_found, 4U) << at;
        EXPECT_TRUE(directory_.read("c.h5") == corpus) << at;
        EXPECT_TRUE(directory_.read("v.h5") == validation) << at;
        EXPECT_FALSE(has_work()) << at;
        EXPECT_FALSE(std::filesystem::exists(directory_ / "c.h5.tmp")) << at;
        EXPECT_FALSE(std::filesystem::exists(directory_ / "v.h5.tmp")) << at;
    }
}

TEST_F(IngestWorkTest, NamesThatAreNoTextAreRefusedAtOnce) {
    const auto source = directory_.write("caf\xE9.jsonl", "{\"text\": \"a\"}\n");
    const Error error = error_of([&] { ingest({source}); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("caf\\xE9.jsonl"));
    EXPECT_FALSE(has_work());
    options_.rule = DocumentRule::separator;
    options_.separator = "\xFF";
    EXPECT_THAT(error_of([&] { ingest({directory_.write("a.txt", "a")}); }).what(), HasSubstr("'\\xFF'"));
}

TEST_F(IngestWorkTest, ReplacedBytesAreCountedAndNoDrift) {
    std::string text;
    for (int i = 0; i < 40; ++i) text += "line " + std::to_string(i) + (i % 4 == 0 ? " caf\xE9\n" : "\n");
    const auto source = directory_.write("a.txt", text);
    options_.rule = DocumentRule::line;
    EXPECT_EQ(error_of([&] { ingest({source}); }).code(), ErrorCode::corrupt_data);
    options_.invalid_utf8 = InvalidUtf8::replace;
    const IngestTotals totals = ingest({source});
    EXPECT_EQ(totals.corpus.num_samples, 40U);
    EXPECT_EQ(totals.counts.repaired, 10U);
    const Corpus corpus = Corpus::open(corpus_);
    EXPECT_EQ(corpus.sample_tokens(0), std::string("line 0 caf\uFFFD").size() + 1);  // And EOS.
    EXPECT_EQ(check_drift(corpus, 20, 1).samples_checked, 20U);
}

TEST_F(IngestWorkTest, AMegatronSourceIsMeasuredWithItsTokens) {
    const std::vector<std::uint64_t> lengths(100, 50);
    write_megatron(
        directory_ / "m", 300, lengths,
        [](std::uint64_t, std::vector<std::uint32_t>& tokens) { tokens.assign(50, 7); }, Overwrite::no);
    const IngestJob job = job_of({directory_ / "m.idx"}, 1000);
    const std::uint64_t bytes = directory_.read("m.idx").size() + directory_.read("m.bin").size();
    EXPECT_EQ(job.sources.front().bytes, bytes);
    EXPECT_GE(job.pieces.size(), bytes / 2000);
    require_unchanged_sources(job);
    std::filesystem::last_write_time(directory_ / "m.bin",
                                     std::filesystem::file_time_type::clock::now() + std::chrono::seconds(5));
    EXPECT_EQ(error_of([&] { require_unchanged_sources(job); }).code(), ErrorCode::corrupt_data);
}

TEST_F(IngestWorkTest, AnIngestRecordWithoutLimitsIsDamaged) {
    options_.text_field = "body";
    const std::string record = ingest_record_of(options_, {});
    EXPECT_EQ(parse_ingest_record(record).document.text_field, "body");
    const auto changed = [&](const std::string& from, const std::string& to) {
        std::string text = record;
        const std::size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return text.replace(at, from.size(), to);
    };
    for (const std::string& text : {changed("\"expansion_max\":500", "\"expansion_max\":0"),
                                    changed("\"document_bytes_max\":268435456", "\"document_bytes_max\":0"),
                                    changed("\"document\":\"file\"", "\"document\":\"page\"")})
        EXPECT_EQ(error_of([&] { parse_ingest_record(text); }).code(), ErrorCode::corrupt_data) << text;
}

TEST_F(IngestWorkTest, AJobThatIsNoneIsRefused) {
    const std::string job = job_of({write_lines(4)}, 1000).to_json();
    EXPECT_EQ(IngestJob::from_json(job).to_json(), job);
    const auto changed = [&](const std::string& from, const std::string& to) {
        std::string text = job;
        const std::size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from << " in " << text;
        return text.replace(at, from.size(), to);
    };
    for (const std::string& text :
         {std::string("{"), std::string("[]"), changed("\"pieces\":[[[0,", "\"pieces\":[[[1,"),
          changed("\"pieces\":[[[0,", "\"pieces\":[[[\"\","), changed(",0,0,false,", ",9,0,false,"),
          changed(",0,0,false,", ",0,9,false,"), changed(",0,0,false,", ",0,false,")})
        EXPECT_EQ(error_of([&] { IngestJob::from_json(text); }).code(), ErrorCode::corrupt_data) << text;
}

TEST_F(IngestWorkTest, ASourceThatCannotBeReadIsNoDrift) {
    const auto source = write_lines(40);
    ingest({source});
    const Corpus corpus = Corpus::open(corpus_);
    EXPECT_EQ(check_drift(corpus, 10, 1).samples_checked, 10U);
    {
        const RefusingFiles refusing("a.jsonl", EMFILE);
        const DriftReport report = check_drift(corpus, 10, 1);
        EXPECT_EQ(report.samples_checked, 0U);
        EXPECT_EQ(report.samples_unreadable, 10U);
        EXPECT_THAT(report.note, HasSubstr("only fingerprints checked"));
        EXPECT_THAT(report.note, HasSubstr("Too many open files"));
    }
    directory_.write("a.jsonl", "no JSON\n");
    EXPECT_EQ(error_of([&] { check_drift(corpus, 10, 1); }).code(), ErrorCode::fingerprint_mismatch);
}

TEST_F(IngestWorkTest, AsManySamplesAreCheckedAsAskedFor) {
    ingest({write_lines(40)});
    const Corpus corpus = Corpus::open(corpus_);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        for (const std::uint64_t samples : {1U, 7U, 39U, 40U, 100U})
            EXPECT_EQ(check_drift(corpus, samples, seed).samples_checked,
                      std::min<std::uint64_t>(samples, 40));
    }
    EXPECT_TRUE(check_drift(corpus, 40, 1).note.empty());
    write_lines(41);
    EXPECT_THAT(check_drift(corpus, 40, 1).note, HasSubstr("when it was ingested"));
}

/// The working folder while it lives.
class WorkingFolder {
  public:
    explicit WorkingFolder(const std::filesystem::path& folder) { std::filesystem::current_path(folder); }
    ~WorkingFolder() { std::filesystem::current_path(before_); }
    WorkingFolder(const WorkingFolder&) = delete;
    WorkingFolder& operator=(const WorkingFolder&) = delete;

  private:
    std::filesystem::path before_ = std::filesystem::current_path();
};

// A name seen from where somebody stands may be another file's.
TEST_F(IngestWorkTest, ARelativeNameMeansTheFileThatWasIngested) {
    for (const char* folder : {"one", "two"}) {
        std::filesystem::create_directory(directory_ / folder);
        const WorkingFolder here(directory_ / folder);
        std::string text;
        for (int i = 0; i < 20; ++i)
            text += "{\"text\": \"" + std::string(folder) + std::to_string(i) + "\"}\n";
        directory_.write(std::string(folder) + "/a.jsonl", text + (folder[0] == 't' ? "\n" : ""));
        corpus_ = directory_ / folder / "c.h5";
        ingest({"a.jsonl"});
    }
    const std::vector<Corpus> both = [&] {
        std::vector<Corpus> corpora;
        for (const char* folder : {"one", "two"})
            corpora.push_back(Corpus::open(directory_ / folder / "c.h5"));
        return corpora;
    }();
    for (const char* folder : {"one", "two", "."}) {
        const WorkingFolder here(directory_ / folder);
        for (const Corpus& corpus : both)
            EXPECT_EQ(check_drift(corpus, 20, 1).samples_checked, 20U) << folder;
    }
    // Joined in a third folder, each document still has its own source.
    std::filesystem::create_directory(directory_ / "all");
    const WorkingFolder here(directory_ / "two");
    rewrite_corpus(
        directory_ / "all/c.h5", both, [](std::size_t, std::uint64_t) { return true; },
        [&](const Corpus& input, const SourceFile& source) {
            return source_name_from(directory_ / "all", input.path().parent_path(), source);
        },
        Overwrite::no);
    EXPECT_EQ(check_drift(Corpus::open(directory_ / "all/c.h5"), 40, 1).samples_checked, 40U);
}

}  // namespace
}  // namespace lockstep
