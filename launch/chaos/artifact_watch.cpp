#include "launch/chaos/artifact_watch.h"

#include <algorithm>
#include <cctype>
#include <span>

#include "coordinator/distribution.h"
#include "coordinator/plan_file.h"
#include "coordinator/plan_store.h"
#include "coordinator/plan_tokenizers.h"
#include "coordinator/run_plans.h"
#include "coordinator/verify.h"
#include "io/base/error.h"
#include "io/comm/serial_communicator.h"
#include "io/run/authority.h"
#include "io/run/checkpoint.h"
#include "io/run/state_digest.h"
#include "launch/chaos/error_clarity.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

bool lies_in(const fs::path& file, const fs::path& folder) {
    const fs::path relative = file.lexically_relative(folder);
    return !relative.empty() && *relative.begin() != "..";
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// Chunks with the plan's own offsets, row by row: not by their fingerprints, which are what is judged.
bool same_rows(const PlanChunkColumns& a, const PlanChunkColumns& b) {
    const auto same = [](const auto& x, const auto& y) {
        if constexpr (requires { x.has_value(); }) {
            return x.has_value() == y.has_value() && (!x || std::ranges::equal(*x, *y));
        } else {
            return std::ranges::equal(x, y);
        }
    };
    if (a.num_segments() != b.num_segments()) return false;
    for (std::uint64_t s = 0; s < a.num_segments(); ++s)
        if (a.sample(s) != b.sample(s)) return false;
    return a.first_pack == b.first_pack && same(a.step_begin, b.step_begin) &&
           same(a.pack_begin, b.pack_begin) && same(a.segment_offset, b.segment_offset) &&
           same(a.segment_tokens, b.segment_tokens) && same(a.pack_cost, b.pack_cost) &&
           same(a.pack_targets, b.pack_targets) && same(a.pack_bucket, b.pack_bucket) &&
           same(a.pack_pad_tokens, b.pack_pad_tokens);
}

/// "lengths.jsonl:12: …"
bool leads_to_a_line(const std::string& text, const fs::path& file) {
    const std::string name = file.filename().string() + ":";
    const std::size_t at = text.find(name);
    return at != std::string::npos && at + name.size() < text.size() &&
           std::isdigit(static_cast<unsigned char>(text[at + name.size()])) != 0;
}

/// The documented kind (2: a sound file of another kind than asked for). Empty, or what is wrong with it.
std::string undocumented(const Error& error) {
    const int code = exit_code_of(error.code());
    if (code == 2 || code == 65 || code == 66) return "";
    return "exit code " + std::to_string(code) + ": " + error.what();
}

std::string state_of(const fs::path& run, const Manifest& manifest) {
    const GenerationReader reader = GenerationReader::open(run, manifest);
    return state_digest_of(reader, manifest.state_elements).hex() + to_json(manifest);
}

/// All that a record says, as read.
std::string text_of(const RunRecord& record) {
    std::string said = record.settings_json + record.numerics + record.model.hex() + record.checkpoint_every +
                       std::to_string(record.keep) + record.init_path + record.init_adapter_path +
                       std::to_string(record.keep_every);
    for (const RunCorpus& corpus : record.corpora) said += corpus.path + corpus.content.hex();
    for (const PlanInForce& plan : record.plans) {
        said += std::to_string(plan.from_step) + plan.path + plan.plan.hex();
        if (!plan.totals) continue;
        said += std::to_string(plan.totals->planned_tokens) + "/" +
                std::to_string(plan.totals->pack_tokens_max) + "/" +
                std::to_string(plan.totals->segment_tokens_max) + "/" +
                std::to_string(plan.totals->mean_context);
    }
    return said;
}

/// Every window of a plan as a lone rank is given it.
std::string windows_of(const ServedPlan& plan) {
    const auto comm = make_serial_communicator();
    PlanDistribution distribution(*comm, plan);
    const PlanSummary& summary = distribution.summary();
    FingerprintBuilder seen("artifact-watch-windows");
    seen.add(summary.plan).add(summary.planned_tokens).add(summary.mean_context);
    seen.add_array(std::span(summary.epoch_begin));
    for (const PlanSource& source : distribution.sources()) seen.add(source.corpus).add(source.tokenizer);
    for (std::uint64_t step = 0; step < summary.num_steps;) {
        const StepWindow window = distribution.fetch(step);
        const PlanSlice& slice = window.slice;
        seen.add(slice.step_begin).add(slice.step_end);
        for (const auto* column : {&slice.step_pack_begin, &slice.pack, &slice.segment_begin,
                                   &slice.segment_sample, &window.step_packs, &window.step_targets})
            seen.add_array(std::span(*column));
        seen.add_array(std::span(slice.segment_offset)).add_array(std::span(slice.segment_tokens));
        step = slice.step_end;
    }
    return seen.finish().hex();
}

/// Every sample as training reads it, and what else is told of it.
std::string samples_of(const Corpus& corpus) {
    corpus.verify_everything();
    FingerprintBuilder seen("artifact-watch-samples");
    seen.add(corpus.tokenizer().description_json).add(corpus.ingest_record());
    std::vector<std::uint32_t> tokens;
    for (std::uint64_t sample = 0; sample < corpus.num_samples(); ++sample) {
        tokens.resize(corpus.sample_tokens(sample));
        corpus.read_tokens(sample, 0, tokens);
        seen.add_array(std::span<const std::uint32_t>(tokens)).add(corpus.key(sample));
        for (const LossSpan& span : corpus.loss_spans(sample)) seen.add(span.begin).add(span.end);
        const Corpus::Provenance from = corpus.provenance(sample);
        seen.add(from.source_index).add(from.source_offset).add(from.source_digest.hex());
    }
    seen.add_array(corpus.sample_score());
    for (const SourceFile& source : corpus.sources())
        seen.add(source.name).add(source.bytes).add(source.digest.hex());
    return seen.finish().hex();
}

/// What readers need not go by for a run to go on as it would have.
bool is_proof(const std::string& reader) {
    return reader == "train and verify" || reader == "validate" || reader == "verify";
}

}  // namespace

std::string name_of(DamageOutcome outcome) {
    switch (outcome) {
        case DamageOutcome::unchanged:
            return "unchanged";
        case DamageOutcome::as_written:
            return "read as written";
        case DamageOutcome::refused:
            return "refused";
        case DamageOutcome::fallen_back:
            return "fallen back";
        case DamageOutcome::refused_proof:
            return "refused by verify alone";
        case DamageOutcome::wrong:
            return "WRONG";
    }
    return "?";
}

ArtifactWatch::ArtifactWatch(ArtifactPlaces places) : places_(std::move(places)) {
    for (const auto& entry : fs::recursive_directory_iterator(places_.folder)) {
        const bool of_run = lies_in(entry.path(), places_.run);
        if (entry.is_regular_file() &&
            (!of_run || has_authority(entry.path().lexically_relative(places_.run))))
            files_.push_back(entry.path());
    }
    std::sort(files_.begin(), files_.end());
    record_ = read_run_record(places_.run);
    for (const fs::path& folder : places_.plans) plans_.push_back(load_plan(folder, PlanCheck::content));
    if (plans_.size() != record_.plans.size()) {
        throw Error(ErrorCode::invalid_argument, "'" + places_.run.string() + "' follows " +
                                                     std::to_string(record_.plans.size()) + " plan(s), " +
                                                     std::to_string(plans_.size()) + " were given");
    }
    for (std::size_t i = 0; i < places_.corpora.size(); ++i)
        inputs_.push_back(PlanInput::open(places_.corpora[i], places_.corpora[i].string()));
    lengths_ = plans_[0].sources.back().lengths;
    inputs_seen_ = observe_inputs();
    for (std::size_t i = 0; i < plans_.size(); ++i) plans_seen_.push_back(observe_plan(i));
    run_seen_ = observe_run();
    for (const Observation* seen : {&inputs_seen_, &run_seen_}) require_sound(*seen);
    for (const Observation& seen : plans_seen_) require_sound(seen);
    for (const GenerationStatus& status : list_generations(places_.run)) {
        if (!status.committed) continue;
        if (!status.valid) throw Error(ErrorCode::corrupt_data, status.problem);
        generations_["state of step " + std::to_string(status.step)] =
            state_of(places_.run, *status.manifest);
    }
}

void ArtifactWatch::require_sound(const Observation& seen) {
    if (!seen.refused.empty()) throw Error(ErrorCode::corrupt_data, seen.refused.begin()->second);
    if (!seen.rejected.empty()) throw Error(ErrorCode::corrupt_data, seen.rejected.front());
}

/// What a user can act on: one line that leads to the file, by its own name or that of a file or folder that
/// names it, to what in it is wrong, and tells what was found beside what was expected. Empty, or what is
/// wrong with it.
std::string ArtifactWatch::unclear(const std::string& text, const fs::path& file) const {
    if (const std::string why = why_not_one_line(text); !why.empty()) return why;
    const fs::path folder = file.parent_path();
    bool leads_there = contains(text, file.filename().string());
    // A generation's files are named by its manifest, the ledger's segments by it and by each other.
    if (folder.parent_path() == places_.run / "checkpoints") {
        const std::string name =
            folder.filename().string();  // "step-00000120", or "generation 120 of 'run'".
        const std::size_t digits = std::min(name.find_first_of("123456789"), name.size() - 1);
        leads_there = leads_there || contains(text, name) ||
                      contains(text, "generation " + name.substr(digits) + " of '" + places_.run.string());
    }
    if (folder == places_.run / "ledger")
        leads_there =
            leads_there || contains(text, (folder / "").string()) || contains(text, "manifest.json");
    if (const auto plan = plan_of(file))
        leads_there = leads_there || contains(text, places_.plans[*plan].string() + "'");
    if (!leads_there) return "an error that does not lead to the file: " + text;
    if (leads_to_a_line(text, file))
        return "";  // What does not read as a line is shown; all lines are alike.
    return why_unclear(text);
}

void ArtifactWatch::hear(Observation& seen, const std::string& what,
                         const std::function<std::string()>& read) {
    try {
        seen.said[what] = read();
    } catch (const Error& error) {
        seen.refused[what] = error.what();
        const std::string problem = undocumented(error);
        if (!problem.empty()) seen.undocumented.push_back(problem);
    }
}

ArtifactWatch::Observation ArtifactWatch::observe_inputs() const {
    Observation seen;
    hear(seen, "corpora", [&] {
        std::vector<PlanInput> inputs;
        for (const fs::path& file : places_.corpora) inputs.push_back(PlanInput::open(file, file.string()));
        std::string said;
        for (const PlanSource& source : bind_sources(plans_[0], inputs)) said += source.corpus.hex();
        for (const PlanInput& input : inputs) said += samples_of(*input.corpus());
        return said;
    });
    for (const fs::path& file : places_.lengths) {
        const std::string name = file.filename().string();
        hear(seen, "lengths " + name, [&] {
            const LengthCache cache = open_lengths(file);
            const Fingerprint lengths = cache.lengths_fingerprint();
            // What binds lengths to a corpus, and to a plan made from them.
            if (lengths != lengths_) {
                throw Error(ErrorCode::fingerprint_mismatch, "'" + file.string() + "' holds lengths " +
                                                                 lengths.brief() + "…, expected " +
                                                                 lengths_.brief() + "…");
            }
            if (is_column_file(file)) {  // In lines no digest guards what is no length or id.
                cache.verify_everything();
                FingerprintBuilder others("artifact-watch-lengths");
                others.add_array(cache.loss_tokens()).add(fingerprint_of_scores(cache.sample_score()));
                seen.said["targets and scores"] = others.finish().hex();
            }
            return lengths.hex();
        });
    }
    return seen;
}

std::optional<std::size_t> ArtifactWatch::plan_of(const fs::path& file) const {
    for (std::size_t i = 0; i < places_.plans.size(); ++i)
        if (lies_in(file, places_.plans[i])) return i;
    return std::nullopt;
}

/// As `resume` serves it: opened by its head, each chunk proven when its window comes.
std::string ArtifactWatch::replayed(const PlanInForce& plan) const {
    const PlanFile file = open_plan_of_run(plan, plan.path);
    const BatchPlan& head = file.head();
    require_same_tokenizers(plan.path, head.sources, inputs_);
    ServedPlan served{file.view(), {}, bind_sources(head, inputs_), {}};
    served.totals = plan.totals ? *plan.totals : prove_and_count(file);
    if (!file.has_targets()) served.targets = TargetCount(head.sources, inputs_);
    return windows_of(served);
}

/// One of a record's plans where its copy is: the sound one of that name, else the one in its place.
PlanInForce ArtifactWatch::at_its_place(const RunRecord& record, std::size_t which) const {
    PlanInForce plan = record.plans.at(which);
    std::size_t place = std::min(which, plans_.size() - 1);
    for (std::size_t i = 0; i < plans_.size(); ++i)
        if (plans_[i].fingerprints.plan == plan.plan) place = i;
    plan.path = places_.plans[place].string();
    return plan;
}

ArtifactWatch::Observation ArtifactWatch::observe_plan(std::size_t which) const {
    const fs::path& folder = places_.plans[which];
    Observation seen;
    hear(seen, "resume", [&] {
        std::string said = replayed(at_its_place(record_, which));
        // Changing over to it, and from it to the next.
        for (std::size_t i = std::max<std::size_t>(which, 1); i < std::min(which + 2, plans_.size()); ++i)
            check_revision(at_its_place(record_, i - 1), places_.plans[i], record_.plans[i].from_step);
        return said;
    });
    hear(seen, "train and verify", [&] {
        const PlanFile plan = open_plan_of_run(record_.plans[which], folder);
        const BatchPlan& sound = plans_[which];
        bool same = plan.head() == head_of(sound);
        plan.validate({}, [&](const PlanChunkColumns& chunk) {
            same = same &&
                   same_rows(chunk, chunk_of(sound, chunk.first_step, chunk.first_step + chunk.num_steps()));
        });
        return plan.head().fingerprints.plan.hex() + (same ? "" : ", with other content");
    });
    hear(seen, "validate", [&] {
        const PlanFile plan = open_plan_of_run(record_.plans[which], folder);
        plan.validate({});
        check_plan_files(plan);
        return plan.head().fingerprints.plan.hex();
    });
    return seen;
}

std::string ArtifactWatch::proof_of(const RunRecord& record) const {
    std::vector<ChainedPlan> chain;
    for (const PlanInForce& plan : record.plans) {
        const auto known = std::find_if(plans_.begin(), plans_.end(), [&](const BatchPlan& candidate) {
            return candidate.fingerprints.plan == plan.plan;
        });
        if (known == plans_.end()) {
            const std::size_t place = std::min(chain.size(), plans_.size() - 1);
            require_plan_of_run(plan, places_.plans[place], plans_[place].fingerprints.plan);
        }
        chain.push_back({plan.from_step, view_of(*known)});
    }
    const VerifyReport report = verify_run(places_.run, chain, inputs_);
    return report.proven() ? report.ledger_root.hex() + report.state_digest.hex() : report.problems.front();
}

ArtifactWatch::Observation ArtifactWatch::observe_run() const {
    const fs::path& run = places_.run;
    Observation seen;
    RunRecord record;
    hear(seen, "record", [&] {
        record = read_run_record(run);
        return text_of(record);
    });
    if (seen.refused.contains("record")) return seen;
    hear(seen, "resume", [&] {
        const auto newest = newest_valid_generation(run, seen.rejected);
        if (!newest) {
            throw Error(ErrorCode::corrupt_data,
                        "no generation of '" + run.string() + "' is valid: " +
                            (seen.rejected.empty() ? "there is none" : seen.rejected.front()));
        }
        check_generation(record, *newest, run.string());
        seen.said["state of step " + std::to_string(newest->step)] = state_of(run, *newest);
        const std::size_t latest = record.plans.size() - 1;
        const PlanInForce& behind = plan_behind(record.plans, newest->step);
        const auto which = static_cast<std::size_t>(&behind - record.plans.data());
        const PlanInForce served = at_its_place(record, latest);
        if (behind.plan != served.plan)
            check_revision(at_its_place(record, which), served.path, newest->step);
        return replayed(served);
    });
    hear(seen, "verify", [&] { return proof_of(record); });
    return seen;
}

ArtifactWatch::Observation ArtifactWatch::observe(const fs::path& file) const {
    if (lies_in(file, places_.run)) return observe_run();
    const auto plan = plan_of(file);
    return plan ? observe_plan(*plan) : observe_inputs();
}

const ArtifactWatch::Observation& ArtifactWatch::before(const fs::path& file) const {
    if (lies_in(file, places_.run)) return run_seen_;
    const auto plan = plan_of(file);
    return plan ? plans_seen_[*plan] : inputs_seen_;
}

/// What was taken for right and is not as it was written; or nothing.
std::string ArtifactWatch::different(const Observation& sound, const Observation& seen) const {
    for (const auto& [what, value] : seen.said) {
        if (what == "record" && seen.refused.contains("resume")) continue;  // Read, and nothing done by it.
        const auto& written = what.starts_with("state of") ? generations_ : sound.said;
        const auto found = written.find(what);
        if (found == written.end() || found->second != value) return what;
    }
    return "";
}

DamageVerdict ArtifactWatch::compare(const fs::path& file, const Observation& seen, bool changed) const {
    if (!seen.undocumented.empty()) return {DamageOutcome::wrong, seen.undocumented.front()};
    for (const auto& [reader, text] : seen.refused) {
        const std::string problem = unclear(text, file);
        if (!problem.empty()) return {DamageOutcome::wrong, reader + ": " + problem};
    }
    for (const std::string& reason : seen.rejected) {
        const std::string problem = unclear(reason, file);
        if (!problem.empty()) return {DamageOutcome::wrong, "falling back: " + problem};
    }
    const std::string other = different(before(file), seen);
    if (!other.empty())
        return {DamageOutcome::wrong, "read without an error, and not as it was written: " + other};
    for (const auto& [reader, text] : seen.refused)
        if (!is_proof(reader)) return {DamageOutcome::refused, text};
    if (!seen.rejected.empty()) return {DamageOutcome::fallen_back, seen.rejected.front()};
    if (!seen.refused.empty()) return {DamageOutcome::refused_proof, seen.refused.begin()->second};
    return {changed ? DamageOutcome::as_written : DamageOutcome::unchanged, ""};
}

DamageVerdict ArtifactWatch::judge(const fs::path& file, bool changed) const {
    try {
        return compare(file, observe(file), changed);
    } catch (const std::exception& failure) {
        return {DamageOutcome::wrong, std::string("not an Error but ") + failure.what()};
    }
}

}  // namespace lockstep
