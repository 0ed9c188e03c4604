#include "io/run/checkpoint.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>
#include <type_traits>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/columns/fingerprint_attribute.h"
#include "io/files/atomic_file.h"
#include "io/files/commit_hook.h"
#include "io/files/directory.h"
#include "io/run/generation_files.h"
#include "io/run/manifest_check.h"
#include "io/run/retention.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Names in the file; docs/formats/checkpoint.md describes them.
constexpr std::string_view shard_format = "lockstep-shard";
constexpr std::uint64_t shard_version = 1;

// ---- Shards ----

void write_cursor(ColumnFileWriter& writer, const Cursor& cursor) {
    write_fingerprint(writer, "/cursor", "plan", cursor.plan);
    write_fingerprint(writer, "/cursor", "model", cursor.model);
    writer.attribute("/cursor", "numerics", std::string_view(cursor.numerics));
    writer.attribute("/cursor", "next_step", cursor.next_step);
    writer.attribute("/cursor", "epoch", cursor.epoch);
    writer.attribute("/cursor", "targets_seen", cursor.targets_seen);
    writer.attribute("/cursor", "scale_exponent", cursor.scale_exponent);
    writer.attribute("/cursor", "clean_steps", cursor.clean_steps);
    writer.attribute("/cursor", "skipped_in_a_row", cursor.skipped_in_a_row);
    write_fingerprint(writer, "/cursor", "ledger_root", cursor.ledger_root);
}

Cursor read_cursor(const ColumnFile& file) {
    Cursor cursor;
    cursor.plan = read_fingerprint(file, "/cursor", "plan");
    cursor.model = read_fingerprint(file, "/cursor", "model");
    cursor.numerics = file.attribute_text("/cursor", "numerics");
    cursor.next_step = file.attribute_u64("/cursor", "next_step");
    cursor.epoch = file.attribute_u64("/cursor", "epoch");
    cursor.targets_seen = file.attribute_u64("/cursor", "targets_seen");
    cursor.scale_exponent = file.attribute_i64("/cursor", "scale_exponent");
    cursor.clean_steps = file.attribute_u64("/cursor", "clean_steps");
    cursor.skipped_in_a_row = file.attribute_u64("/cursor", "skipped_in_a_row");
    cursor.ledger_root = read_fingerprint(file, "/cursor", "ledger_root");
    return cursor;
}

template <class Value>
void expect_in_shard(const fs::path& path, const std::string& what, const Value& found,
                     const Value& expected) {
    if (found == expected) return;
    const auto text = [](const auto& value) {
        if constexpr (std::is_same_v<Value, std::string>) {
            return value;
        } else {
            return std::to_string(value);
        }
    };
    throw Error(ErrorCode::corrupt_data,
                "shard '" + path.string() + "' has " + what + " " + text(found) + ", expected " +
                    text(expected) + " as the manifest says; the file was altered, use another generation");
}

ColumnFile open_shard(const fs::path& path, const ShardName& named, const Cursor& cursor,
                      VerifyAtOpen verify) {
    if (!path_exists(path)) {
        throw Error(ErrorCode::not_found,
                    "shard '" + path.string() +
                        "' is missing, expected as the manifest names it; restore it or use "
                        "another generation");
    }
    ColumnFile file = ColumnFile::open(path, shard_format, shard_version, verify);
    expect_in_shard(path, "length", file.file_bytes(), named.file_bytes);
    expect_in_shard(path, "digest", file.digest_hex(), named.digest_hex);
    expect_in_shard(path, "slice_begin", file.attribute_u64("/", "slice_begin"), named.slice_begin);
    expect_in_shard(path, "slice_end", file.attribute_u64("/", "slice_end"), named.slice_end);
    for (const std::string_view name : {"/weights", "/adam_m", "/adam_v"}) {
        const ColumnFile::Info info = file.info(name);
        const std::uint64_t elements = info.type == ColumnType::f32 && info.width == 1 ? info.rows : 0;
        expect_in_shard(path, "elements in '" + std::string(name) + "':", elements,
                        named.slice_end - named.slice_begin);
    }
    if (read_cursor(file) != cursor) {
        throw Error(
            ErrorCode::corrupt_data,
            "shard '" + path.string() +
                "' has another cursor in its attributes, expected the manifest's; use another generation");
    }
    return file;
}

void append_in_pieces(ColumnFileWriter& writer, std::string_view name, std::span<const float> values,
                      const std::function<void()>& pause) {
    constexpr std::size_t piece_elements = std::size_t{1} << 22U;  // 16 MiB
    writer.begin_column(name, ColumnType::f32, values.size());
    while (!values.empty()) {
        if (pause) pause();
        const auto piece = values.first(std::min(values.size(), piece_elements));
        writer.append(name, piece);
        values = values.subspan(piece.size());
    }
}

// ---- Checking a generation ----

void check_ledger(LedgerChains& ledger, const Manifest& manifest) {
    Fingerprint root = empty_ledger_root();
    if (manifest.ledger_head) {
        const LedgerLink head = ledger.behind(*manifest.ledger_head).back();
        if (head.step_end != manifest.step) {
            throw Error(ErrorCode::corrupt_data, "ledger segment '" + head.name.file + "' ends before step " +
                                                     std::to_string(head.step_end) + ", expected " +
                                                     std::to_string(manifest.step) + ", the generation's");
        }
        root = head.root_after;
    }
    if (root != manifest.cursor.ledger_root) {
        throw Error(ErrorCode::corrupt_data, "the ledger's root is " + root.brief() + "…, expected " +
                                                 manifest.cursor.ledger_root.brief() +
                                                 "… as the cursor of step " + std::to_string(manifest.step) +
                                                 " says");
    }
}

}  // namespace

std::string shard_file_name(Rank rank, WorldSize world_size) {
    LOCKSTEP_EXPECTS(rank.value >= 0 && rank.value < world_size.value);
    return "shard-" + zero_padded(static_cast<std::uint64_t>(rank.value), 5) + "-of-" +
           zero_padded(static_cast<std::uint64_t>(world_size.value), 5) + ".h5";
}

ShardName write_shard(const fs::path& generation, Rank rank, WorldSize world_size, const Cursor& cursor,
                      std::uint64_t slice_begin, std::span<const float> weights,
                      std::span<const float> adam_m, std::span<const float> adam_v,
                      const std::function<void()>& pause) {
    LOCKSTEP_EXPECTS(adam_m.size() == weights.size() && adam_v.size() == weights.size());
    const std::string name = shard_file_name(rank, world_size);
    const fs::path path = generation / name;
    const std::uint64_t slice_end = slice_begin + weights.size();

    const CommitScope scope("shard");
    create_directories_durably(generation);
    if (path_exists(generation / manifest_file_name)) {
        throw Error(ErrorCode::output_exists, "generation '" + generation.string() +
                                                  "' is committed; a shard of it is never written again");
    }
    commit_point("before-write");
    // An attempt that was never committed may have left a shard of this name.
    ColumnFileWriter writer(path, std::string(shard_format), shard_version, Overwrite::yes);
    writer.attribute("/", "slice_begin", slice_begin);
    writer.attribute("/", "slice_end", slice_end);
    writer.attribute("/", "rank", static_cast<std::uint64_t>(rank.value));
    writer.attribute("/", "world_size", static_cast<std::uint64_t>(world_size.value));
    write_cursor(writer, cursor);
    append_in_pieces(writer, "/weights", weights, pause);
    append_in_pieces(writer, "/adam_m", adam_m, pause);
    append_in_pieces(writer, "/adam_v", adam_v, pause);
    const ColumnFileWriter::Published published = writer.publish();
    commit_point("published");
    return {.file = name,
            .slice_begin = slice_begin,
            .slice_end = slice_end,
            .file_bytes = published.file_bytes,
            .digest_hex = published.digest_hex};
}

void write_manifest(const fs::path& run, const Manifest& manifest) {
    const fs::path generation = generation_directory(run, manifest.step);
    const fs::path path = manifest_path(run, manifest.step);
    if (const std::string problem = problem_of(manifest); !problem.empty()) {
        throw Error(ErrorCode::bug, "manifest '" + path.string() + "': " + problem);
    }
    // What this rank cannot see it could not load either: a run directory that is not shared, say.
    for (const ShardName& shard : manifest.shards) {
        const auto file_bytes = file_bytes_of(generation / shard.file);
        if (file_bytes != shard.file_bytes) {
            throw Error(ErrorCode::io_failure,
                        "shard '" + (generation / shard.file).string() + "' " +
                            (file_bytes ? "has " + std::to_string(*file_bytes) + " bytes, expected " +
                                              std::to_string(shard.file_bytes)
                                        : "cannot be seen from rank 0") +
                            "; all ranks must write to one shared run directory");
        }
    }
    const CommitScope scope("manifest");
    commit_point("before-write");
    // The names that lead here, whichever rank made them, before the file that makes them count.
    for (const fs::path& directory : {run, run / "checkpoints", generation}) sync_directory(directory);
    write_file_atomically(path, to_json(manifest), Overwrite::no);
    commit_point("published");
}

// ---- Reading ----

struct GenerationReader::State {
    Cursor cursor;
    std::uint64_t state_elements = 0;
    struct Slice {
        std::uint64_t begin;
        std::uint64_t end;
        ColumnFile file;
    };
    std::vector<Slice> slices;  // Ascending, without empty ones.

    void read(std::string_view column, std::uint64_t begin, std::span<float> out) const;
};

void GenerationReader::State::read(std::string_view column, std::uint64_t begin, std::span<float> out) const {
    if (begin > state_elements || out.size() > state_elements - begin) {
        throw Error(ErrorCode::bug, "elements " + std::to_string(begin) + " + " + std::to_string(out.size()) +
                                        " are outside the state of " + std::to_string(state_elements));
    }
    auto slice = std::partition_point(slices.begin(), slices.end(),
                                      [begin](const Slice& s) { return s.end <= begin; });
    while (!out.empty()) {
        const std::uint64_t count = std::min<std::uint64_t>(out.size(), slice->end - begin);
        const auto values =
            slice->file.column_range<float>(column, begin - slice->begin, begin - slice->begin + count);
        std::copy(values.begin(), values.end(), out.begin());
        out = out.subspan(count);
        begin += count;
        ++slice;
    }
}

GenerationReader::GenerationReader() : state_(std::make_unique<State>()) {}
GenerationReader::~GenerationReader() = default;
GenerationReader::GenerationReader(GenerationReader&&) noexcept = default;
GenerationReader& GenerationReader::operator=(GenerationReader&&) noexcept = default;

GenerationReader GenerationReader::open(const fs::path& run, const Manifest& manifest) {
    const fs::path generation = generation_directory(run, manifest.step);
    if (const std::string problem = problem_of(manifest); !problem.empty()) {
        throw Error(ErrorCode::corrupt_data, "manifest of '" + generation.string() + "': " + problem);
    }
    GenerationReader reader;
    reader.state_->cursor = manifest.cursor;
    reader.state_->state_elements = manifest.state_elements;
    for (const ShardName& shard : manifest.shards) {
        ColumnFile file =
            open_shard(generation / shard.file, shard, manifest.cursor, VerifyAtOpen::automatic);
        if (shard.slice_begin == shard.slice_end) continue;
        reader.state_->slices.push_back({shard.slice_begin, shard.slice_end, std::move(file)});
    }
    return reader;
}

const Cursor& GenerationReader::cursor() const {
    return state_->cursor;
}
void GenerationReader::read_weights(std::uint64_t begin, std::span<float> out) const {
    state_->read("/weights", begin, out);
}
void GenerationReader::read_adam_m(std::uint64_t begin, std::span<float> out) const {
    state_->read("/adam_m", begin, out);
}
void GenerationReader::read_adam_v(std::uint64_t begin, std::span<float> out) const {
    state_->read("/adam_v", begin, out);
}

// ---- The generations of a run ----

namespace {

GenerationStatus check_generation(const fs::path& run, std::uint64_t step, LedgerChains& ledger) {
    GenerationStatus status;
    status.step = step;
    try {
        if (!path_exists(manifest_path(run, step))) {
            status.problem = "it was never committed";
            return status;
        }
        status.committed = true;
        status.manifest = read_manifest(run, step);
        check_ledger(ledger, *status.manifest);
        for (const ShardName& shard : status.manifest->shards) {
            open_shard(generation_directory(run, step) / shard.file, shard, status.manifest->cursor,
                       VerifyAtOpen::everything);
        }
        status.valid = true;
    } catch (const Error& error) {
        // A disk that cannot be read says nothing about the generation: never judge it by that.
        if (error.code() == ErrorCode::io_failure || error.code() == ErrorCode::environment) throw;
        if (!path_exists(manifest_path(run, step))) status.committed = false;  // Retired while we looked.
        status.problem = error.what();
        std::replace(status.problem.begin(), status.problem.end(), '\n', ' ');
    }
    return status;
}

/// A manifest that is sound but newer than this build: falling back behind it would abandon good work.
void refuse_newer_manifest(const fs::path& run, std::uint64_t step) {
    const fs::path path = manifest_path(run, step);
    std::string json;
    try {
        json = read_file(path);
        manifest_from_json(json, path.string());
    } catch (const Error& error) {
        if (error.code() == ErrorCode::incompatible_version && manifest_digest_holds(json)) throw;
    }
}

/// Moves things to a directory of their own under abandoned/, made when the first one comes.
class Abandoned {
  public:
    Abandoned(fs::path run, std::string reason) : run_(std::move(run)), reason_(std::move(reason)) {}

    /// `relative` names a file or directory of the run, as "ledger/steps-….h5".
    void take(const fs::path& relative) {
        if (directory_.empty()) make_directory();
        const fs::path target = directory_ / relative;
        create_directories_durably(target.parent_path());
        commit_point("before-move");
        // The directory is new, so nothing is there to be overwritten.
        rename_path(run_ / relative, target, "the run directory must be one file system, and writable");
        // The new name first: a power cut may leave both, never neither.
        sync_directory(target.parent_path());
        sync_directory((run_ / relative).parent_path());
        commit_point("moved");
    }

  private:
    void make_directory() {
        const fs::path parent = run_ / "abandoned";
        create_directories_durably(parent);
        for (std::uint64_t number = directory_entries(parent).size() + 1; directory_.empty(); ++number) {
            const fs::path candidate = parent / (zero_padded(number, 5) + "-" + reason_);
            if (path_exists(candidate)) continue;
            create_directories_durably(candidate);
            directory_ = candidate;
        }
    }

    fs::path run_;
    std::string reason_;
    fs::path directory_;
};

}  // namespace

std::vector<GenerationStatus> list_generations(const fs::path& run) {
    LedgerChains ledger(run / "ledger");
    std::vector<GenerationStatus> generations;
    for (const std::uint64_t step : generation_steps(run)) {
        generations.push_back(check_generation(run, step, ledger));
    }
    return generations;
}

std::optional<Manifest> newest_valid_generation(const fs::path& run, std::vector<std::string>& rejected) {
    LedgerChains ledger(run / "ledger");
    std::vector<std::uint64_t> steps = generation_steps(run);
    std::reverse(steps.begin(), steps.end());
    for (const std::uint64_t step : steps) {
        if (!path_exists(manifest_path(run, step))) continue;
        GenerationStatus status = check_generation(run, step, ledger);
        if (status.valid) return std::move(status.manifest);
        refuse_newer_manifest(run, step);
        rejected.push_back("generation '" + generation_directory(run, step).string() +
                           "' cannot be used: " + status.problem);
    }
    return std::nullopt;
}

void settle_run_directory(const fs::path& run, std::optional<std::uint64_t> step,
                          const std::optional<LedgerSegmentName>& head) {
    // Read the chain before anything moves: if it is broken, nothing has.
    std::set<std::string> chain;
    if (head) {
        for (const LedgerSegmentName& name : ledger_chain(run / "ledger", *head)) chain.insert(name.file);
    }
    for (const fs::path& directory : {run, run / "checkpoints", run / "ledger"})
        remove_temporaries(directory);
    std::vector<std::uint64_t> steps = generation_steps(run);
    // Whoever made or committed them may have been killed before the sync: what the run goes on from must not
    // vanish under it.
    sync_name_of(run);
    if (step) {
        for (const fs::path& directory : {generation_directory(run, *step), run / "checkpoints", run})
            sync_directory(directory);
    }
    for (const std::uint64_t s : steps) remove_temporaries(generation_directory(run, s));

    std::erase_if(steps, [&](std::uint64_t s) { return step && s <= *step; });
    std::reverse(steps.begin(), steps.end());
    // Attempts that were cut off: without a manifest nothing was committed.
    for (const std::uint64_t s : steps) {
        if (!path_exists(manifest_path(run, s))) retire_generation(run, s);
    }

    // Newest first, generations before segments: wherever this is cut off, what is left is a run.
    const CommitScope scope("settle");
    Abandoned abandoned(run, step ? "after-step-" + zero_padded(*step, 8) : "before-first-generation");
    for (const std::uint64_t s : steps) {
        if (path_exists(manifest_path(run, s))) abandoned.take(generation_directory({}, s));
    }
    std::vector<fs::path> segments = directory_entries(run / "ledger");
    std::reverse(segments.begin(), segments.end());
    for (const fs::path& segment : segments) {
        const std::string file = segment.filename().string();
        if (parse_ledger_segment_file(file) && chain.count(file) == 0)
            abandoned.take(fs::path("ledger") / file);
    }
}

}  // namespace lockstep
