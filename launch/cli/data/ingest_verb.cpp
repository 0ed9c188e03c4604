#include <chrono>
#include <filesystem>
#include <string>

#include "coordinator/ingest/ingest.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"
#include "launch/cli/data/corpus_outputs.h"
#include "launch/cli/data/ingest.h"
#include "launch/cli/progress.h"
#include "launch/cli/world.h"

namespace lockstep {

namespace {

struct IngestArguments {
    DocumentArguments documents;
    SampleFilter filter;
    std::string output, validation_output;
    std::uint64_t piece_bytes = IngestJob::piece_bytes_usual;
    int threads = 0;
    bool force = false;
};

IngestOutputs outputs_of(const IngestArguments& arguments) {
    IngestOutputs outputs;
    outputs.corpus = arguments.output;
    outputs.overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    if (arguments.filter.validation_share > 0) {
        // corpus.h5 -> corpus.validation.h5
        outputs.validation = arguments.output;
        outputs.validation.replace_extension(".validation" + outputs.validation.extension().string());
        if (!arguments.validation_output.empty()) outputs.validation = arguments.validation_output;
        require_apart({outputs.corpus, outputs.validation}, {});
    } else if (!arguments.validation_output.empty()) {
        throw Error(ErrorCode::invalid_argument, "--validation-output needs --validation-share");
    }
    return outputs;
}

IngestJob make_job(const IngestArguments& arguments, const IngestOutputs& outputs) {
    if (arguments.force) {
        require_replaceable(arguments.output);
        if (!outputs.validation.empty()) require_replaceable(outputs.validation);
    }
    IngestJob job;
    job.document = document_options(arguments.documents);
    job.policy = specials_policy(arguments.documents);
    job.filter = arguments.filter;
    const auto sources = list_sources(arguments.documents);
    job.set_tokenizer(choose_tokenizer(arguments.documents, sources), tokenizer_file(arguments.documents));
    plan_pieces(job, sources, arguments.piece_bytes);
    return job;
}

void say_left_out(const Invocation& invocation, std::uint64_t documents, const std::string& what) {
    if (documents > 0) invocation.say("  " + with_commas(documents) + " " + what);
}

void report(const Invocation& invocation, const IngestOutputs& outputs, const IngestTotals& totals,
            double seconds) {
    const PublishedCorpus& corpus = totals.corpus;
    invocation.say(with_commas(corpus.num_samples) + " documents, " + with_commas(corpus.num_tokens) +
                   " tokens from " + bytes_text(totals.source_bytes) + " in " + fixed(seconds, 1) + " s (" +
                   fixed(static_cast<double>(totals.source_bytes) / 1e6 / std::max(seconds, 1e-9), 1) +
                   " MB/s) -> " + outputs.corpus.string());
    if (totals.validation) {
        invocation.say("  " + with_commas(totals.validation->num_samples) + " documents, " +
                       with_commas(totals.validation->num_tokens) + " tokens for validation -> " +
                       outputs.validation.string());
    }
    say_left_out(invocation, totals.bad, "bad lines skipped and counted");
    say_left_out(invocation, totals.counts.empty, "empty documents left out and counted");
    say_left_out(invocation, totals.counts.too_short, "documents left out as too short");
    say_left_out(invocation, totals.counts.too_long, "documents left out as too long");
    say_left_out(invocation, totals.duplicates, "documents left out as repetitions");
    say_left_out(invocation, totals.counts.repaired, "documents had invalid UTF-8, which U+FFFD replaces");
    say_left_out(invocation, totals.pieces_found, "pieces were done by an earlier start");
    invocation.say("  content " + corpus.content.brief() + "…  tokenizer " + totals.tokenizer.brief() +
                   "…  vocabulary " + std::to_string(totals.vocabulary_size));
    nlohmann::ordered_json object = json_of(outputs.corpus, corpus);
    object["bytes"] = totals.source_bytes;
    object["bad_lines"] = totals.bad;
    object["empty"] = totals.counts.empty;
    object["too_short"] = totals.counts.too_short;
    object["too_long"] = totals.counts.too_long;
    object["duplicates"] = totals.duplicates;
    object["repaired"] = totals.counts.repaired;
    object["pieces_found"] = totals.pieces_found;
    object["seconds"] = seconds;
    object["tokenizer_fingerprint"] = totals.tokenizer.hex();
    if (totals.validation) object["validation"] = json_of(outputs.validation, *totals.validation);
    invocation.give(object);
}

int run_ingest_verb(const Invocation& invocation, const IngestArguments& arguments) {
    return run_in_world([&](World& world) {
        const auto begin = std::chrono::steady_clock::now();
        const auto seconds = [&] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        };
        IngestOutputs outputs;
        together(*world.comm, "reading the command line", [&] { outputs = outputs_of(arguments); });
        const int threads = arguments.threads > 0 ? arguments.threads : default_threads(world);
        ProgressLine line;
        const std::string ranks = world.comm->size().value > 1 ? "rank 0: " : "";
        const IngestProgress progress = [&](std::uint64_t done, std::uint64_t total) {
            if (world.is_root() && line.due())
                line.show(ranks + ingest_progress_text(done, total, seconds()));
        };
        const auto totals = run_ingest(
            *world.comm, [&] { return make_job(arguments, outputs); }, outputs, threads, progress);
        if (totals) report(invocation, outputs, *totals, seconds());
        return 0;
    });
}

}  // namespace

void add_ingest(CLI::App& app, Invocation& invocation) {
    auto arguments = std::make_shared<IngestArguments>();
    CLI::App* verb =
        add_verb(app, invocation, "ingest", "Documents to tokens: a corpus",
                 "  lockstep ingest -d texts/ -t bytes --document separator:% -o corpus.h5\n"
                 "  lockstep ingest -d chat.jsonl.zst -t chars --skip-bad 10 -o corpus.h5\n"
                 "  lockstep ingest -d part-*.parquet --dedup --validation-share 0.01 -t bytes -o corpus.h5\n"
                 "  mpirun -n 4 lockstep ingest -d web.jsonl -t bytes -o corpus.h5",
                 [&invocation, arguments] { return run_ingest_verb(invocation, *arguments); });
    add_document_options(*verb, arguments->documents);
    verb->add_option("-o,--output", arguments->output, "Corpus to write")->required();
    verb->add_flag("--force", arguments->force, "Replace an existing corpus");
    const std::string which = "Which documents";
    verb->add_flag("--dedup", arguments->filter.dedup, "Of documents with the same text keep the first")
        ->group(which);
    verb->add_option("--min-tokens", arguments->filter.tokens_min, "Leave out shorter ones")->group(which);
    verb->add_option("--max-tokens", arguments->filter.tokens_max, "Leave out longer ones")->group(which);
    verb->add_option("--min-bytes", arguments->filter.text_bytes_min, "Leave out shorter texts [bytes]")
        ->group(which);
    verb->add_option("--max-bytes", arguments->filter.text_bytes_max, "Leave out longer texts [bytes]")
        ->group(which);
    verb->add_option("--validation-share", arguments->filter.validation_share,
                     "Share of the documents, by hash of the text, for a second corpus")
        ->check(CLI::Range(0.0, 0.999))
        ->group(which);
    verb->add_option("--validation-output", arguments->validation_output,
                     "The second corpus (corpus.validation.h5)")
        ->group(which);
    const std::string work = "The work";
    verb->add_option("--threads", arguments->threads,
                     "Threads of each rank that tokenize (cores over ranks on the node)")
        ->check(CLI::Range(1, 1024))
        ->group(work);
    verb->add_option("--piece-bytes", arguments->piece_bytes,
                     "What an interrupted ingest may lose, at most, for each rank (67108864)")
        ->check(CLI::PositiveNumber)
        ->group(work);
}

}  // namespace lockstep
