#include "launch/chaos/artifact_watch.h"

#include <algorithm>
#include <sstream>

#include "coordinator/plan_store.h"
#include "coordinator/run_record.h"
#include "coordinator/verify.h"
#include "io/base/error.h"
#include "io/run/authority.h"
#include "io/run/checkpoint.h"
#include "io/run/state_digest.h"

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
    plan_ = load_plan(places_.plan, PlanCheck::content);
    for (std::size_t i = 0; i < places_.corpora.size(); ++i)
        inputs_.push_back(PlanInput::open(places_.corpora[i], places_.corpora[i].string()));
    lengths_ = plan_.sources.back().lengths;
    inputs_seen_ = observe_inputs();
    plan_seen_ = observe_plan();
    run_seen_ = observe_run();
    for (const GenerationStatus& status : list_generations(places_.run)) {
        if (!status.committed) continue;
        if (!status.valid) throw Error(ErrorCode::corrupt_data, status.problem);
        generations_["state of step " + std::to_string(status.step)] =
            state_of(places_.run, *status.manifest);
    }
}

/// What a user can act on: one line that leads to the file, by its own name or that of a file or folder that
/// names it, and tells a digest beside the one expected. Empty, or what is wrong with it.
std::string ArtifactWatch::unclear(const std::string& text, const fs::path& file) const {
    if (contains(text, "\n")) return "an error of several lines: " + text;
    if (text.size() < 20 || text.size() > 2000) return "an error nobody can use: " + text;
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
    if (lies_in(file, places_.plan)) leads_there = leads_there || contains(text, places_.plan.string());
    if (!leads_there) return "an error that does not lead to the file: " + text;
    if (contains(text, "digest") && !contains(text, "no digest") && !contains(text, "expected"))
        return "a digest without the one expected: " + text;
    return "";
}

ArtifactWatch::Observation ArtifactWatch::observe_inputs() const {
    Observation seen;
    std::vector<PlanInput> inputs;
    for (std::size_t i = 0; i < places_.corpora.size(); ++i)
        inputs.push_back(PlanInput::open(places_.corpora[i], places_.corpora[i].string()));
    BatchPlan plan = plan_;
    for (const PlanSource& source : bind_plan(plan, inputs)) seen[source.name] = source.corpus.hex();
    for (const fs::path& file : places_.lengths) {
        const Fingerprint lengths = open_lengths(file).lengths_fingerprint();
        // What binds lengths to a corpus, and to a plan made from them.
        if (lengths != lengths_)
            throw Error(ErrorCode::fingerprint_mismatch, "'" + file.string() + "' holds lengths " +
                                                             lengths.brief() + "…, expected " +
                                                             lengths_.brief() + "…");
        seen[file.filename().string()] = lengths.hex();
    }
    return seen;
}

ArtifactWatch::Observation ArtifactWatch::observe_plan() const {
    const BatchPlan plan = load_plan(places_.plan, PlanCheck::content);
    check_plan_files(places_.plan, plan);
    if (plan.fingerprints.plan != plan_.fingerprints.plan) {  // As `resume` compares.
        throw Error(ErrorCode::fingerprint_mismatch, "'" + places_.plan.string() + "' is plan " +
                                                         plan.fingerprints.plan.brief() + "…, expected " +
                                                         plan_.fingerprints.plan.brief() + "…");
    }
    return {{"plan", plan.fingerprints.plan.hex()}};
}

ArtifactWatch::Observation ArtifactWatch::observe_run() const {
    const fs::path& run = places_.run;
    Observation seen;
    const RunRecord record = read_run_record(run);
    std::string& said = seen["record"];
    said = record.settings_json + record.numerics + record.model.hex() + record.plan_path +
           record.plan.hex() + record.checkpoint_every + std::to_string(record.keep) + record.init_path +
           record.init_adapter_path + std::to_string(record.keep_every);
    for (const RunCorpus& corpus : record.corpora) said += corpus.path + corpus.content.hex();
    for (const PlanInForce& plan : record.plans)
        said += std::to_string(plan.from_step) + plan.path + plan.plan.hex();
    std::vector<std::string> rejected;
    const auto newest = newest_valid_generation(run, rejected);
    for (const std::string& reason : rejected) seen["rejected"] += reason + "\n";
    if (!newest) {
        throw Error(ErrorCode::corrupt_data, "no generation of '" + run.string() + "' is valid: " +
                                                 (rejected.empty() ? "there is none" : rejected.front()));
    }
    check_generation(record, *newest, run.string());  // As `resume` does.
    seen["state of step " + std::to_string(newest->step)] = state_of(run, *newest);
    try {
        const VerifyReport report = verify_run(run, plan_, inputs_);
        seen["proof"] = report.proven() ? report.ledger_root.hex() : report.problems.front();
    } catch (const Error& error) {
        seen["proof"] = "refused";
        seen["proof refused"] = error.what();
        seen["proof undocumented"] = undocumented(error);
    }
    return seen;
}

ArtifactWatch::Observation ArtifactWatch::observe(const fs::path& file) const {
    if (lies_in(file, places_.run)) return observe_run();
    return lies_in(file, places_.plan) ? observe_plan() : observe_inputs();
}

DamageVerdict ArtifactWatch::compare(const fs::path& file, const Observation& seen, bool changed) const {
    const Observation& before = lies_in(file, places_.run)    ? run_seen_
                                : lies_in(file, places_.plan) ? plan_seen_
                                                              : inputs_seen_;
    if (seen == before) return {changed ? DamageOutcome::as_written : DamageOutcome::unchanged, ""};
    if (seen.contains("proof refused")) {
        const std::string kind = seen.at("proof undocumented");
        const std::string problem = kind.empty() ? unclear(seen.at("proof refused"), file) : kind;
        if (!problem.empty()) return {DamageOutcome::wrong, "verify: " + problem};
    }
    if (seen.contains("rejected")) {
        std::istringstream reasons(seen.at("rejected"));
        for (std::string reason; std::getline(reasons, reason);) {
            const std::string problem = unclear(reason, file);
            if (!problem.empty()) return {DamageOutcome::wrong, "falling back: " + problem};
        }
        for (const auto& [name, value] : seen) {
            const bool state = name.starts_with("state of");
            if ((state && generations_.at(name) != value) || (name == "record" && before.at(name) != value))
                return {DamageOutcome::wrong, "fell back, but to another " + name};
        }
        return {DamageOutcome::fallen_back, seen.at("rejected")};
    }
    const auto proof = seen.find("proof");
    if (proof == seen.end() || proof->second != "refused")
        return {DamageOutcome::wrong, "read without an error, and not as it was written"};
    for (const auto& [name, value] : before) {
        if (name != "proof" && seen.at(name) != value)
            return {DamageOutcome::wrong, "verify refused, but " + name + " was taken as it is"};
    }
    return {DamageOutcome::refused_proof, ""};
}

DamageVerdict ArtifactWatch::judge(const fs::path& file, bool changed) const {
    try {
        return compare(file, observe(file), changed);
    } catch (const Error& error) {
        const std::string kind = undocumented(error);
        const std::string problem = kind.empty() ? unclear(error.what(), file) : kind;
        if (!problem.empty()) return {DamageOutcome::wrong, problem};
        return {DamageOutcome::refused, error.what()};
    } catch (const std::exception& failure) {
        return {DamageOutcome::wrong, std::string("not an Error but ") + failure.what()};
    }
}

}  // namespace lockstep
