#include <filesystem>
#include <fstream>

#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/corpus/corpus.h"
#include "io/corpus/length_cache.h"
#include "io/files/atomic_file.h"
#include "io/files/sealed_json.h"
#include "io/run/authority.h"
#include "io/run/ledger.h"
#include "io/safetensors.h"
#include "launch/cli/invocation.h"

namespace lockstep {

namespace {

using nlohmann::ordered_json;

std::string type_name(ColumnType type) {
    switch (type) {
        case ColumnType::u8:
            return "u8";
        case ColumnType::u16:
            return "u16";
        case ColumnType::u32:
            return "u32";
        case ColumnType::u64:
            return "u64";
        case ColumnType::i32:
            return "i32";
        case ColumnType::i64:
            return "i64";
        case ColumnType::f32:
            return "f32";
        case ColumnType::f64:
            return "f64";
    }
    return "?";
}

std::string first_of(const std::string& text, std::size_t length) {
    return text.size() <= length ? text : text.substr(0, length) + "…";
}

/// What only this kind of file has to say.
void inspect_content(const Invocation& invocation, const std::string& format,
                     const std::filesystem::path& path, ordered_json& object) {
    if (format == "lockstep-corpus") {
        const Corpus corpus = Corpus::open(path);
        corpus.verify_everything();
        invocation.say("  " + with_commas(corpus.num_samples()) + " samples, " +
                       with_commas(corpus.num_tokens()) + " tokens, content " +
                       corpus.content_fingerprint().hex());
        for (const SourceFile& source : corpus.sources()) {
            invocation.say("  from '" + source.name + "', " + bytes_text(source.bytes) + ", digest " +
                           source.digest.hex());
        }
        for (const auto& [reason, count] : corpus.left_out()) {
            invocation.say("  left out: " + with_commas(count) + " (" + reason + ")");
        }
        object["samples"] = corpus.num_samples();
        object["tokens"] = corpus.num_tokens();
        object["content_fingerprint"] = corpus.content_fingerprint().hex();
    } else if (format == lengths_format) {
        const LengthCache lengths = LengthCache::open_columns(path);
        lengths.verify_everything();
        invocation.say("  " + with_commas(lengths.num_samples()) + " lengths, " +
                       with_commas(lengths.num_tokens()) + " tokens");
        object["samples"] = lengths.num_samples();
        object["tokens"] = lengths.num_tokens();
    } else if (format == "lockstep-ledger") {
        const LedgerSegment segment = read_ledger_segment_file(path);
        invocation.say("  steps " + std::to_string(segment.step_begin) + " to " +
                       std::to_string(segment.step_end) + ", " + with_commas(segment.rows.size()) +
                       " packs, root " + segment.root_after.hex());
        object["step_begin"] = segment.step_begin;
        object["step_end"] = segment.step_end;
        object["packs"] = segment.rows.size();
    }
}

int inspect_columns(const Invocation& invocation, const std::filesystem::path& path) {
    const ColumnFile file = ColumnFile::open_any(path, VerifyAtOpen::everything);
    invocation.say(file.format() + " version " + std::to_string(file.format_version()) + ", " +
                   bytes_text(file.file_bytes()) + ", every digest holds (" + file.digest_hex() + ")");
    ordered_json object = {{"file", path.string()},
                           {"format", file.format()},
                           {"format_version", file.format_version()},
                           {"file_bytes", file.file_bytes()},
                           {"digest", file.digest_hex()},
                           {"sound", true}};
    auto columns = ordered_json::array();
    for (const ColumnFile::Info& column : file.columns()) {
        const std::string shape =
            with_commas(column.rows) + (column.width > 1 ? " x " + std::to_string(column.width) : "");
        invocation.say("  " + column.name + "  " + type_name(column.type) + " [" + shape + "]");
        columns.push_back({{"name", column.name},
                           {"type", type_name(column.type)},
                           {"rows", column.rows},
                           {"width", column.width}});
    }
    auto attributes = ordered_json::array();
    for (const ColumnFile::Attribute& attribute : file.attributes()) {
        const std::string name = (attribute.group == "/" ? "" : attribute.group) + "/@" + attribute.name;
        invocation.say("  " + name + " = " + first_of(attribute.text, 100));
        attributes.push_back(
            {{"group", attribute.group}, {"name", attribute.name}, {"value", attribute.text}});
    }
    object["columns"] = columns;
    object["attributes"] = attributes;
    inspect_content(invocation, file.format(), path, object);
    invocation.give(object);
    return 0;
}

int inspect_json(const Invocation& invocation, const std::filesystem::path& path) {
    const std::string text = read_file(path);
    const auto parsed = ordered_json::parse(text, nullptr, false);
    const bool without_authority = !has_authority(path.parent_path().filename() / path.filename());
    if (!parsed.is_object())
        throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' is not a JSON object");
    if (!without_authority) unseal_json(text, path.string());
    invocation.say(path.filename().string() +
                   (without_authority ? ", a file without authority" : ", its digest holds"));
    invocation.say(parsed.dump(2));
    invocation.give({{"file", path.string()}, {"sound", true}, {"content", parsed}});
    return 0;
}

int inspect_lines(const Invocation& invocation, const std::filesystem::path& path) {
    std::ifstream file(path);
    std::uint64_t lines = 0;
    std::string line, first;
    while (std::getline(file, line)) {
        if (lines++ == 0) first = line;
        if (!ordered_json::accept(line)) {
            throw Error(ErrorCode::corrupt_data,
                        "'" + path.string() + "':" + std::to_string(lines) + ": not a JSON value");
        }
    }
    invocation.say(path.filename().string() + ": " + with_commas(lines) +
                   " lines of JSON; the first: " + first_of(first, 160));
    invocation.give({{"file", path.string()}, {"lines", lines}, {"sound", true}});
    return 0;
}

/// Not ours alone, so no digests; its header is checked against the file.
int inspect_safetensors(const Invocation& invocation, const std::filesystem::path& path) {
    const SafetensorsFile file = SafetensorsFile::open(path);
    invocation.say(path.filename().string() + ": " + with_commas(file.tensors().size()) +
                   " tensors, the header fits the file");
    auto tensors = ordered_json::array();
    for (const TensorEntry& tensor : file.tensors()) {
        invocation.say("  " + quoted_name(tensor.name) + "  " + std::string(name_of(tensor.type)) + " " +
                       shape_text(tensor.shape));
        tensors.push_back({{"name", tensor.name}, {"dtype", name_of(tensor.type)}, {"shape", tensor.shape}});
    }
    invocation.give(
        {{"file", path.string()}, {"sound", true}, {"metadata", file.metadata()}, {"tensors", tensors}});
    return 0;
}

int run_inspect(const Invocation& invocation, const std::string& argument) {
    require_one_rank("inspect");
    const std::filesystem::path path = argument;
    if (!std::filesystem::exists(path))
        throw Error(ErrorCode::not_found, "'" + argument + "' does not exist");
    if (std::filesystem::is_directory(path)) {
        if (std::filesystem::exists(path / "plan.h5")) return inspect_columns(invocation, path / "plan.h5");
        if (std::filesystem::exists(path / "run.json")) return inspect_json(invocation, path / "run.json");
        if (std::filesystem::exists(path / "manifest.json"))
            return inspect_json(invocation, path / "manifest.json");
        throw Error(ErrorCode::invalid_argument,
                    "'" + argument + "' is a folder without plan, run or generation in it");
    }
    const std::string extension = path.extension().string();
    if (extension == ".json") return inspect_json(invocation, path);
    if (extension == ".jsonl") return inspect_lines(invocation, path);
    if (extension == ".safetensors") return inspect_safetensors(invocation, path);
    return inspect_columns(invocation, path);
}

}  // namespace

void add_inspect(CLI::App& app, Invocation& invocation) {
    auto file = std::make_shared<std::string>();
    CLI::App* verb = add_verb(app, invocation, "inspect", "Look into any artifact, checking every digest",
                              "  lockstep inspect corpus.h5\n"
                              "  lockstep inspect run/checkpoints/step-00000120/shard-00000-of-00002.h5",
                              [&invocation, file] { return run_inspect(invocation, *file); });
    verb->add_option("file", *file,
                     "Corpus, plan, shard, ledger segment, manifest, run.json, safetensors, …, or a folder")
        ->required();
}

}  // namespace lockstep
