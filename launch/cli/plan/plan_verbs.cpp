#include "launch/cli/plan/plan_verbs.h"

#include <charconv>
#include <map>
#include <optional>

#include "coordinator/plan_tokenizers.h"
#include "io/base/error.h"
#include "launch/cli/runs/training.h"

namespace lockstep {

namespace {

std::optional<std::uint64_t> number_in(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace

SamplePlace place_of_sample(const BatchPlan& head, std::uint64_t sample) {
    std::size_t source = head.sources.size();
    while (source > 1 && head.sources[source - 1].sample_base > sample) --source;
    return {source - 1, sample - head.sources[source - 1].sample_base};
}

std::vector<PlanInput> open_plan_sources(const PlanFile& plan, const std::vector<std::string>& arguments,
                                         bool need_corpora) {
    const BatchPlan& head = plan.head();
    const std::vector<std::string> paths = corpus_paths(arguments, head.sources);
    std::vector<PlanInput> inputs;
    for (std::size_t i = 0; i < paths.size(); ++i) {
        inputs.push_back(
            PlanInput::open(paths[i], head.sources[i].name, duplicates_allowed(head.options.compat)));
    }
    require_same_tokenizers(plan.directory(), head.sources, inputs);
    for (std::size_t i = 0; i < paths.size(); ++i) {
        const PlanSource found = inputs[i].lengths().source;
        const std::string& planned_hash = head.sources[i].tokenizer_hash;
        if (!planned_hash.empty() && !found.tokenizer_hash.empty() && planned_hash != found.tokenizer_hash) {
            throw Error(ErrorCode::fingerprint_mismatch,
                        "source '" + head.sources[i].name + "': the plan was built for tokenizer '" +
                            planned_hash + "', '" + paths[i] + "' was made by '" + found.tokenizer_hash +
                            "'; give the file the plan was built from");
        }
        if (found.lengths != head.sources[i].lengths) {
            throw Error(ErrorCode::fingerprint_mismatch,
                        "source '" + head.sources[i].name + "': the plan was built for sample lengths " +
                            head.sources[i].lengths.brief() + "…, '" + paths[i] + "' has " +
                            found.lengths.brief() + "…; give the file the plan was built from");
        }
    }
    if (need_corpora) bind_sources(head, inputs);
    return inputs;
}

std::uint64_t parse_sample(const BatchPlan& head, const std::string& text) {
    const PlanSource& last = head.sources.back();
    if (const auto number = number_in(text)) {
        const std::uint64_t num_samples = last.sample_base + last.num_samples;
        if (*number < num_samples) return *number;
        throw Error(ErrorCode::invalid_argument, "sample " + text + " does not exist; the plan has " +
                                                     std::to_string(num_samples) + ", from 0");
    }
    const std::size_t colon = text.rfind(':');
    const auto number =
        colon == std::string::npos ? std::nullopt : number_in(std::string_view(text).substr(colon + 1));
    if (!number) {
        throw Error(ErrorCode::invalid_argument, "'" + text +
                                                     "' is not a sample; expected a number, or SOURCE:NUMBER "
                                                     "(for the user's own ids, --key)");
    }
    for (const PlanSource& source : head.sources) {
        if (source.name != text.substr(0, colon)) continue;
        if (*number < source.num_samples) return source.sample_base + *number;
        throw Error(ErrorCode::invalid_argument, "sample " + text + " does not exist; source '" +
                                                     source.name + "' has " +
                                                     std::to_string(source.num_samples) + ", from 0");
    }
    std::string known;
    for (const PlanSource& source : head.sources) known += (known.empty() ? "'" : ", '") + source.name + "'";
    throw Error(ErrorCode::invalid_argument, "sample " + text + ": the plan has no source '" +
                                                 text.substr(0, colon) + "'; it has " + known);
}

std::vector<std::uint64_t> find_keys(const BatchPlan& head, const std::vector<PlanInput>& inputs,
                                     const std::vector<std::string>& keys) {
    std::map<std::string, std::vector<std::uint64_t>> found;
    for (const std::string& key : keys) {
        if (key.empty()) throw Error(ErrorCode::invalid_argument, "--key is empty text; name a sample");
        found[key];
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        for (std::uint64_t sample = 0; sample < head.sources[i].num_samples; ++sample) {
            const auto at = found.find(inputs[i].key(sample));
            if (at != found.end()) at->second.push_back(head.sources[i].sample_base + sample);
        }
    }
    std::vector<std::uint64_t> samples;
    for (const std::string& key : keys) {
        const std::vector<std::uint64_t>& of_key = found[key];
        if (of_key.size() != 1) {
            throw Error(ErrorCode::invalid_argument,
                        "key '" + key + "' " +
                            (of_key.empty() ? std::string("belongs to no sample of the sources given")
                                            : "belongs to samples " + std::to_string(of_key[0]) + " and " +
                                                  std::to_string(of_key[1]) + "; name one by its number"));
        }
        samples.push_back(of_key[0]);
    }
    return samples;
}

}  // namespace lockstep
