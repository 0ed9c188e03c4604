#include <algorithm>

#include "io/base/error.h"
#include "io/tokenizer/analysis/token_statistics.h"
#include "io/tokenizer/utf8.h"
#include "launch/cli/tokenizer/tokenizer_input.h"
#include "launch/cli/tokenizer/tokenizer_verbs.h"

namespace lockstep {

namespace {

using json = nlohmann::ordered_json;

struct AnalyzeArguments {
    TokenizerArguments common;
    std::size_t count_max = 20;
    std::uint32_t tokens_max = 2048;
};

/// A tokenizer with what it makes of the texts.
struct Analyzed {
    std::unique_ptr<Tokenizer> tokenizer;
    TokenTally tally;
};

Analyzed analyzed(const AnalyzeArguments& arguments) {
    Analyzed result{open_tokenizer(arguments.common), {}};
    TokenTallying tallying(*result.tokenizer);
    each_text(arguments.common, [&](std::string_view text) { tallying.add(text); });
    result.tally = tallying.take();
    if (result.tally.tokens() == 0)
        throw Error(ErrorCode::invalid_argument, "the texts hold no tokens; there is nothing to analyze");
    return result;
}

std::string percent(double share) {
    return fixed(100 * share, 2) + " %";
}

/// One line of a report: name, value, and what it means.
void line(const Invocation& invocation, const std::string& name, const std::string& value,
          const std::string& note = {}) {
    constexpr std::size_t name_width = 22, value_width = 14;
    std::string text =
        "  " + name + std::string(name_width - std::min(name_width - 1, name.size()), ' ') + value;
    if (!note.empty()) text += std::string(value_width - std::min(value_width - 1, value.size()), ' ') + note;
    invocation.say(text);
}

std::string one_line(std::string_view bytes) {
    return json(lossy_utf8(bytes)).dump();
}

int run_coverage(const Invocation& invocation, const AnalyzeArguments& arguments) {
    const Analyzed given = analyzed(arguments);
    const auto words = tokenize_words(*given.tokenizer, given.tally.words);
    const CoverageFigures figures = coverage_of(*given.tokenizer, given.tally, words);
    line(invocation, "vocabulary used", percent(figures.vocabulary_used), "ids that occur");
    line(invocation, "unknown", percent(figures.unknown),
         "tokens that stand for what is not in the vocabulary");
    line(invocation, "fragments", percent(figures.fragments), "tokens that hold a part of a character");
    line(invocation, "whole words", percent(figures.whole_words), "words that are one token");
    line(invocation, "texts changed", with_commas(figures.texts_changed),
         "of " + with_commas(given.tally.text_tokens.size()) + " do not decode to themselves");
    invocation.give({{"vocabulary_used", figures.vocabulary_used},
                     {"unknown", figures.unknown},
                     {"fragments", figures.fragments},
                     {"whole_words", figures.whole_words},
                     {"texts", given.tally.text_tokens.size()},
                     {"texts_changed", figures.texts_changed}});
    return 0;
}

int run_fit_score(const Invocation& invocation, const AnalyzeArguments& arguments) {
    const Analyzed given = analyzed(arguments);
    const auto words = tokenize_words(*given.tokenizer, given.tally.words);
    const FitScore score =
        fit_of(efficiency_of(given.tally), coverage_of(*given.tokenizer, given.tally, words));
    invocation.say("fit " + fixed(score.total(), 1) + " of 100, grade " + std::string(1, score.grade()));
    line(invocation, "length", fixed(score.length, 1), "of 40: characters a token, full at 4");
    line(invocation, "known", fixed(score.known, 1), "of 30: no unknown and no fragment");
    line(invocation, "words", fixed(score.words, 1), "of 20: words that are one token");
    line(invocation, "used", fixed(score.used, 1), "of 10: ids that occur, full at a half");
    invocation.give({{"fit", score.total()},
                     {"grade", std::string(1, score.grade())},
                     {"length", score.length},
                     {"known", score.known},
                     {"words", score.words},
                     {"used", score.used}});
    return 0;
}

int run_efficiency(const Invocation& invocation, const AnalyzeArguments& arguments) {
    const Analyzed given = analyzed(arguments);
    const EfficiencyFigures figures = efficiency_of(given.tally);
    line(invocation, "bytes a token", fixed(figures.bytes_per_token, 3));
    line(invocation, "characters a token", fixed(figures.characters_per_token, 3));
    line(invocation, "tokens a word", fixed(figures.tokens_per_word, 3));
    line(invocation, "tokens a text", fixed(figures.tokens_per_text, 1),
         "median " + with_commas(figures.median) + ", 90 % " + with_commas(figures.p90) + ", 99 % " +
             with_commas(figures.p99) + ", longest " + with_commas(figures.longest));
    invocation.give({{"texts", given.tally.text_tokens.size()},
                     {"bytes", given.tally.bytes},
                     {"tokens", given.tally.tokens()},
                     {"bytes_per_token", figures.bytes_per_token},
                     {"characters_per_token", figures.characters_per_token},
                     {"tokens_per_word", figures.tokens_per_word},
                     {"tokens_per_text", figures.tokens_per_text},
                     {"median", figures.median},
                     {"p90", figures.p90},
                     {"p99", figures.p99},
                     {"longest", figures.longest}});
    return 0;
}

int run_entropy(const Invocation& invocation, const AnalyzeArguments& arguments) {
    const Analyzed given = analyzed(arguments);
    const EntropyFigures figures = entropy_of(given.tally.counts, given.tally.bytes);
    line(invocation, "entropy", fixed(figures.bits_per_token, 3) + " bit", "a token; a model must do better");
    line(invocation, "", fixed(figures.bits_per_token * 0.69314718055994531, 3) + " nat",
         "the same as a loss");
    line(invocation, "perplexity", fixed(figures.perplexity, 1));
    line(invocation, "normalized", percent(figures.normalized), "of equally frequent tokens");
    line(invocation, "bits a byte", fixed(figures.bits_per_byte, 3), "comparable between tokenizers");
    line(invocation, "ten most frequent", percent(figures.top_ten), "of all tokens");
    invocation.give({{"bits_per_token", figures.bits_per_token},
                     {"perplexity", figures.perplexity},
                     {"normalized", figures.normalized},
                     {"bits_per_byte", figures.bits_per_byte},
                     {"top_ten", figures.top_ten}});
    return 0;
}

int run_vocabulary(const Invocation& invocation, const AnalyzeArguments& arguments) {
    const Analyzed given = analyzed(arguments);
    const Tokenizer& tokenizer = *given.tokenizer;
    const VocabularyFigures figures = vocabulary_of(tokenizer, given.tally.counts);
    line(invocation, "tokens", with_commas(given.tally.counts.size()),
         with_commas(figures.used) + " occur, " + with_commas(figures.once) + " of them once");
    line(invocation, "specials", with_commas(figures.specials));
    line(invocation, "words", with_commas(figures.words + figures.with_space),
         with_commas(figures.with_space) + " with the space before them");
    line(invocation, "digits", with_commas(figures.digits));
    line(invocation, "fragments", with_commas(figures.fragments), "parts of characters");
    line(invocation, "other", with_commas(figures.other));
    line(invocation, "not reached", with_commas(figures.not_reached.size()),
         "their own text is encoded otherwise");
    json object = {{"vocabulary", given.tally.counts.size()},
                   {"used", figures.used},
                   {"once", figures.once},
                   {"specials", figures.specials},
                   {"words", figures.words},
                   {"words_with_space", figures.with_space},
                   {"digits", figures.digits},
                   {"fragments", figures.fragments},
                   {"other", figures.other},
                   {"by_bytes", figures.by_bytes},
                   {"not_reached", figures.not_reached}};
    invocation.say("most frequent:");
    for (const std::uint32_t id : most_frequent(given.tally.counts, arguments.count_max)) {
        const std::uint64_t count = given.tally.counts[id];
        line(invocation, one_line(tokenizer.token_bytes(id)), with_commas(count));
        object["most_frequent"].push_back(
            {{"id", id}, {"text", lossy_utf8(tokenizer.token_bytes(id))}, {"count", count}});
    }
    invocation.give(object);
    return 0;
}

int run_oov(const Invocation& invocation, const AnalyzeArguments& arguments) {
    const Analyzed given = analyzed(arguments);
    const auto words = tokenize_words(*given.tokenizer, given.tally.words);
    std::uint64_t all = 0, unknown = 0, fragments = 0, shown = 0;
    json list = json::array();
    for (const WordTokens& word : words) {
        all += word.count;
        unknown += word.has_unknown ? word.count : 0;
        fragments += word.has_fragments ? word.count : 0;
        if (!(word.has_unknown || word.has_fragments) || shown == arguments.count_max) continue;
        ++shown;
        list.push_back({{"word", std::string(word.word)}, {"count", word.count}, {"tokens", word.tokens}});
    }
    const auto of_all = [&](std::uint64_t part) {
        return static_cast<double>(part) / static_cast<double>(std::max<std::uint64_t>(1, all));
    };
    line(invocation, "words", with_commas(all), with_commas(words.size()) + " different");
    line(invocation, "with unknown", percent(of_all(unknown)),
         "hold a token for what is not in the vocabulary");
    line(invocation, "with fragments", percent(of_all(fragments)), "are spelled in parts of characters");
    for (const json& item : list)
        line(invocation, item["word"].dump(), with_commas(item["count"].get<std::uint64_t>()),
             item["tokens"].dump() + " tokens");
    invocation.give({{"words", all},
                     {"different", words.size()},
                     {"with_unknown", of_all(unknown)},
                     {"with_fragments", of_all(fragments)},
                     {"most_frequent", list}});
    return 0;
}

int run_waste(const Invocation& invocation, const AnalyzeArguments& arguments) {
    const Analyzed given = analyzed(arguments);
    const WasteFigures figures = waste_of(given.tally.text_tokens, arguments.tokens_max);
    const std::uint64_t cut = figures.cut_little + figures.cut_much + figures.cut_most;
    invocation.say("every text padded or cut to " + with_commas(arguments.tokens_max) + " tokens:");
    line(invocation, "padding", percent(figures.padding_share),
         with_commas(figures.padding) + " of all places");
    line(invocation, "lost", percent(figures.lost_share), with_commas(figures.lost) + " of all tokens");
    line(invocation, "texts cut", with_commas(cut),
         with_commas(figures.cut_little) + " by less than a tenth, " + with_commas(figures.cut_much) +
             " up to a half, " + with_commas(figures.cut_most) + " by more");
    invocation.say("packs (batchplan build) have neither: texts are laid end to end, long ones divided");
    invocation.give({{"tokens_max", arguments.tokens_max},
                     {"padding", figures.padding},
                     {"padding_share", figures.padding_share},
                     {"lost", figures.lost},
                     {"lost_share", figures.lost_share},
                     {"cut_little", figures.cut_little},
                     {"cut_much", figures.cut_much},
                     {"cut_most", figures.cut_most}});
    return 0;
}

using Run = int (*)(const Invocation&, const AnalyzeArguments&);

CLI::App* add_question(CLI::App& group, Invocation& invocation, const std::string& name,
                       const std::string& description, Run run,
                       std::shared_ptr<AnalyzeArguments>& arguments) {
    arguments = std::make_shared<AnalyzeArguments>();
    CLI::App* verb =
        add_verb(group, invocation, name, description,
                 "  lockstep tokenizer analyze " + name + " -t tokenizer.json -d texts/",
                 [&invocation, arguments = arguments, run] { return run(invocation, *arguments); });
    add_tokenizer_options(*verb, arguments->common);
    add_text_options(*verb, arguments->common);
    return verb;
}

}  // namespace

void add_tokenizer_analyze(CLI::App& tokenizer, Invocation& invocation) {
    CLI::App* group = tokenizer.add_subcommand("analyze", "How a tokenizer and your texts get along");
    group->require_subcommand(1);
    std::shared_ptr<AnalyzeArguments> arguments;
    add_question(*group, invocation, "coverage", "What the vocabulary has, and what it only spells",
                 run_coverage, arguments);
    add_question(*group, invocation, "fit-score", "One figure from 0 to 100, and its parts", run_fit_score,
                 arguments);
    add_question(*group, invocation, "efficiency", "Bytes, characters and words to a token", run_efficiency,
                 arguments);
    add_question(*group, invocation, "entropy", "How evenly the tokens are used", run_entropy, arguments);
    CLI::App* verb = add_question(*group, invocation, "vocabulary",
                                  "The tokens by kind, and the most frequent", run_vocabulary, arguments);
    verb->add_option("--count", arguments->count_max, "At most so many are listed (20)");
    verb = add_question(*group, invocation, "oov", "Words that are unknown or spelled in bytes", run_oov,
                        arguments);
    verb->add_option("--count", arguments->count_max, "At most so many are listed (20)");
    verb = add_question(*group, invocation, "waste", "Padding and truncation at a fixed length", run_waste,
                        arguments);
    verb->add_option("--max-length", arguments->tokens_max, "Length of all texts [tokens] (2048)")
        ->check(CLI::Range(1U, 1U << 30U));
}

}  // namespace lockstep
