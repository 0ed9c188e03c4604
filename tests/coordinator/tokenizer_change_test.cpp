// What is said of a tokenizer that changed: the part by its name, and how.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/ingest/drift.h"
#include "coordinator/ingest/ingest_job.h"
#include "coordinator/ingest/tokenize_document.h"
#include "coordinator/ingest/tokenizer_parts.h"
#include "io/base/error.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/tokenizer_files.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

json sound_file() {
    json vocabulary = json::object();
    for (unsigned b = 0; b < 256; ++b) vocabulary[mapped_bytes(std::string(1, static_cast<char>(b)))] = b;
    vocabulary["he"] = 256;
    vocabulary["ll"] = 257;
    return {{"added_tokens",
             {{{"id", 258}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", false}}}},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"post_processor", nullptr},
            {"decoder", {{"type", "ByteLevel"}}},
            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"h e", "l l"}}}}};
}

std::string described(const json& file, const std::string& config = "", const SpecialsPolicy& policy = {}) {
    return make_json_tokenizer(file.dump(), config, "", policy)->description_json();
}

/// What is said with both descriptions at hand, and with no more than a plan's record of the first.
struct Said {
    std::string in_full, since_record;
};
Said said(const std::string& before, const std::string& now) {
    return {describe_tokenizer_change(before, now), describe_change_since(tokenizer_record(before), now)};
}
Said said(const json& changed) {
    return said(described(sound_file()), described(changed));
}

TEST(TokenizerChangeTest, NothingIsSaidOfWhatIsTheSame) {
    const Said same = said(sound_file());
    EXPECT_EQ(same.in_full, "");
    EXPECT_EQ(same.since_record, "");
    // Merges may be spelled in two ways.
    json pairs = sound_file();
    pairs["model"]["merges"] = json::parse(R"([["h","e"],["l","l"]])");
    EXPECT_EQ(said(pairs).in_full, "");
}

TEST(TokenizerChangeTest, Vocabulary) {
    json file = sound_file();
    file["model"]["vocab"].erase("ll");
    file["model"]["vocab"]["lo"] = 257;
    file["model"]["merges"][1] = "l o";
    EXPECT_THAT(said(file).in_full,
                HasSubstr("vocabulary: 258 before and now, first difference at 257 'll = 257' / 'lo = 257'"));
    EXPECT_THAT(said(file).since_record, HasSubstr("vocabulary: 258 before and now, but not the same"));
}

TEST(TokenizerChangeTest, Merges) {
    json file = sound_file();
    file["model"]["merges"] = {"l l", "h e"};
    EXPECT_EQ(said(file).in_full, "merges: 2 before and now, first difference at 0 'h e' / 'l l'");
    EXPECT_EQ(said(file).since_record, "merges: 2 before and now, but not the same");
    file = sound_file();
    file["model"]["merges"].erase(1);
    EXPECT_EQ(said(file).in_full, "merges: 2 before, 1 now, first difference at 1 'l l' / nothing");
    EXPECT_EQ(said(file).since_record, "merges: 2 before, 1 now");
}

TEST(TokenizerChangeTest, AddedTokens) {
    json file = sound_file();
    file["added_tokens"].push_back({{"id", 259}, {"content", "<|pad|>"}, {"special", true}});
    EXPECT_THAT(said(file).in_full, AllOf(HasSubstr("added tokens: 1 before, 2 now"), HasSubstr("<|pad|>")));
    EXPECT_EQ(said(file).since_record, "added tokens: 1 before, 2 now");
}

TEST(TokenizerChangeTest, Components) {
    struct Case {
        const char* place;
        const char* name;
        json value;
    };
    for (const auto& [place, name, value] :
         {Case{"normalizer", "normalizer", {{"type", "NFC"}}},
          Case{"pre_tokenizer",
               "pre-tokenizer",
               {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}}},
          Case{"post_processor", "post-processor", {{"type", "ByteLevel"}}},
          Case{"decoder", "decoder", {{"type", "Fuse"}}}}) {
        json file = sound_file();
        file[place] = value;
        const Said both = said(file);
        for (const std::string& text : {both.in_full, both.since_record}) {
            EXPECT_THAT(text, testing::StartsWith(std::string(name) + ": ")) << place;
            EXPECT_THAT(text, AllOf(HasSubstr(" before, "), HasSubstr(" now"), Not(HasSubstr(";"))));
        }
    }
    json file = sound_file();
    file["model"]["ignore_merges"] = true;
    EXPECT_THAT(said(file).in_full, HasSubstr("model settings: "));
}

TEST(TokenizerChangeTest, ConfigurationAndPolicy) {
    const std::string before = described(sound_file());
    const std::string now = described(sound_file(), R"({"pad_token": "he", "chat_template": "{{ x }}"})");
    EXPECT_EQ(said(before, now).in_full,
              "BOS, EOS, PAD of tokenizer_config.json: 'none, none, none' before, 'none, none, he' now; "
              "chat template: 'none' before, '{{ x }}' now");
    EXPECT_EQ(said(before, now).since_record, said(before, now).in_full);
    SpecialsPolicy policy;
    policy.literal = LiteralSpecials::parse;
    EXPECT_EQ(said(before, described(sound_file(), "", policy)).in_full,
              "--bos, --eos, --specials: 'auto, auto, text' before, 'auto, auto, parse' now");
}

TEST(TokenizerChangeTest, LongTextsAreShownWhereTheyDiffer) {
    const std::string same = std::string(200, 'a') + "\n\"";
    const auto with_template = [&](const std::string& text) {
        return described(sound_file(), json({{"chat_template", text}}).dump());
    };
    EXPECT_EQ(said(with_template(same + "x"), with_template(same + "y")).in_full,
              "chat template: '…aaaaaaaaaaaaaa\\n\"x' before, '…aaaaaaaaaaaaaa\\n\"y' now");
    EXPECT_THAT(said(with_template(same + "x"), with_template(same + "y")).since_record,
                HasSubstr("chat template: another text before, 'aaa"));
}

TEST(TokenizerChangeTest, OtherKinds) {
    const std::string before = described(sound_file());
    EXPECT_EQ(said(before, make_bytes_tokenizer()->description_json()).in_full,
              "type: 'tokenizer.json' before, 'bytes' now");
    EXPECT_EQ(said(make_chars_tokenizer({U'a', U'b'})->description_json(),
                   make_chars_tokenizer({U'a', U'c'})->description_json())
                  .in_full,
              "vocabulary: 2 before and now, first difference at 1 '98' / '99'");
    // What makes no sense is no part of anything.
    for (const std::string& text : {std::string("{}"), std::string("7"), std::string("x"),
                                    std::string(R"({"type":"sentencepiece"})"), std::string(100'000, '[')}) {
        static_cast<void>(said(text, before));
        EXPECT_EQ(describe_change_since(json::parse(R"([7])"), text), "");
    }
}

/// A corpus of one sample, with a source that is gone.
void write_corpus_of(const CorpusTokenizer& tokenizer, const std::filesystem::path& path,
                     const std::string& ingest_record) {
    CorpusWriter writer(path, tokenizer, Overwrite::yes);
    writer.add_source({"absent.txt", 1, Digest{1, 2}});
    SampleRecord sample;
    const std::vector<std::uint32_t> tokens{1, 2};
    sample.tokens = tokens;
    writer.add(sample);
    writer.set_ingest_record(ingest_record);
    writer.publish();
}

TEST(TokenizerChangeTest, AFileThatChangedSinceIsNamedWithItsParts) {
    const TemporaryDirectory directory;
    const auto saved = directory.write("saved/tokenizer.json", sound_file().dump()).parent_path();
    directory.write("saved/tokenizer_config.json", R"({"pad_token": "he"})");
    SpecialsPolicy policy;
    policy.literal = LiteralSpecials::parse;
    write_corpus_of(corpus_tokenizer_of(*load_tokenizer(saved, {policy, ""}),
                                        TokenizerFile{"saved", "", digest_of_tokenizer_files(saved)}),
                    directory / "c.h5", ingest_record_of(DocumentOptions{}, policy));
    const Corpus corpus = Corpus::open(directory / "c.h5");
    // The name is seen from the corpus' folder. What is said is of the absent source.
    const auto note = [&] { return check_drift(corpus, 1, 1).note; };
    const auto refusal = [&] {
        const Error error = error_of([&] { check_drift(corpus, 1, 1); });
        EXPECT_EQ(error.code(), ErrorCode::fingerprint_mismatch);
        EXPECT_THAT(error.what(), HasSubstr("its tokenizer 'saved' was changed since it was ingested ("));
        return std::string(error.what());
    };
    EXPECT_THAT(note(), AllOf(HasSubstr("'absent.txt' is not there"), Not(HasSubstr("tokenizer 'saved'"))));
    directory.write("saved/tokenizer.json", sound_file().dump(2));
    EXPECT_THAT(note(), Not(HasSubstr("tokenizer 'saved'")));

    json file = sound_file();
    file["model"]["merges"] = {"l l", "h e"};
    directory.write("saved/tokenizer.json", file.dump());
    EXPECT_THAT(refusal(), HasSubstr("(merges: 2 before and now, first difference at 0 'h e' / 'l l')"));
    directory.write("saved/tokenizer.json", "{");
    EXPECT_THAT(refusal(), HasSubstr("line 1"));
    directory.write("saved/tokenizer.json", sound_file().dump());
    std::filesystem::remove(saved / "tokenizer_config.json");
    EXPECT_THAT(refusal(), HasSubstr("(BOS, EOS, PAD of tokenizer_config.json: "));

    std::filesystem::remove(saved / "tokenizer.json");
    EXPECT_THAT(note(), HasSubstr("its tokenizer 'saved' cannot be read, only its fingerprint was checked"));
    std::filesystem::remove(saved);
    EXPECT_THAT(note(),
                AllOf(HasSubstr("its tokenizer 'saved' is not there, only its fingerprint was checked; "),
                      HasSubstr("'absent.txt' is not there")));
}

/// A corpus of bytes whose tokenizer had another Unicode, as far as it says.
TEST(TokenizerChangeTest, UnicodeTablesOfAnotherVersionAreNamedAtTheStart) {
    const TemporaryDirectory directory;
    json description = json::parse(described(sound_file()));
    description["unicode"] = "15.1.0/1";
    CorpusTokenizer tokenizer;
    tokenizer.description_json = description.dump();
    tokenizer.fingerprint = FingerprintBuilder("another version").finish();
    tokenizer.vocabulary_size = 259;
    for (const bool recorded : {false, true}) {
        write_corpus_of(tokenizer, directory / "c.h5",
                        recorded ? ingest_record_of(DocumentOptions{}, SpecialsPolicy{}) : "");
        const Error error = error_of([&] { check_drift(Corpus::open(directory / "c.h5"), 1, 1); });
        EXPECT_EQ(error.code(), ErrorCode::fingerprint_mismatch);
        EXPECT_THAT(error.what(), HasSubstr("Unicode tables: '15.1.0/1' before, '16.0.0/1' now"));
    }
}

}  // namespace
}  // namespace lockstep
