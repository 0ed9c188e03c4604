#include "plan/validate_plan.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "io/base/error.h"
#include "plan/dispositions.h"
#include "plan/mixture.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse(ErrorCode code, const std::string& what) {
    throw Error(code, "plan: " + what + "; build it again or take an intact copy");
}

void check_sources(const BatchPlan& head, std::span<const SourceLengths> sources) {
    if (sources.size() != head.sources.size()) {
        refuse(ErrorCode::fingerprint_mismatch, "it has " + std::to_string(head.sources.size()) +
                                                    " sources, " + std::to_string(sources.size()) +
                                                    " were given");
    }
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const PlanSource& planned = head.sources[i];
        const PlanSource& given = sources[i].source;
        const std::string where = "source " + std::to_string(i) + " '" + planned.name + "'";
        if (sources[i].sample_tokens.size() != planned.num_samples) {
            refuse(ErrorCode::fingerprint_mismatch, where + " has " + std::to_string(planned.num_samples) +
                                                        " samples, the one given " +
                                                        std::to_string(sources[i].sample_tokens.size()));
        }
        const auto agree = [&](std::string_view what, const Fingerprint& expected, const Fingerprint& found) {
            if (expected.empty() || found.empty() || expected == found) return;
            refuse(ErrorCode::fingerprint_mismatch, where + ": " + std::string(what) + ", expected " +
                                                        expected.brief() + ", found " + found.brief());
        };
        agree("lengths fingerprint", planned.lengths, given.lengths);
        agree("tokenizer fingerprint", planned.tokenizer, given.tokenizer);
        agree("content fingerprint", planned.corpus, given.corpus);
        agree("scores fingerprint", planned.scores, given.scores);
        if (!planned.tokenizer_hash.empty() && !given.tokenizer_hash.empty() &&
            planned.tokenizer_hash != given.tokenizer_hash) {
            refuse(ErrorCode::fingerprint_mismatch, where + ": tokenizer hash, expected '" +
                                                        planned.tokenizer_hash + "', found '" +
                                                        given.tokenizer_hash + "'");
        }
    }
}

/// Dispositions are a function of options and lengths.
void check_dispositions(const BatchPlan& head, std::span<const SourceLengths> sources) {
    std::vector<Disposition> expected;
    try {
        expected = decide_dispositions(head.options, sources);
    } catch (const Error& error) {
        refuse(ErrorCode::corrupt_data,
               std::string("these samples could not have been planned: ") + error.what());
    }
    const auto [found, other] =
        std::mismatch(head.dispositions.begin(), head.dispositions.end(), expected.begin(), expected.end());
    if (found == head.dispositions.end() && other == expected.end()) return;
    const std::uint64_t sample = found == head.dispositions.end() ? other->sample
                                 : other == expected.end()        ? found->sample
                                                                  : std::min(found->sample, other->sample);
    refuse(ErrorCode::corrupt_data, "dispositions: sample " + std::to_string(sample) +
                                        " has another fate than its length and the options give it");
}

}  // namespace

PlanValidation::PlanValidation(PlanView plan, std::span<const SourceLengths> sources)
    : plan_(std::move(plan)),
      head_(*plan_.head),
      sources_(sources),
      structure_(plan_),
      tails_(head_),
      source_(head_.sources) {
    if (!sources.empty()) {
        check_sources(head_, sources);
        check_dispositions(head_, sources);
    }
    if (!is_mixture(head_.sources)) {
        epochs_.emplace(plan_, sources);
    } else {
        mixture_.emplace(plan_, sources);
    }
}

void PlanValidation::add(const PlanChunkColumns& chunk) {
    structure_.add(chunk);
    if (epochs_) epochs_->add(chunk);
    if (mixture_) mixture_->add(chunk);
    tails_.add(chunk);
    if (chunk.pack_targets) {
        check_targets_of_packs(chunk);
        check_targets_of_epochs(chunk);
    }
    leaves_.push_back(fingerprint_chunk(chunk));
}

void PlanValidation::finish() {
    structure_.finish();
    if (mixture_) mixture_->finish();
    tails_.finish(sources_);
    check_fingerprints();
}

void PlanValidation::check_targets_of_packs(const PlanChunkColumns& chunk) {
    const auto uncounted = [](const SourceLengths& source) { return source.lengths_only; };
    if (sources_.empty() || std::ranges::any_of(sources_, uncounted)) return;
    std::uint64_t pack = 0;
    for (std::uint64_t step = 0; step < chunk.num_steps(); ++step) {
        for (; pack < chunk.step_begin[step + 1] - chunk.step_begin.front(); ++pack) {
            std::uint64_t targets = 0;
            for (std::uint64_t row = chunk.pack_begin[pack]; row < chunk.pack_begin[pack + 1]; ++row) {
                const std::uint64_t segment = row - chunk.pack_begin.front();
                const std::uint64_t sample = chunk.sample(segment);
                const std::size_t source = source_.of(sample);
                targets += segment_targets(sources_[source], sample - head_.sources[source].sample_base,
                                           chunk.segment_offset[segment], chunk.segment_tokens[segment]);
            }
            if ((*chunk.pack_targets)[pack] == targets) continue;
            refuse(ErrorCode::corrupt_data, "step " + std::to_string(chunk.first_step + step) + ", pack " +
                                                std::to_string(chunk.first_pack + pack) +
                                                ": pack_targets, expected " + std::to_string(targets) +
                                                ", found " + std::to_string((*chunk.pack_targets)[pack]));
        }
    }
}

/// Where every epoch holds every sample, all have the same targets.
void PlanValidation::check_targets_of_epochs(const PlanChunkColumns& chunk) {
    if (head_.parent || is_mixture(head_.sources) || head_.options.drop_last) return;
    for (const std::uint32_t targets : *chunk.pack_targets) epoch_targets_ += targets;
    if (chunk.first_step + chunk.num_steps() < head_.epoch_begin[epoch_ + 1]) return;
    if (first_epoch_targets_.value_or(epoch_targets_) != epoch_targets_) {
        refuse(ErrorCode::corrupt_data, "pack_targets: epoch " + std::to_string(epoch_) + " (from step " +
                                            std::to_string(head_.epoch_begin[epoch_]) + ") has " +
                                            std::to_string(epoch_targets_) + " targets, the first epoch " +
                                            std::to_string(*first_epoch_targets_));
    }
    first_epoch_targets_ = epoch_targets_;
    epoch_targets_ = 0;
    ++epoch_;
}

void PlanValidation::check_fingerprints() {
    const PlanFingerprints expected = fingerprint_tree(fingerprint_settings(head_), head_.epoch_begin,
                                                       std::move(leaves_), head_.parent, head_.from_step);
    const PlanFingerprints& found = head_.fingerprints;
    const auto differ = [](const std::string& what, const Fingerprint& stored,
                           const Fingerprint& recomputed) {
        refuse(ErrorCode::fingerprint_mismatch, "fingerprint of " + what + ": its content has " +
                                                    recomputed.brief() + "…, expected " + stored.brief() +
                                                    "… as recorded");
    };
    for (std::size_t c = 0; c < expected.chunks.size(); ++c) {
        if (found.chunks[c] == expected.chunks[c]) continue;
        differ("steps " + std::to_string(expected.chunk_begin[c]) + " to " +
                   std::to_string(expected.chunk_begin[c + 1] - 1) + " (chunk " + std::to_string(c) + ")",
               found.chunks[c], expected.chunks[c]);
    }
    for (std::size_t e = 0; e < expected.epochs.size(); ++e) {
        if (found.epochs[e] != expected.epochs[e])
            differ("epoch " + std::to_string(e), found.epochs[e], expected.epochs[e]);
    }
    if (found.order != expected.order) differ("order", found.order, expected.order);
    if (found.settings != expected.settings) {
        differ("settings (options, algorithms, sources or dispositions)", found.settings, expected.settings);
    }
    if (found.plan != expected.plan) differ("plan", found.plan, expected.plan);
}

void validate_plan(const BatchPlan& plan, std::span<const SourceLengths> sources) {
    check_rows(plan);
    const PlanView view = view_of(plan);
    PlanValidation validation(view, sources);
    for (std::size_t chunk = 0; chunk < view.num_chunks(); ++chunk) validation.add(view.chunk(chunk));
    validation.finish();
}

}  // namespace lockstep
