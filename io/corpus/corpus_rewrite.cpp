#include "io/corpus/corpus_rewrite.h"

#include <algorithm>
#include <string>
#include <vector>

#include "io/base/error.h"

namespace lockstep {

namespace {

void require_one_tokenizer(std::span<const Corpus> inputs) {
    if (inputs.empty()) throw Error(ErrorCode::invalid_argument, "no corpus is given");
    const Fingerprint expected = inputs.front().tokenizer().fingerprint;
    for (const Corpus& input : inputs) {
        const Fingerprint found = input.tokenizer().fingerprint;
        if (found == expected) continue;
        throw Error(ErrorCode::invalid_argument,
                    "'" + input.path().string() + "' has tokenizer " + found.brief() + "…, '" +
                        inputs.front().path().string() + "' has " + expected.brief() +
                        "…; corpora of one tokenizer can be joined, ingest the others again");
    }
}

/// How the documents were cut, if all agree: a corpus has one record.
std::string common_record(std::span<const Corpus> inputs) {
    const std::string record = inputs.front().ingest_record();
    const bool same =
        std::ranges::all_of(inputs, [&](const Corpus& input) { return input.ingest_record() == record; });
    return same ? record : std::string();
}

/// Of the samples of one corpus all have a score or none.
bool all_have_scores(std::span<const Corpus> inputs) {
    return std::ranges::all_of(inputs, [](const Corpus& input) { return !input.sample_score().empty(); });
}

void add_samples(const Corpus& input, const SourceName& name, const std::vector<bool>& kept, bool with_scores,
                 CorpusWriter& writer) {
    std::uint32_t first_source = 0;
    bool any = false;
    for (SourceFile source : input.sources()) {
        source.name = name(input, source);
        const std::uint32_t index = writer.add_source(source);
        if (!any) first_source = index;
        any = true;
    }
    for (std::uint64_t sample = 0; sample < input.num_samples(); ++sample) {
        if (!kept[sample]) continue;
        const Corpus::Provenance from = input.provenance(sample);
        writer.add_stored({input.sample_tokens(sample), input.has_loss_spans(), input.loss_spans(sample),
                           input.key(sample), first_source + from.source_index, from.source_offset,
                           from.source_digest,
                           with_scores ? std::optional(input.sample_score()[sample]) : std::nullopt});
    }
}

/// Runs of kept samples lie end to end.
void copy_tokens(const Corpus& input, const std::vector<bool>& kept, const CorpusWriter::TokenSink& sink) {
    for (std::uint64_t begin = 0; begin < kept.size();) {
        std::uint64_t end = begin + 1;
        while (end < kept.size() && kept[end] == kept[begin]) ++end;
        if (kept[begin]) sink(input.stored_tokens(begin, end));
        begin = end;
    }
}

}  // namespace

PublishedCorpus rewrite_corpus(const std::filesystem::path& path, std::span<const Corpus> inputs,
                               const std::function<bool(std::size_t input, std::uint64_t sample)>& keep,
                               const SourceName& name, Overwrite overwrite) {
    require_one_tokenizer(inputs);
    CorpusWriter writer(path, inputs.front().tokenizer(), overwrite);
    writer.set_ingest_record(common_record(inputs));
    const bool with_scores = all_have_scores(inputs);
    std::vector<std::vector<bool>> kept;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        kept.emplace_back(inputs[i].num_samples());
        for (std::uint64_t sample = 0; sample < kept[i].size(); ++sample) kept[i][sample] = keep(i, sample);
        add_samples(inputs[i], name, kept[i], with_scores, writer);
        for (const auto& [reason, documents] : inputs[i].left_out()) writer.count_left_out(reason, documents);
    }
    return writer.publish([&](const CorpusWriter::TokenSink& sink) {
        for (std::size_t i = 0; i < inputs.size(); ++i) copy_tokens(inputs[i], kept[i], sink);
    });
}

}  // namespace lockstep
