// Sound inputs for every target, made from real artifacts:
//
//   fuzz_seeds FOLDER DATA     FOLDER/<target>/<name>; DATA is tests/data

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/ingest/ingest_job.h"
#include "coordinator/lazarus_files.h"
#include "coordinator/plan_export.h"
#include "coordinator/wire.h"
#include "io/documents/megatron.h"
#include "io/files/atomic_file.h"
#include "io/run/heartbeat.h"
#include "io/tokenizer/base64.h"
#include "io/tokenizer/byte_level.h"
#include "tests/coordinator/small_artifacts.h"
#include "tests/support/sentencepiece_fields.h"
#include "tests/support/temporary_directory.h"
#include "tests/worker/model_cases.h"
#include "worker/metrics_log.h"
#include "worker/model/adapter_folder.h"
#include "worker/model/config_file.h"

namespace {

using namespace lockstep;
using nlohmann::json;
namespace fs = std::filesystem;

class Seeds {
  public:
    explicit Seeds(fs::path folder) : folder_(std::move(folder)) { fs::create_directories(folder_); }

    void add(const std::string& target, const std::string& name, const std::string& bytes) const {
        fs::create_directories(folder_ / target);
        std::ofstream stream(folder_ / target / name, std::ios::binary | std::ios::trunc);
        stream << bytes;
        if (!stream.flush()) throw std::runtime_error("cannot write a seed of " + target);
    }
    void add_file(const std::string& target, const fs::path& file, const std::string& before = "") const {
        add(target, file.filename().string(), before + read_file(file));
    }

  private:
    fs::path folder_;
};

const std::string json_lines =
    "{\"text\":\"a first one\",\"id\":\"x1\"}\n"
    "{\"text\":\"caf\\u00e9 \\ud83d\\ude00\",\"id\":7,\"meta\":{\"a\":[1,2,{\"b\":null}]}}\r\n"
    "{\"prompt\":\"ask\",\"response\":\"answer\"}\n\n{\"text\":\"\"}\n{\"text\":\"last\"}";

void add_documents(const Seeds& seeds, const fs::path& data) {
    seeds.add("jsonl", "lines", json_lines);
    seeds.add("jsonl", "bad",
              "{\"text\":1}\n{\"text\":\"\\ud800\"}\n[1]\nnot json\n{\"text\":\"a\\u0000b\"}\n");
    for (char rule = 0; rule < 4; ++rule)
        seeds.add("text", "rule-" + std::to_string(rule), rule + std::string("one\n%\n\ntwo\r\n%\r\nthree"));
    seeds.add_file("gzip", data / "compressed/lines.jsonl.gz");
    seeds.add_file("zstd", data / "compressed/lines.jsonl.zst");
    for (const auto& entry : fs::directory_iterator(data / "parquet")) {
        if (entry.path().extension() == ".parquet") seeds.add_file("parquet", entry.path());
    }
    const TemporaryDirectory folder;
    for (const std::uint64_t vocabulary : {std::uint64_t{300}, std::uint64_t{100'000}}) {
        write_megatron(
            folder / "m", vocabulary, {3, 1, 5},
            [](std::uint64_t sample, std::vector<std::uint32_t>& tokens) {
                tokens.assign(sample == 0 ? 3 : sample == 1 ? 1 : 5, 9);
            },
            Overwrite::yes);
        const std::string index = folder.read("m.idx");
        const std::string size{static_cast<char>(index.size() % 256), static_cast<char>(index.size() / 256)};
        seeds.add("megatron", std::to_string(vocabulary), size + index + folder.read("m.bin"));
    }
}

/// Edits of one element, of a length, of a type; a removal; and two at once.
void add_edits(const Seeds& seeds, const std::string& target) {
    const auto edit = [](int what, int where, int index, int value) {
        std::string bytes(12, '\0');
        bytes[0] = static_cast<char>(what);
        bytes[1] = static_cast<char>(where);
        bytes[2] = static_cast<char>(index);
        bytes[4] = static_cast<char>(value);
        return bytes;
    };
    seeds.add(target, "edit-nothing", "E");
    for (int where = 0; where < 24; ++where) {
        for (const int what : {0, 1, 3, 5, 6, 240}) {
            seeds.add(target, "edit-" + std::to_string(where) + "-" + std::to_string(what),
                      "E" + edit(what, where, 1, 5) + (what == 1 ? edit(3, where + 1, 0, 2) : ""));
        }
    }
}

void add_artifacts(const Seeds& seeds) {
    const TemporaryDirectory folder;
    const SmallArtifacts artifacts(folder / "artifacts", 1);
    for (const char* name : {"plain.h5", "answered.h5"}) seeds.add_file("corpus", artifacts.folder() / name);
    seeds.add_file("lengths_lines", artifacts.folder() / "lengths.jsonl");
    seeds.add("lengths_lines", "scored",
              "{\"sample_id\":\"a\",\"length\":3,\"loss_tokens\":2,\"score\":0.5}\n"
              "{\"sample_id\":12,\"length\":4,\"loss_tokens\":0,\"score\":-1e3}\n");
    seeds.add_file("lengths_columns", artifacts.folder() / "lengths.h5");
    seeds.add_file("plan_columns", artifacts.plan_folder() / "plan.h5");
    const char* const names[] = {"fingerprints.json", "metadata.json", "stats.json", "plan.jsonl"};
    for (char which = 0; which < 4; ++which)
        seeds.add_file("plan_folder", artifacts.plan_folder() / names[static_cast<int>(which)],
                       std::string(1, which));
    for (const fs::path& file : artifacts.files()) {
        const std::string name = file.filename().string();
        if (name == "manifest.json")
            seeds.add("manifest", file.parent_path().filename().string(), read_file(file));
        if (name.starts_with("shard-00000"))
            seeds.add("shard", file.parent_path().filename().string(), read_file(file));
        if (name.starts_with("steps-")) seeds.add_file("ledger", file);
    }
    seeds.add_file("run_record", run_record_path(artifacts.run()), std::string(1, '\0'));
    const fs::path revised = folder / "revised";
    fs::create_directories(revised);
    write_run_revisions(revised,
                        {{0, "/plan", artifacts.plan().fingerprints.plan, std::nullopt},
                         {2, "/other", artifacts.plan().fingerprints.order, totals_of(artifacts.plan())}});
    seeds.add_file("run_record", revised / "revisions.json", std::string(1, '\1'));
    for (const char* target : {"corpus", "lengths_columns", "plan_columns", "shard", "ledger"})
        add_edits(seeds, target);

    PlanOptions options;
    options.mode = PlanMode::bucket;
    options.compat = PlanCompat::lazarus;
    options.token_budget = 64;
    const std::vector<PlanInput> inputs{PlanInput::open(artifacts.folder() / "lengths.jsonl", "answered")};
    export_lazarus(plan_of(options, inputs), inputs, folder / "lazarus", Overwrite::no);
    seeds.add("lazarus", "folder",
              folder.read("lazarus/meta.json") + '\0' + folder.read("lazarus/epoch_0.jsonl"));
}

void add_models(const Seeds& seeds) {
    const TemporaryDirectory folder;
    const std::vector<float> numbers{0.0F, 1.0F, -2.5F, 3e30F};
    const std::vector<SafetensorsWriter::Tensor> tensors{
        {"a.weight", TensorType::f32, {2, 2}}, {"b", TensorType::f16, {2}}, {"c", TensorType::bf16, {2}},
        {"d", TensorType::f64, {1}},           {"e", TensorType::i64, {1}}, {"scalar", TensorType::f32, {}}};
    SafetensorsWriter writer(folder / "model.safetensors", tensors, {{"format", "pt"}}, Overwrite::no);
    writer.append_array(std::span<const float>(numbers));
    writer.append(std::as_bytes(std::span<const float>(numbers).first(2)));
    writer.append(std::as_bytes(std::span<const float>(numbers)));
    writer.append(std::as_bytes(std::span<const float>(numbers).first(1)));
    writer.publish();
    seeds.add_file("safetensors", folder / "model.safetensors");
    const json weight_map{
        {"a1", "a.safetensors"}, {"a2", "a.safetensors"}, {"b1", "b.safetensors"}, {"b2", "b.safetensors"}};
    seeds.add("safetensors_index", "index",
              json{{"metadata", {{"total_size", 16}}}, {"weight_map", weight_map}}.dump());
    for (const ModelCase& model : model_cases(24, 31, 17)) {
        std::string name = model.name;
        for (char& c : name) c = c == ' ' || c == '/' ? '-' : c;
        seeds.add("model_config", name, to_config_file(model.config));
    }
    const ModelConfig llama = model_cases(24, 31, 17)[2].config;
    LoraSettings lora;
    lora.rank = 3;
    lora.alpha = 12;
    lora.targets = parse_lora_targets("q_proj,v_proj", ModelFamily::llama);
    const std::vector<float> state = lively_weights(lora_layout(llama, lora), 4);
    write_adapter_file(folder / "adapter.safetensors", llama, lora, source_of(state), Overwrite::no);
    seeds.add("adapter", "folder",
              to_adapter_config(llama, lora, "/base") + '\0' + folder.read("adapter.safetensors"));
}

void add_ingests(const Seeds& seeds, const fs::path& data) {
    IngestJob job;
    job.document.key_field = "id";
    job.set_tokenizer(make_bytes_tokenizer(), TokenizerFile{"tokenizer.json", "", Digest{1, 2}});
    job.filter.dedup = true;
    job.filter.validation_share = 0.25;
    plan_pieces(job, {data / "compressed/lines.jsonl.gz", data / "compressed/lines.jsonl.zst"}, 10);
    seeds.add("ingest_job", "job", '\1' + job.to_json());
    DocumentOptions document;
    seeds.add("ingest_job", "record", '\0' + ingest_record_of(document, {}));
    document.score_field = "score";
    document.chat = "chatml";
    document.invalid_utf8 = InvalidUtf8::replace;
    parse_document_rule("separator:%", document);
    seeds.add("ingest_job", "record-of-all", '\0' + ingest_record_of(document, {}));
}

void add_traces(const Seeds& seeds) {
    Heartbeat beat;
    seeds.add("heartbeat", "starting", to_json_line(beat));
    beat = {0, 4, "n1", 4321, "forward", 12, 38, 456, 123.5, true, false};
    seeds.add("heartbeat", "training", to_json_line(beat));
    StepMetrics metrics;
    std::string lines;
    for (metrics.step = 0; metrics.step < 9; ++metrics.step) {
        metrics.seconds = 0.5 + static_cast<double>(metrics.step);
        metrics.tokens = 100;
        metrics.skipped = metrics.step == 4;
        if (metrics.step > 1) metrics.loss = 3.25;
        if (metrics.step > 5) metrics.cross_check_agreed = metrics.step > 6;
        lines += to_json(metrics) + "\n";
    }
    seeds.add("metrics", "whole", lines);
    seeds.add("metrics", "torn", lines.substr(0, lines.size() - 20));
    seeds.add("export_index", "other", R"({"format":5,"files":{}})");
    const TemporaryDirectory folder;
    const SmallArtifacts artifacts(folder / "artifacts", 1);
    export_columns(PlanFile::open(artifacts.plan_folder()), "torch-sampler", {}, folder / "export",
                   Overwrite::no);
    seeds.add_file("export_index", folder / "export/index.json");
}

json byte_level_file() {
    json vocabulary = json::object();
    for (unsigned b = 0; b < 256; ++b) vocabulary[mapped_bytes(std::string(1, static_cast<char>(b)))] = b;
    vocabulary["he"] = 256;
    vocabulary["ll"] = 257;
    return {{"version", "1.0"},
            {"added_tokens",
             {{{"id", 258}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", false}}}},
            {"normalizer", {{"type", "NFC"}}},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"post_processor", nullptr},
            {"decoder", {{"type", "ByteLevel"}}},
            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"h e", "l l"}}}}};
}

json word_piece_file() {
    json file = byte_level_file();
    file["normalizer"] = {{"type", "BertNormalizer"},
                          {"clean_text", true},
                          {"handle_chinese_chars", true},
                          {"strip_accents", nullptr},
                          {"lowercase", true}};
    file["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
    file["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
    file["model"] = {{"type", "WordPiece"},
                     {"unk_token", "[UNK]"},
                     {"continuing_subword_prefix", "##"},
                     {"max_input_chars_per_word", 100},
                     {"vocab", {{"[UNK]", 0}, {"he", 1}, {"##llo", 2}, {",", 3}, {"world", 4}}}};
    file["added_tokens"] = {{{"id", 0}, {"content", "[UNK]"}, {"special", true}, {"normalized", false}}};
    return file;
}

json unigram_file() {
    json file = byte_level_file();
    file["normalizer"] = {
        {"type", "Sequence"},
        {"normalizers",
         {{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}, {{"type", "Lowercase"}}}}};
    file["pre_tokenizer"] = {
        {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", true}};
    file["decoder"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}};
    file["model"] = {{"type", "Unigram"},
                     {"unk_id", 0},
                     {"byte_fallback", false},
                     {"vocab", {{"<unk>", 0.0}, {"▁", -2.0}, {"▁hello", -3.5}, {"l", -4.0}, {"o", -4.5}}}};
    file["added_tokens"] = {{{"id", 0}, {"content", "<unk>"}, {"special", true}, {"normalized", false}}};
    return file;
}

void add_tokenizers(const Seeds& seeds) {
    const std::string text = std::string(1, '\0') + "Hello <|endoftext|> w\xc3\xb6rld 123";
    seeds.add("tokenizer_json", "byte-level", byte_level_file().dump() + text);
    seeds.add("tokenizer_json", "word-piece", word_piece_file().dump() + text);
    seeds.add("tokenizer_json", "unigram", unigram_file().dump() + text);
    json split = byte_level_file();
    split["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"},
           {"pattern", {{"Regex", "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s+(?!\\S)|\\s+"}}},
           {"behavior", "Isolated"},
           {"invert", false}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    seeds.add("tokenizer_json", "split", split.dump() + text);
    std::string ranks;
    for (unsigned b = 0; b < 256; ++b)
        ranks += base64_encoded(std::string(1, static_cast<char>(b))) + " " + std::to_string(b) + "\n";
    ranks += base64_encoded("he") + " 256\n" + base64_encoded("hell") + " 257\n";
    seeds.add("tiktoken", "ranks", ranks);
    std::string model = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
    for (const char* word : {"\xe2\x96\x81", "\xe2\x96\x81h", "e", "l", "o", "ll", "llo", "w"})
        model += piece(word, -3.0F, 1);
    seeds.add("sentencepiece", "unigram", model);
    seeds.add("sentencepiece", "byte-pairs", model + field(2, std::string("\x18\x02", 2)));
}

void add_others(const Seeds& seeds) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{100}}) {
        const auto message = frame_message(std::vector<std::byte>(bytes, std::byte{7}));
        seeds.add("wire", std::to_string(bytes),
                  {reinterpret_cast<const char*>(message.data()), message.size()});
    }
    const std::vector<std::string> commands{
        "ingest\n-d\na.jsonl\n-t\nbytes\n-o\nc.h5\n--skip-bad\n3",
        "batchplan\nbuild\n-l\nc.h5\n-b\n4096\n--packs-per-step\n8\n-e\n2\n--seed\n7\n-o\nplan",
        "batchplan\nwhere\n-p\nplan\n--sample\n12",
        "train\n-p\nplan\n-d\nc.h5\n-m\nnano\n-o\nrun\n--steps\n40\n--lr\n1e-3\n--checkpoint-every\n30s",
        "resume\nrun\n--steps\n50\n--json",
        "verify\nrun",
        "checkpoint\nprune\nrun\n--keep\n3\n--dry-run",
        "run\n--hosts\na,b\n--\nmpirun\n-n\n4\nlockstep\ntrain",
        "chaos\n--kills\n5\n-o\nx\n--\nrun",
        "launch\n--print\nslurm",
        "tokenizer\ninfo\n-t\nbytes",
        "data\nbatchplan\nbuild\n--help",
        "train\nsft\n--batch-plan\nx\n--scale-exponent\n-3",
        "--version"};
    for (std::size_t i = 0; i < commands.size(); ++i) seeds.add("arguments", std::to_string(i), commands[i]);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: fuzz_seeds FOLDER DATA\n");
        return 2;
    }
    try {
        const Seeds seeds(argv[1]);
        add_documents(seeds, argv[2]);
        add_artifacts(seeds);
        add_models(seeds);
        add_tokenizers(seeds);
        add_ingests(seeds, argv[2]);
        add_traces(seeds);
        add_others(seeds);
        return 0;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "fuzz_seeds: %s\n", failure.what());
        return 1;
    }
}
