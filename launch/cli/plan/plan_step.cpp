#include <algorithm>

#include "io/base/error.h"
#include "io/tokenizer/tokenizer.h"
#include "launch/cli/plan/plan_verbs.h"
#include "plan/dispositions.h"

namespace lockstep {

namespace {

constexpr std::size_t bar_columns = 64;
constexpr std::size_t text_shown_max = 60;  ///< [bytes]

struct StepArguments {
    std::uint64_t step = 0;
    std::string plan;
    std::vector<std::string> corpora;
    std::optional<std::uint64_t> pack;
    bool tokens = false;
};

/// What a segment holds, when its corpus is at hand.
struct SegmentContent {
    std::vector<std::uint32_t> ids;
    std::vector<bool> predicts;  ///< Position i predicts token i + 1, and is trained.
    std::string text, key;
};

/// Reads segments and turns them into text.
class SegmentReader {
  public:
    explicit SegmentReader(const std::vector<PlanInput>& inputs) : inputs_(inputs) {
        for (const PlanInput& input : inputs) {
            tokenizers_.push_back(
                make_tokenizer_from_description(input.corpus()->tokenizer().description_json));
        }
    }

    SegmentContent read(const SamplePlace& place, std::uint32_t offset, std::uint32_t tokens) const {
        const Corpus& corpus = *inputs_[place.source].corpus();
        if (std::uint64_t{offset} + tokens > corpus.sample_tokens(place.sample)) {
            throw Error(ErrorCode::corrupt_data, "the plan wants tokens " + std::to_string(offset) + " to " +
                                                     std::to_string(std::uint64_t{offset} + tokens) +
                                                     " of a sample that has " +
                                                     std::to_string(corpus.sample_tokens(place.sample)));
        }
        SegmentContent content;
        content.ids.resize(tokens);
        corpus.read_tokens(place.sample, offset, content.ids);
        content.predicts.assign(tokens, false);
        const auto train = [&](std::uint64_t begin, std::uint64_t end) {  // Segment-relative, predicted.
            for (std::uint64_t p = std::max<std::uint64_t>(begin, 1); p < end; ++p) {
                content.predicts[p - 1] = true;
            }
        };
        if (!corpus.has_loss_spans()) train(0, tokens);
        for (const LossSpan& span : corpus.loss_spans(place.sample)) {
            const std::uint64_t begin = std::max<std::uint64_t>(span.begin, offset);
            const std::uint64_t end = std::min<std::uint64_t>(span.end, std::uint64_t{offset} + tokens);
            if (begin < end) train(begin - offset, end - offset);
        }
        content.text = tokenizers_[place.source]->decode(content.ids);
        content.key = inputs_[place.source].key(place.sample);
        return content;
    }

  private:
    const std::vector<PlanInput>& inputs_;
    std::vector<std::unique_ptr<Tokenizer>> tokenizers_;
};

/// "[====|==========|===.....]": a pack to scale, segments parted by |, free room as dots.
std::string bar_of(std::span<const std::uint32_t> segment_tokens, std::uint64_t budget) {
    std::string bar(bar_columns, '.');
    std::uint64_t end = 0;
    std::size_t from = 0;
    for (const std::uint32_t tokens : segment_tokens) {
        end += tokens;
        const auto to =
            std::min<std::size_t>(bar_columns, static_cast<std::size_t>(end * bar_columns / budget));
        for (std::size_t i = from; i < to; ++i) bar[i] = '=';
        if (to > 0) bar[to - 1] = '|';
        from = to;
    }
    return "[" + bar + "]";
}

/// The same scale: # where a column holds a trained prediction, - where it holds none.
std::string loss_bar(const std::vector<bool>& predicts, std::uint64_t budget) {
    std::string bar(bar_columns, '.');
    for (std::size_t i = 0; i < predicts.size(); ++i) {
        char& column = bar[static_cast<std::size_t>(i * bar_columns / budget)];
        if (predicts[i]) {
            column = '#';
        } else if (column == '.') {
            column = '-';
        }
    }
    return "[" + bar + "]";
}

/// One line: control characters as spaces, cut on a character's boundary.
std::string preview(const std::string& text) {
    std::size_t length = std::min(text.size(), text_shown_max);
    while (length > 0 && length < text.size() &&
           (static_cast<unsigned char>(text[length]) & 0xC0U) == 0x80U) {
        --length;
    }
    std::string shown = text.substr(0, length);
    for (char& c : shown) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
    }
    return shown + (length < text.size() ? "…" : "");
}

/// Shows packs of one step.
class StepView {
  public:
    StepView(const Invocation& invocation, const PlanFile& plan, const SegmentReader* reader, bool tokens)
        : invocation_(invocation), head_(plan.head()), reader_(reader), with_tokens_(tokens) {}

    nlohmann::ordered_json show(const PlanChunkColumns& chunk, std::uint64_t pack) {
        const std::uint64_t p = pack - chunk.first_pack;
        const std::uint64_t begin = chunk.pack_begin[p] - chunk.pack_begin[0];
        const std::uint64_t end = chunk.pack_begin[p + 1] - chunk.pack_begin[0];
        const auto lengths = chunk.segment_tokens.subspan(begin, end - begin);
        std::uint64_t tokens = 0;
        for (const std::uint32_t length : lengths) tokens += length;

        auto segments = nlohmann::ordered_json::array();
        std::vector<std::string> lines;
        std::vector<bool> predicts;
        std::uint64_t at = 0;
        for (std::uint64_t s = begin; s < end; ++s) {
            segments.push_back(segment(chunk, s, at, lines, predicts));
            at += chunk.segment_tokens[s];
        }
        const auto trained = static_cast<std::uint64_t>(std::count(predicts.begin(), predicts.end(), true));
        nlohmann::ordered_json object = {
            {"pack", pack}, {"tokens", tokens}, {"targets", nullptr}, {"cost", chunk.pack_cost[p]}};
        if (chunk.pack_targets) {
            object["targets"] = (*chunk.pack_targets)[p];
        } else if (reader_ != nullptr) {
            object["targets"] = trained;
        }
        if (chunk.pack_bucket) {
            object["bucket"] = (*chunk.pack_bucket)[p];
            object["pad_tokens"] = (*chunk.pack_pad_tokens)[p];
        }
        object["segments"] = segments;

        const std::string targets =
            object["targets"].is_null() ? "" : ", " + object["targets"].dump() + " targets";
        invocation_.say("pack " + std::to_string(pack) + ": " +
                        (end == begin ? "empty"
                                      : std::to_string(tokens) + " tokens" + targets + ", " +
                                            std::to_string(end - begin) + " segments"));
        if (end > begin) {
            invocation_.say("  " + bar_of(lengths, head_.options.token_budget));
            if (reader_ != nullptr) {
                invocation_.say("  " + loss_bar(predicts, head_.options.token_budget) + "  # trained");
            }
        }
        for (const std::string& line : lines) invocation_.say("  " + line);
        return object;
    }

  private:
    nlohmann::ordered_json segment(const PlanChunkColumns& chunk, std::uint64_t s, std::uint64_t at,
                                   std::vector<std::string>& lines, std::vector<bool>& predicts) const {
        const std::uint64_t sample = chunk.sample(s);
        const std::uint32_t offset = chunk.segment_offset[s];
        const std::uint32_t tokens = chunk.segment_tokens[s];
        const SamplePlace place = place_of_sample(head_, sample);
        nlohmann::ordered_json object = {{"sample", sample},
                                         {"source", head_.sources[place.source].name},
                                         {"sample_in_source", place.sample},
                                         {"offset", offset},
                                         {"begin", at},
                                         {"end", at + tokens}};
        std::string line = "[" + std::to_string(at) + ", " + std::to_string(at + tokens) + ")  sample " +
                           std::to_string(sample);
        if (offset > 0) line += " from token " + std::to_string(offset);
        if (reader_ != nullptr) {
            const SegmentContent content = reader_->read(place, offset, tokens);
            predicts.insert(predicts.end(), content.predicts.begin(), content.predicts.end());
            if (!content.key.empty()) {
                object["key"] = content.key;
                line += " '" + content.key + "'";
            }
            object["targets"] = std::count(content.predicts.begin(), content.predicts.end(), true);
            object["text"] = content.text;
            if (with_tokens_) {
                object["token_ids"] = content.ids;
                std::vector<int> mask(content.predicts.begin(), content.predicts.end());
                object["loss_mask"] = mask;
            }
            line += "  \"" + preview(content.text) + "\"";
        }
        lines.push_back(line);
        return object;
    }

    const Invocation& invocation_;
    const BatchPlan& head_;
    const SegmentReader* reader_;
    const bool with_tokens_;
};

int run_step(const Invocation& invocation, const StepArguments& arguments) {
    require_one_rank("batchplan step");
    const PlanFile plan = PlanFile::open(arguments.plan);
    if (arguments.step >= plan.num_steps()) {
        throw Error(ErrorCode::invalid_argument, "step " + std::to_string(arguments.step) +
                                                     " does not exist; the plan has steps 0 to " +
                                                     std::to_string(plan.num_steps() - 1));
    }
    if (arguments.tokens && arguments.corpora.empty()) {
        throw Error(ErrorCode::invalid_argument, "--tokens needs the corpus: pass -d CORPUS");
    }
    const PlanChunkColumns chunk = plan.chunk(plan.chunk_of_step(arguments.step));
    const std::uint64_t i = arguments.step - chunk.first_step;
    std::uint64_t begin = chunk.step_begin[i];
    std::uint64_t end = chunk.step_begin[i + 1];
    const std::uint64_t packs = end - begin;
    if (arguments.pack) {
        if (*arguments.pack < begin || *arguments.pack >= end) {
            throw Error(ErrorCode::invalid_argument, "pack " + std::to_string(*arguments.pack) +
                                                         " is not in step " + std::to_string(arguments.step) +
                                                         ", which has packs " + std::to_string(begin) +
                                                         " to " + std::to_string(end - 1));
        }
        begin = *arguments.pack;
        end = begin + 1;
    }
    std::vector<PlanInput> inputs;
    std::optional<SegmentReader> reader;
    if (!arguments.corpora.empty()) {
        inputs = open_plan_sources(plan, arguments.corpora, true);
        reader.emplace(inputs);
    }
    const std::uint64_t epoch = plan.epoch_of(arguments.step);
    invocation.say("step " + with_commas(arguments.step) + " of " + with_commas(plan.num_steps()) +
                   ", epoch " + std::to_string(epoch) + ": " + std::to_string(packs) + " packs of at most " +
                   with_commas(plan.head().options.token_budget) + " tokens");
    StepView view(invocation, plan, reader ? &*reader : nullptr, arguments.tokens);
    auto list = nlohmann::ordered_json::array();
    for (std::uint64_t pack = begin; pack < end; ++pack) list.push_back(view.show(chunk, pack));
    invocation.give({{"plan_fingerprint", plan.head().fingerprints.plan.hex()},
                     {"step", arguments.step},
                     {"epoch", epoch},
                     {"packs_in_step", packs},
                     {"token_budget", plan.head().options.token_budget},
                     {"packs", list}});
    return 0;
}

}  // namespace

void add_plan_step(CLI::App& noun, Invocation& invocation) {
    auto arguments = std::make_shared<StepArguments>();
    CLI::App* verb = add_verb(noun, invocation, "step", "What a step trains: packs, samples, texts, targets",
                              "  lockstep batchplan step 120 -p plan/\n"
                              "  lockstep batchplan step 120 -p plan/ -d corpus.h5 --pack 963",
                              [&invocation, arguments] { return run_step(invocation, *arguments); });
    verb->add_option("step", arguments->step, "Number of the step, from 0")->required();
    verb->add_option("-p,--plan", arguments->plan, "Plan folder")->required();
    verb->add_option("-d,--data", arguments->corpora,
                     "[NAME=]CORPUS of each source, for texts and loss masks");
    verb->add_option("--pack", arguments->pack, "Only this pack (number in the whole plan)");
    verb->add_flag("--tokens", arguments->tokens, "With --json: token ids and loss mask of every segment");
}

}  // namespace lockstep
