#include "io/documents/document_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/base/error.h"
#include "io/base/process_memory.h"
#include "io/documents/source_list.h"
#include "tests/support/error_of.h"
#include "tests/support/refusing_files.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A document with views turned into strings.
struct Delivered {
    std::string text, prompt, key;
    bool has_prompt;
    std::uint32_t source_index;
    std::uint64_t offset;
    Digest digest;
    std::optional<double> score;
};

Digest digest_of_text(std::string_view text) {
    return digest_of(std::as_bytes(std::span(text.data(), text.size())));
}

class DocumentReaderTest : public testing::Test {
  protected:
    void read(const std::filesystem::path& path) {
        summary_ = read_documents(path, 5, options_, bad_so_far_, [&](const Document& d) {
            delivered_.push_back({std::string(d.text), std::string(d.prompt), std::string(d.key),
                                  d.has_prompt, d.source_index, d.source_offset, d.digest, d.score});
        });
    }
    void read_text(std::string_view content, const char* name = "input.txt") {
        delivered_.clear();
        read(directory_.write(name, content));
    }
    void read_jsonl(std::string_view content) { read_text(content, "input.jsonl"); }

    std::vector<std::string> texts() const {
        std::vector<std::string> result;
        for (const Delivered& d : delivered_) result.push_back(d.text);
        return result;
    }

    /// The error that reading must end with.
    Error refusal_of(std::string_view content, const char* name = "input.jsonl") {
        return error_of([&] { read_text(content, name); });
    }

    TemporaryDirectory directory_;
    DocumentOptions options_;
    std::uint64_t bad_so_far_ = 0;
    std::vector<Delivered> delivered_;
    SourceSummary summary_;
};

TEST_F(DocumentReaderTest, InvalidUtf8IsReplacedWhereThatIsAskedFor) {
    const std::string cut = "caf\xE9 \xE2\x82|\xF0\x80";
    const std::string whole = "caf\uFFFD \uFFFD|\uFFFD\uFFFD";
    EXPECT_THAT(refusal_of(cut + "\n", "input.txt").what(), HasSubstr("--invalid-utf8 replace"));
    bad_so_far_ = 0;
    options_.invalid_utf8 = InvalidUtf8::replace;
    options_.rule = DocumentRule::line;
    read_text("sound\n" + cut + "\n");
    EXPECT_THAT(texts(), ElementsAre("sound", whole));
    EXPECT_EQ(summary_.repaired, 1U);
    // The source is what it is, not what was made of it.
    EXPECT_EQ(delivered_[1].digest, digest_of_text(cut));
    EXPECT_EQ(delivered_[1].offset, 6U);

    options_.key_field = "id";
    read_jsonl(R"({"id":"k)" + cut + R"(","prompt":")" + cut + R"(","response":"r"})" + "\n" +
               R"({"text":"sound"})" + "\n");
    EXPECT_THAT(texts(), ElementsAre(whole + "r", "sound"));
    EXPECT_EQ(delivered_[0].prompt, whole);
    EXPECT_EQ(delivered_[0].key, "k" + whole);
    EXPECT_EQ(summary_.repaired, 1U);
    // What is no document for another reason stays none.
    bad_so_far_ = 0;
    EXPECT_THAT(refusal_of("a\xFF\n", "input.jsonl").what(), HasSubstr("not one JSON object"));
    bad_so_far_ = 0;
    EXPECT_THAT(refusal_of(std::string("a\xFF\0", 3), "input.txt").what(), HasSubstr("NUL"));
}

TEST_F(DocumentReaderTest, RuleIsParsed) {
    parse_document_rule("line", options_);
    EXPECT_EQ(options_.rule, DocumentRule::line);
    parse_document_rule("blank", options_);
    EXPECT_EQ(options_.rule, DocumentRule::blank);
    parse_document_rule("file", options_);
    EXPECT_EQ(options_.rule, DocumentRule::file);
    parse_document_rule("separator:%", options_);
    EXPECT_EQ(options_.rule, DocumentRule::separator);
    EXPECT_EQ(options_.separator, "%");
    for (const char* wrong : {"", "lines", "separator", "separator:", "separator:a\nb", "File"}) {
        EXPECT_THROW(parse_document_rule(wrong, options_), Error) << wrong;
    }
}

TEST_F(DocumentReaderTest, AFileIsOneDocumentByteForByte) {
    read_text("one\r\ntwo\n\n");
    EXPECT_THAT(texts(), ElementsAre("one\r\ntwo\n\n"));
    EXPECT_EQ(summary_.documents, 1U);
    EXPECT_EQ(summary_.bytes, 10U);
    EXPECT_EQ(summary_.digest, digest_of_text("one\r\ntwo\n\n"));
    EXPECT_EQ(summary_.name, (directory_ / "input.txt").string());
}

TEST_F(DocumentReaderTest, AnEmptyFileIsAnEmptyDocument) {
    read_text("");
    EXPECT_THAT(texts(), IsEmpty());
    EXPECT_EQ(summary_.empty, 1U);
    EXPECT_EQ(summary_.digest, digest_of_text(""));
}

TEST_F(DocumentReaderTest, LinesEndInLfOrCrLfOrTheFile) {
    options_.rule = DocumentRule::line;
    read_text("one\r\n\ntwo\n three \nfour");
    EXPECT_THAT(texts(), ElementsAre("one", "two", " three ", "four"));
    EXPECT_EQ(summary_.empty, 1U);
    EXPECT_EQ(summary_.documents, 4U);
    EXPECT_EQ(delivered_[1].offset, 6U);
    EXPECT_EQ(delivered_[1].source_index, 5U);
    EXPECT_EQ(delivered_[1].digest, digest_of_text("two"));
}

TEST_F(DocumentReaderTest, ParagraphsAreSeparatedByAnyNumberOfBlankLines) {
    options_.rule = DocumentRule::blank;
    read_text("\n\na\nb\n \t\r\n\nc\r\nd\n\n\n");
    EXPECT_THAT(texts(), ElementsAre("a\nb", "c\r\nd"));
    EXPECT_EQ(summary_.empty, 0U);
    EXPECT_EQ(delivered_[0].offset, 2U);
}

TEST_F(DocumentReaderTest, SeparatorLinesCutAndTheTrailingDocumentCounts) {
    parse_document_rule("separator:%", options_);
    read_text("one\n  indented\n%\ntwo %\n%%\n%\nlast");
    EXPECT_THAT(texts(), ElementsAre("one\n  indented", "two %\n%%", "last"));
    EXPECT_EQ(delivered_[1].offset, 17U);
    EXPECT_EQ(summary_.empty, 0U);
}

TEST_F(DocumentReaderTest, NothingAfterTheLastSeparatorIsNoDocument) {
    parse_document_rule("separator:%", options_);
    read_text("one\n%\n");
    EXPECT_THAT(texts(), ElementsAre("one"));
    EXPECT_EQ(summary_.empty, 0U);
}

TEST_F(DocumentReaderTest, EmptySeparatedDocumentsAreCounted) {
    parse_document_rule("separator:%", options_);
    read_text("%\none\n%\n%\n \n\t\n%\n");
    EXPECT_THAT(texts(), ElementsAre("one"));
    EXPECT_EQ(summary_.empty, 3U);
}

TEST_F(DocumentReaderTest, SeparatorsMayEndInCrLf) {
    parse_document_rule("separator:---", options_);
    read_text("one\r\n---\r\ntwo\r\n");
    EXPECT_THAT(texts(), ElementsAre("one", "two"));
}

TEST_F(DocumentReaderTest, AByteOrderMarkIsSkippedAtTheStartAlone) {
    options_.rule = DocumentRule::line;
    read_text("\xEF\xBB\xBFone\n\xEF\xBB\xBFtwo\n");
    EXPECT_THAT(texts(), ElementsAre("one", "\xEF\xBB\xBFtwo"));
    EXPECT_EQ(delivered_[0].offset, 3U);
    read_jsonl("\xEF\xBB\xBF{\"text\": \"x\"}\n");
    EXPECT_THAT(texts(), ElementsAre("x"));
}

TEST_F(DocumentReaderTest, InvalidUtf8IsNamedByFileAndLine) {
    const Error error = refusal_of("good\nb\xC3\xBC\nbad \xE9t\xE9\ngood\n", "input.txt");
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("input.txt:3: invalid UTF-8"));
}

TEST_F(DocumentReaderTest, BadDocumentsAreSkippedUpToTheBound) {
    options_.rule = DocumentRule::line;
    options_.skip_bad_max = 2;
    read_text("a\n\xFF\nb\n\xFE\nc\n");
    EXPECT_THAT(texts(), ElementsAre("a", "b", "c"));
    EXPECT_EQ(summary_.bad_lines, 2U);
    EXPECT_EQ(bad_so_far_, 2U);
    // The bound is for all files together.
    const Error error = refusal_of("\xFF\n", "second.txt");
    EXPECT_THAT(error.what(), HasSubstr("second.txt:1: "));
    EXPECT_THAT(error.what(), HasSubstr("--skip-bad 2 is used up"));
}

TEST_F(DocumentReaderTest, JsonlGivesTextAndKey) {
    read_jsonl(R"({"id": "a-1", "text": "first \u00e9\n", "other": [1, {}]})"
               "\n"
               R"({"text": "second", "id": 17})"
               "\r\n"
               R"({"text": "third", "id": -3})"
               "\n"
               R"({"text": "fourth", "id": null})"
               "\n"
               R"({"text": "fifth"})");
    EXPECT_THAT(texts(), ElementsAre("first \u00e9\n", "second", "third", "fourth", "fifth"));
    EXPECT_EQ(delivered_[0].key, "a-1");
    EXPECT_EQ(delivered_[1].key, "17");
    EXPECT_EQ(delivered_[2].key, "-3");
    EXPECT_EQ(delivered_[3].key, "");
    EXPECT_EQ(delivered_[4].key, "");
    EXPECT_EQ(delivered_[1].offset, 58U);
    EXPECT_EQ(delivered_[1].digest, digest_of_text(R"({"text": "second", "id": 17})"));
    EXPECT_EQ(summary_.documents, 5U);
}

TEST_F(DocumentReaderTest, JsonlFieldsCanBeNamed) {
    options_.text_field = "content";
    options_.key_field = "uid";
    read_jsonl(R"({"content": "x", "text": 7, "uid": "k", "id": {}})");
    EXPECT_THAT(texts(), ElementsAre("x"));
    EXPECT_EQ(delivered_[0].key, "k");
}

TEST_F(DocumentReaderTest, PromptAndResponseMakeOneText) {
    read_jsonl(R"({"prompt": "Q: ", "response": "A"})"
               "\n"
               R"({"prompt": "", "response": "B"})"
               "\n"
               R"({"prompt": "", "response": ""})"
               "\n"
               R"({"prompt": "p", "response": "r", "text": "wins"})");
    EXPECT_THAT(texts(), ElementsAre("Q: A", "B", "wins"));
    EXPECT_TRUE(delivered_[0].has_prompt);
    EXPECT_EQ(delivered_[0].prompt, "Q: ");
    EXPECT_TRUE(delivered_[1].has_prompt);
    EXPECT_EQ(delivered_[1].prompt, "");
    EXPECT_FALSE(delivered_[2].has_prompt);
    EXPECT_EQ(summary_.empty, 1U);
}

TEST_F(DocumentReaderTest, EmptyTextsAndBlankLinesAreCounted) {
    read_jsonl("{\"text\": \"\"}\n\n  \n{\"text\": \" \"}\n");
    EXPECT_THAT(texts(), ElementsAre(" "));
    EXPECT_EQ(summary_.empty, 3U);
}

TEST_F(DocumentReaderTest, EveryKindOfBadJsonLineIsNamed) {
    const std::vector<std::string> bad{
        "{\"text\": \"cut",
        "garbage",
        "[\"text\"]",
        "\"text\"",
        "{}",
        "{\"text\": 5}",
        "{\"text\": null}",
        "{\"texts\": \"x\"}",
        "{\"prompt\": \"only\"}",
        "{\"prompt\": \"p\", \"response\": 1}",
        "{\"text\": \"a\", \"text\": \"b\"}",
        "{\"text\": \"a\", \"id\": 1, \"id\": 2}",
        "{\"text\": \"a\", \"id\": 1.5}",
        "{\"text\": \"a\", \"id\": \"\"}",
        "{\"text\": \"a\", \"id\": [1]}",
        "{\"text\": \"a\"} {\"text\": \"b\"}",
        "{\"text\": \"a\"} x",
        "{\"text\": \"\xFF\"}",
        "{\"text\": \"\\ud800\"}",
        "{\"text\": \"a\x01\"}",
    };
    for (const std::string& line : bad) {
        bad_so_far_ = 0;
        const Error error = refusal_of("{\"text\": \"fine\"}\n" + line + "\n");
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << line;
        EXPECT_THAT(error.what(), HasSubstr("input.jsonl:2: ")) << line;
        EXPECT_EQ(texts(), std::vector<std::string>{"fine"}) << line;
    }
}

TEST_F(DocumentReaderTest, AScoreIsAFiniteNumberOfEveryLine) {
    options_.score_field = "quality";
    options_.text_field = "content";
    read_jsonl(R"({"content": "a", "quality": 0.25})"
               "\n"
               R"({"quality": -3, "content": "b"})"
               "\n"
               R"({"content": "c", "quality": 18446744073709551615})"
               "\n"
               R"({"content": ""})");
    ASSERT_EQ(delivered_.size(), 3U) << "an empty document needs none";
    EXPECT_EQ(delivered_[0].score, 0.25);
    EXPECT_EQ(delivered_[1].score, -3.0);
    EXPECT_EQ(delivered_[2].score, 0x1p64);
    const std::vector<std::pair<std::string, std::string>> bad{
        {R"({"content": "x"})", "no score in 'quality', which --score-field names"},
        {R"({"content": "x", "quality": null})", "no score in 'quality', which --score-field names"},
        {R"({"content": "x", "quality": "1"})", "'quality' is not a finite number"},
        {R"({"content": "x", "quality": 1e999})", "not one JSON object"},
        {R"({"content": "x", "quality": 1, "quality": 1})", "'quality' stands twice"},
    };
    for (const auto& [line, problem] : bad) {
        bad_so_far_ = 0;
        EXPECT_THAT(refusal_of("{\"content\": \"fine\", \"quality\": 1}\n" + line + "\n").what(),
                    AllOf(HasSubstr("input.jsonl:2: "), HasSubstr(problem)));
    }
}

TEST_F(DocumentReaderTest, AFieldMayBeScoreAndKeyAtOnce) {
    options_.score_field = "id";
    read_jsonl(R"({"text": "a", "id": 7})");
    EXPECT_EQ(delivered_[0].score, 7.0);
    EXPECT_EQ(delivered_[0].key, "7");
}

TEST_F(DocumentReaderTest, TheTextIsNoKeyOfItself) {
    options_.key_field = "text";
    read_jsonl(R"({"text": "a"})");
    EXPECT_EQ(delivered_[0].key, "");
}

TEST_F(DocumentReaderTest, ConversationsHaveScoresToo) {
    options_.score_field = "quality";
    options_.chat = "chatml";
    read_jsonl(
        R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "quality": 2})");
    ASSERT_EQ(delivered_.size(), 1U);
    EXPECT_EQ(delivered_[0].score, 2.0);
}

TEST_F(DocumentReaderTest, WhatIsMissingIsNotFound) {
    for (const std::filesystem::path& path : {directory_ / "absent.txt", directory_.path()}) {
        const Error error = error_of([&] { read(path); });
        EXPECT_EQ(error.code(), ErrorCode::not_found);
        EXPECT_THAT(error.what(), HasSubstr(path.string()));
    }
}

TEST_F(DocumentReaderTest, ALineOfTwoGigabytesIsRefusedInBoundedMemory) {
    options_.rule = DocumentRule::line;
    options_.document_bytes_max = std::uint64_t{64} << 20U;
    for (const char* name : {"line.jsonl", "line.txt"}) {
        const auto path = directory_.write(name, "{}\n");
        std::filesystem::resize_file(path, std::uintmax_t{2} << 30U);
        const std::uint64_t before = peak_resident_bytes();
        const Error error = error_of([&] { read(path); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        EXPECT_THAT(error.what(),
                    HasSubstr(std::string(name) + "': the document at byte 3 is longer than 67108864"));
        EXPECT_LT(peak_resident_bytes() - before, 3 * options_.document_bytes_max * resident_per_byte);
    }
}

TEST_F(DocumentReaderTest, APipeIsReadToItsEnd) {
    options_.rule = DocumentRule::line;
    const std::filesystem::path pipe = directory_ / "pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    std::string content;
    for (int i = 0; i < 30'000; ++i) content += std::to_string(i) + "\n";
    std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << content; });
    read(pipe);
    writer.join();
    EXPECT_EQ(summary_.documents, 30'000U);
    EXPECT_EQ(summary_.digest, digest_of_text(content));
}

TEST_F(DocumentReaderTest, ProgressReachesTheEnd) {
    options_.rule = DocumentRule::line;
    std::string content;
    while (content.size() < (13U << 20U)) content += std::string(1000, 'x') + "\n";
    std::vector<std::uint64_t> seen;
    read_documents(
        directory_.write("long.txt", content), 0, options_, bad_so_far_, [](const Document&) {},
        [&](std::uint64_t bytes) { seen.push_back(bytes); });
    EXPECT_GE(seen.size(), 3U);
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    EXPECT_EQ(seen.back(), content.size());
}

class ExpandSourcesTest : public testing::Test {
  protected:
    std::vector<std::string> expand(const std::vector<std::string>& arguments) {
        std::vector<std::string> names;
        left_out_.clear();
        for (const auto& path : expand_sources(arguments, left_out_)) {
            names.push_back(path.lexically_relative(directory_.path()).string());
        }
        return names;
    }
    std::string at(const char* name) const { return (directory_ / name).string(); }

    TemporaryDirectory directory_;
    std::vector<std::string> left_out_;
};

// What /dev/fd/63 links to has no place in the file system.
TEST_F(ExpandSourcesTest, APipeWithoutANameOfItsOwnIsASource) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const std::string name = "/dev/fd/" + std::to_string(ends[0]);
    std::vector<std::string> left_out;
    const auto sources = expand_sources({name, name}, left_out);
    EXPECT_EQ(sources, std::vector<std::filesystem::path>{name});
    EXPECT_EQ(left_out.size(), 1U);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_F(ExpandSourcesTest, AFolderGivesItsTextFilesSorted) {
    for (const char* name : {"b.txt", "a.txt", "sub/c.txt", "sub/deeper/d.jsonl", "empty.txt"}) {
        directory_.write(name, std::string_view(name) == "empty.txt" ? "" : "text\n");
    }
    EXPECT_THAT(expand({directory_.path().string()}),
                ElementsAre("a.txt", "b.txt", "empty.txt", "sub/c.txt", "sub/deeper/d.jsonl"));
    EXPECT_THAT(left_out_, IsEmpty());
}

TEST_F(ExpandSourcesTest, HiddenBinaryAndIndexFilesAreLeftOutWithANote) {
    directory_.write("text", "text\n");
    directory_.write("text.dat", "index\n");
    directory_.write(".hidden", "text\n");
    directory_.write(".git/config", "text\n");
    directory_.write("image", std::string_view("GIF\0\0", 5));
    EXPECT_THAT(expand({directory_.path().string()}), ElementsAre("text"));
    EXPECT_THAT(left_out_, ElementsAre(HasSubstr(".git: hidden"), HasSubstr(".hidden: hidden"),
                                       HasSubstr("image: binary"), HasSubstr("text.dat: an index")));
}

TEST_F(ExpandSourcesTest, ALinkNeverRepeatsItsTarget) {
    directory_.write("z", "text\n");
    directory_.write("sub/file", "text\n");
    std::filesystem::create_symlink("z", directory_ / "z.u8");
    std::filesystem::create_symlink("z", directory_ / "a-link-that-sorts-first");
    std::filesystem::create_symlink("absent", directory_ / "dangling");
    std::filesystem::create_directory_symlink("sub", directory_ / "again");
    EXPECT_THAT(expand({directory_.path().string()}), ElementsAre("sub/file", "z"));
    EXPECT_EQ(left_out_.size(), 4U);
}

TEST_F(ExpandSourcesTest, ALinkToAFileElsewhereIsAFile) {
    TemporaryDirectory elsewhere;
    const auto target = elsewhere.write("target", "text\n");
    std::filesystem::create_symlink(target, directory_ / "link");
    std::filesystem::create_symlink(target, directory_ / "second");
    EXPECT_THAT(expand({directory_.path().string()}), ElementsAre("link"));
    EXPECT_THAT(left_out_, ElementsAre(HasSubstr("second: listed already")));
}

TEST_F(ExpandSourcesTest, FilesNamedAreTakenInTheOrderGivenAndOnce) {
    for (const char* name : {"b", "a", "named.dat"}) directory_.write(name, "text\n");
    EXPECT_THAT(expand({at("named.dat"), at("b"), at("a"), at("b")}), ElementsAre("named.dat", "b", "a"));
    EXPECT_THAT(left_out_, ElementsAre(HasSubstr("b: listed already")));
}

TEST_F(ExpandSourcesTest, WhatIsNotThereIsNotFound) {
    std::filesystem::create_directory(directory_ / "bare");
    for (const char* name : {"absent", "bare"}) {
        const Error error = error_of([&] { expand({at(name)}); });
        EXPECT_EQ(error.code(), ErrorCode::not_found);
        EXPECT_THAT(error.what(), HasSubstr(name));
    }
}

TEST_F(DocumentReaderTest, WhatCannotBeOpenedJustNowIsNotAbsent) {
    for (const auto& [reason, code] :
         {std::pair(ENOENT, ErrorCode::not_found), std::pair(EMFILE, ErrorCode::io_failure),
          std::pair(EIO, ErrorCode::io_failure)}) {
        const auto path = directory_.write("input.txt", "text");
        const RefusingFiles refusing("input.txt", reason);
        EXPECT_EQ(refusal_of("text", "input.txt").code(), code) << reason;
    }
}

}  // namespace
}  // namespace lockstep
