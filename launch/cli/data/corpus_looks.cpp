#include "launch/cli/data/corpus_looks.h"

#include <algorithm>
#include <numeric>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/corpus/length_cache.h"
#include "launch/cli/data/corpus_verbs.h"
#include "launch/cli/data/length_report.h"

namespace lockstep {

CorpusReader::CorpusReader(const std::string& path)
    : corpus_(Corpus::open(path)),
      tokenizer_(make_tokenizer_from_description(corpus_.tokenizer().description_json)),
      sources_(corpus_.sources()) {}

std::vector<std::uint32_t> CorpusReader::tokens(std::uint64_t sample) const {
    std::vector<std::uint32_t> tokens(corpus_.sample_tokens(sample));
    corpus_.read_tokens(sample, 0, tokens);
    return tokens;
}

std::string CorpusReader::text(std::uint64_t sample) const {
    return tokenizer_->decode(tokens(sample));
}

std::string CorpusReader::headline(std::uint64_t sample) const {
    const Corpus::Provenance from = corpus_.provenance(sample);
    std::string line = "sample " + std::to_string(sample);
    if (const auto key = corpus_.key(sample); !key.empty()) line += "  '" + std::string(key) + "'";
    return line + "  " + sources_[from.source_index].name + " at " + std::to_string(from.source_offset) +
           "  " + with_commas(corpus_.sample_tokens(sample)) + " tokens" +
           (corpus_.sample_score().empty()
                ? ""
                : "  score " + nlohmann::json(corpus_.sample_score()[sample]).dump());
}

nlohmann::ordered_json CorpusReader::json(std::uint64_t sample, bool with_tokens) const {
    const Corpus::Provenance from = corpus_.provenance(sample);
    nlohmann::ordered_json object = {{"sample", sample}};
    if (const auto key = corpus_.key(sample); !key.empty()) object["key"] = std::string(key);
    object["source"] = sources_[from.source_index].name;
    object["source_offset"] = from.source_offset;
    object["source_digest"] = from.source_digest.hex();
    object["num_tokens"] = corpus_.sample_tokens(sample);
    if (!corpus_.sample_score().empty()) object["score"] = corpus_.sample_score()[sample];
    if (corpus_.has_loss_spans()) {
        object["loss_spans"] = nlohmann::ordered_json::array();
        for (const LossSpan& span : corpus_.loss_spans(sample))
            object["loss_spans"].push_back({span.begin, span.end});
    }
    if (with_tokens) object["tokens"] = tokens(sample);
    object["text"] = text(sample);
    return object;
}

void CorpusReader::require_sample(std::uint64_t sample) const {
    if (sample < corpus_.num_samples()) return;
    throw Error(ErrorCode::invalid_argument, "there is no sample " + std::to_string(sample) + "; '" +
                                                 corpus_.path().string() + "' holds 0 to " +
                                                 std::to_string(corpus_.num_samples() - 1));
}

namespace {

void show_sample(const Invocation& invocation, const CorpusReader& reader, std::uint64_t sample) {
    invocation.say(reader.headline(sample));
    invocation.say(reader.text(sample));
}

struct ShowArguments {
    std::string file;
    std::uint64_t sample = 0;
    bool tokens = false;
};

int run_show(const Invocation& invocation, const ShowArguments& arguments) {
    const CorpusReader reader(arguments.file);
    reader.require_sample(arguments.sample);
    show_sample(invocation, reader, arguments.sample);
    if (arguments.tokens) {
        std::string line;
        for (const std::uint32_t token : reader.tokens(arguments.sample))
            line += (line.empty() ? "" : " ") + std::to_string(token);
        invocation.say(line);
    }
    for (const LossSpan& span : reader.corpus().loss_spans(arguments.sample))
        invocation.say("  trained: tokens " + std::to_string(span.begin) + " to " + std::to_string(span.end));
    invocation.give(reader.json(arguments.sample, arguments.tokens));
    return 0;
}

struct SearchArguments {
    std::string file, pattern;
    std::uint64_t limit = 20;
    bool keys = false;
};

/// What stands around a match, on one line.
std::string context_of(const std::string& text, std::size_t at, std::size_t bytes) {
    constexpr std::size_t around = 40;
    std::size_t begin = at - std::min(at, around);
    std::size_t end = std::min(text.size(), at + bytes + around);
    const auto inside_character = [&](std::size_t i) {
        return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U;
    };
    while (begin != 0 && inside_character(begin)) --begin;
    while (inside_character(end)) ++end;
    std::string line = text.substr(begin, end - begin);
    std::ranges::replace(line, '\n', ' ');
    return line;
}

int run_search(const Invocation& invocation, const SearchArguments& arguments) {
    if (arguments.pattern.empty()) throw Error(ErrorCode::invalid_argument, "nothing to search for is given");
    const CorpusReader reader(arguments.file);
    auto matches = nlohmann::ordered_json::array();
    std::uint64_t found = 0;
    for (std::uint64_t sample = 0; sample < reader.corpus().num_samples(); ++sample) {
        const std::string text =
            arguments.keys ? std::string(reader.corpus().key(sample)) : reader.text(sample);
        const std::size_t at = text.find(arguments.pattern);
        if (at == std::string::npos) continue;
        if (++found > arguments.limit) continue;
        const std::string context = context_of(text, at, arguments.pattern.size());
        invocation.say(reader.headline(sample));
        invocation.say("  " + context);
        matches.push_back({{"sample", sample}, {"at", at}, {"context", context}});
    }
    invocation.say(with_commas(found) + " of " + with_commas(reader.corpus().num_samples()) +
                   " samples hold it" + (found > arguments.limit ? "; --limit shows more" : ""));
    invocation.give({{"found", found}, {"matches", matches}});
    return found != 0 ? 0 : 1;
}

struct SampleArguments {
    std::string file;
    std::uint64_t count = 5, seed = 1;
};

int run_sample(const Invocation& invocation, const SampleArguments& arguments) {
    const CorpusReader reader(arguments.file);
    const Philox random(arguments.seed, "corpus-sample");
    auto list = nlohmann::ordered_json::array();
    for (std::uint64_t i = 0; i < arguments.count; ++i) {
        const std::uint64_t sample = random.below(i, reader.corpus().num_samples());
        show_sample(invocation, reader, sample);
        list.push_back(reader.json(sample, false));
    }
    invocation.give({{"samples", list}});
    return 0;
}

int run_stats(const Invocation& invocation, const std::string& file) {
    const LengthCache cache = open_lengths(file);
    const CorpusReader reader(file);
    const Corpus& corpus = reader.corpus();
    const std::vector<LengthCount> lengths = count_lengths(cache.sample_tokens());
    const LengthSummary summary = summarize_lengths(lengths);
    say_summary(invocation, summary);
    nlohmann::ordered_json object = summary_json(summary);
    std::uint64_t source_bytes = 0;
    for (const SourceFile& source : corpus.sources()) source_bytes += source.bytes;
    const double bytes_per_token = static_cast<double>(source_bytes) /
                                   static_cast<double>(std::max<std::uint64_t>(corpus.num_tokens(), 1));
    const auto counts = corpus.count_tokens();
    const auto used = static_cast<std::uint64_t>(
        std::ranges::count_if(counts, [](std::uint64_t count) { return count != 0; }));
    invocation.say("  " + with_commas(corpus.sources().size()) + " sources of " + bytes_text(source_bytes) +
                   ", " + fixed(bytes_per_token, 2) + " source bytes a token; " + with_commas(used) + " of " +
                   with_commas(counts.size()) + " token ids occur");
    auto left_out = nlohmann::ordered_json::object();
    for (const auto& [reason, documents] : corpus.left_out()) {
        invocation.say("  left out, " + reason + ": " + with_commas(documents));
        left_out[reason] = documents;
    }
    object["sources"] = corpus.sources().size();
    object["source_bytes"] = source_bytes;
    object["bytes_per_token"] = bytes_per_token;
    object["token_ids_used"] = used;
    object["vocabulary_size"] = counts.size();
    object["left_out"] = left_out;
    object["content_fingerprint"] = corpus.content_fingerprint().hex();
    object["tokenizer_fingerprint"] = corpus.tokenizer().fingerprint.hex();
    object["histogram"] = say_histogram(invocation, doubling_bins(lengths), 50);
    invocation.give(object);
    return 0;
}

}  // namespace

void add_corpus_looks(CLI::App& noun, Invocation& invocation) {
    auto show = std::make_shared<ShowArguments>();
    CLI::App* show_verb = add_verb(noun, invocation, "show", "One sample: text, origin, what is trained",
                                   "  lockstep corpus show corpus.h5 12 --tokens",
                                   [&invocation, show] { return run_show(invocation, *show); });
    show_verb->add_option("corpus", show->file, "Corpus")->required();
    show_verb->add_option("sample", show->sample, "Number of the sample")->required();
    show_verb->add_flag("--tokens", show->tokens, "Token ids too");

    auto search = std::make_shared<SearchArguments>();
    CLI::App* search_verb =
        add_verb(noun, invocation, "search", "Samples whose text holds something; exit code 1 if none does",
                 "  lockstep corpus search corpus.h5 \"list comprehension\"\n"
                 "  lockstep corpus search corpus.h5 doc-17 --keys",
                 [&invocation, search] { return run_search(invocation, *search); });
    search_verb->add_option("corpus", search->file, "Corpus")->required();
    search_verb->add_option("text", search->pattern, "What to look for, byte for byte")->required();
    search_verb->add_option("--limit", search->limit, "Matches to show (20)");
    search_verb->add_flag("--keys", search->keys, "Look at the ids instead");

    auto sample = std::make_shared<SampleArguments>();
    CLI::App* sample_verb = add_verb(noun, invocation, "sample", "Samples at random",
                                     "  lockstep corpus sample corpus.h5 -n 3 --seed 7",
                                     [&invocation, sample] { return run_sample(invocation, *sample); });
    sample_verb->add_option("corpus", sample->file, "Corpus")->required();
    sample_verb->add_option("-n,--count", sample->count, "How many (5)");
    sample_verb->add_option("--seed", sample->seed, "Another seed, other samples (1)");

    auto stats = std::make_shared<std::string>();
    CLI::App* stats_verb = add_verb(noun, invocation, "stats", "Lengths, sources, what was left out",
                                    "  lockstep corpus stats corpus.h5",
                                    [&invocation, stats] { return run_stats(invocation, *stats); });
    stats_verb->add_option("corpus", *stats, "Corpus")->required();
}

}  // namespace lockstep
