#include "coordinator/plan_export.h"

#include <fcntl.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "coordinator/npz_writer.h"
#include "io/base/error.h"
#include "io/files/file_system.h"
#include "io/files/posix_file.h"
#include "io/files/sealed_json.h"
#include "io/files/staged_folder.h"
#include "plan/shard.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr const char* export_format = "lockstep-plan-export";
constexpr std::uint64_t export_format_version = 1;
/// Files of ranks written at once; a larger world is written in several passes over the plan.
constexpr int open_files_max = 128;

/// "rank-00012.jsonl"
std::string numbered(const char* prefix, int digits, std::uint64_t number, const char* suffix) {
    std::string text = std::to_string(number);
    if (text.size() < static_cast<std::size_t>(digits)) {
        text.insert(0, static_cast<std::size_t>(digits) - text.size(), '0');
    }
    return prefix + text + suffix;
}

/// A file that is hashed while it is written, in lines or larger parts. Syncing it is the caller's.
class HashedFile {
  public:
    explicit HashedFile(std::filesystem::path path) : file_(std::move(path), O_WRONLY | O_CREAT | O_TRUNC) {}

    void write(std::span<const std::byte> bytes) {
        buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
        if (buffer_.size() >= buffer_bytes) flush();
        digest_.raw(bytes);
        bytes_ += bytes.size();
    }
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

    void close() {
        flush();
        file_.close();
        sha256_ = digest_.finish();
    }

    std::string name() const { return file_.path().filename().string(); }
    std::uint64_t bytes() const { return bytes_; }
    const Fingerprint& sha256() const { return sha256_; }

  private:
    static constexpr std::size_t buffer_bytes = std::size_t{1} << 16U;

    void flush() {
        file_.write(buffer_);
        buffer_.clear();
    }

    PosixFile file_;
    std::vector<std::byte> buffer_;
    FingerprintBuilder digest_{""};
    Fingerprint sha256_;
    std::uint64_t bytes_ = 0;
};

const FolderKind& exports() {
    static const FolderKind kind{"an export of a plan", is_plan_export, [](std::string_view name) {
                                     return name == "index.json" || name == "lockstep_plan.py" ||
                                            name.ends_with(".npy") ||
                                            (name.starts_with("step-") && name.ends_with(".npz")) ||
                                            (name.starts_with("rank-") && name.ends_with(".jsonl"));
                                 }};
    return kind;
}

/// An export while it is written, with its list of files.
class ExportFolder {
  public:
    ExportFolder(const std::filesystem::path& folder, const std::string& kind, const BatchPlan& head,
                 Overwrite overwrite)
        : folder_(folder, exports(), overwrite) {
        index_ = {{"format", export_format},
                  {"format_version", export_format_version},
                  {"kind", kind},
                  {"plan", head.fingerprints.plan.hex()},
                  {"files", json::object()}};
    }

    HashedFile file(const std::string& name) const { return HashedFile(folder_.path() / name); }
    void add(HashedFile& file) {
        file.close();
        index_["files"][file.name()] = {{"sha256", file.sha256().hex()}, {"bytes", file.bytes()}};
        ++exported_.files;
        exported_.bytes += file.bytes();
    }
    void add(const std::string& name, std::string_view content) {
        HashedFile out = file(name);
        out.write(content);
        add(out);
    }
    json& index() { return index_; }

    Exported publish() {
        write_file(folder_.path() / "index.json", seal_json(index_.dump()));
        folder_.publish();
        return exported_;
    }

  private:
    StagedFolder folder_;
    json index_;
    Exported exported_;
};

/// A step with the chunk that holds it.
struct StepAtHand {
    const PlanChunkColumns& chunk;
    std::uint64_t epoch, step;
    std::uint64_t pack_begin, pack_end;  ///< In the whole plan.
};

void for_each_step(const PlanFile& plan, std::uint64_t step_begin, std::uint64_t step_end,
                   const std::function<void(const StepAtHand&)>& deliver) {
    for (std::uint64_t step = step_begin; step < step_end;) {
        const PlanChunkColumns chunk = plan.chunk(plan.chunk_of_step(step));
        const std::uint64_t epoch = plan.epoch_of(step);
        const std::uint64_t end = std::min(step_end, chunk.first_step + chunk.num_steps());
        for (; step < end; ++step) {
            const std::uint64_t i = step - chunk.first_step;
            deliver({chunk, epoch, step, chunk.step_begin[i], chunk.step_begin[i + 1]});
        }
    }
}

struct Place {
    std::size_t source;
    std::uint64_t sample;
};
Place place_of(const BatchPlan& head, std::uint64_t sample) {
    std::size_t source = head.sources.size();
    while (source > 1 && head.sources[source - 1].sample_base > sample) --source;
    return {source - 1, sample - head.sources[source - 1].sample_base};
}

/// Segments of a pack, as rows of the chunk.
std::pair<std::uint64_t, std::uint64_t> segments_of(const PlanChunkColumns& chunk, std::uint64_t pack) {
    const std::uint64_t p = pack - chunk.first_pack;
    return {chunk.pack_begin[p] - chunk.pack_begin[0], chunk.pack_begin[p + 1] - chunk.pack_begin[0]};
}

// --- Columns as .npy ---

/// One column of known length, chunk by chunk.
template <class T>
void add_npy(ExportFolder& folder, const PlanFile& plan, const std::string& name, std::uint64_t rows,
             const std::function<void(const PlanChunkColumns&, std::vector<T>&)>& take,
             bool begins_with_zero) {
    HashedFile file = folder.file(name + ".npy");
    file.write(npy_header(npy_type<T>(), std::span(&rows, 1)));
    std::vector<T> values;
    if (begins_with_zero) values.push_back(0);
    for (std::size_t c = 0; c < plan.head().fingerprints.chunks.size(); ++c) {
        take(plan.chunk(c), values);
        file.write(std::as_bytes(std::span(values)));
        values.clear();
    }
    folder.add(file);
}

template <class T>
void append(std::vector<T>& values, std::span<const T> more) {
    values.insert(values.end(), more.begin(), more.end());
}

void add_columns(ExportFolder& folder, const PlanFile& plan) {
    const BatchPlan& head = plan.head();
    const std::uint64_t packs = plan.num_packs();
    const std::uint64_t segments = plan.num_segments();
    {
        HashedFile file = folder.file("epoch_begin.npy");
        const std::uint64_t rows = head.epoch_begin.size();
        file.write(npy_header(npy_type<std::uint64_t>(), std::span(&rows, 1)));
        file.write(std::as_bytes(std::span(head.epoch_begin)));
        folder.add(file);
    }
    add_npy<std::uint64_t>(
        folder, plan, "step_begin", plan.num_steps() + 1,
        [](const PlanChunkColumns& c, auto& out) { append(out, c.step_begin.subspan(1)); }, true);
    add_npy<std::uint64_t>(
        folder, plan, "pack_begin", packs + 1,
        [](const PlanChunkColumns& c, auto& out) { append(out, c.pack_begin.subspan(1)); }, true);
    add_npy<std::uint64_t>(
        folder, plan, "pack_cost", packs,
        [](const PlanChunkColumns& c, auto& out) { append(out, c.pack_cost); }, false);
    if (plan.has_targets()) {
        add_npy<std::uint32_t>(
            folder, plan, "pack_targets", packs,
            [](const PlanChunkColumns& c, auto& out) { append(out, *c.pack_targets); }, false);
    }
    if (head.options.mode == PlanMode::bucket) {
        add_npy<std::uint16_t>(
            folder, plan, "pack_bucket", packs,
            [](const PlanChunkColumns& c, auto& out) { append(out, *c.pack_bucket); }, false);
        add_npy<std::uint32_t>(
            folder, plan, "pack_pad_tokens", packs,
            [](const PlanChunkColumns& c, auto& out) { append(out, *c.pack_pad_tokens); }, false);
    }
    add_npy<std::uint64_t>(
        folder, plan, "segment_sample", segments,
        [](const PlanChunkColumns& c, auto& out) {
            std::visit([&](auto samples) { out.insert(out.end(), samples.begin(), samples.end()); },
                       c.segment_sample);
        },
        false);
    add_npy<std::uint32_t>(
        folder, plan, "segment_offset", segments,
        [](const PlanChunkColumns& c, auto& out) { append(out, c.segment_offset); }, false);
    add_npy<std::uint32_t>(
        folder, plan, "segment_tokens", segments,
        [](const PlanChunkColumns& c, auto& out) { append(out, c.segment_tokens); }, false);
}

json sources_json(const BatchPlan& head) {
    json sources = json::array();
    for (const PlanSource& source : head.sources) {
        sources.push_back(
            {{"name", source.name}, {"sample_base", source.sample_base}, {"samples", source.num_samples}});
    }
    return sources;
}

// --- Collated batches ---

/// The arrays of one step.
class Batch {
  public:
    Batch(const BatchPlan& head, const std::vector<PlanInput>& inputs, const StepAtHand& at)
        : head_(head), inputs_(inputs), rows_(at.pack_end - at.pack_begin) {
        for (std::uint64_t pack = at.pack_begin; pack < at.pack_end; ++pack) {
            const auto [begin, end] = segments_of(at.chunk, pack);
            std::uint64_t tokens = 0;
            for (std::uint64_t s = begin; s < end; ++s) tokens += at.chunk.segment_tokens[s];
            columns_ = std::max(columns_, tokens);
        }
        const std::uint32_t pad = inputs[0].corpus()->tokenizer().pad_id.value_or(0);
        input_ids_.assign(rows_ * columns_, static_cast<std::int32_t>(pad));
        labels_.assign(rows_ * columns_, -100);
        segment_ids_.assign(rows_ * columns_, 0);
        position_ids_.assign(rows_ * columns_, 0);
        attention_mask_.assign(rows_ * columns_, 0);
        loss_mask_.assign(rows_ * columns_, 0);
        for (std::uint64_t pack = at.pack_begin; pack < at.pack_end; ++pack) {
            add_pack(at.chunk, pack, pack - at.pack_begin);
        }
    }

    std::string npz() const {
        NpzWriter npz;
        const std::uint64_t shape[] = {rows_, columns_};
        npz.add<std::int32_t>("input_ids", input_ids_, shape);
        npz.add<std::uint8_t>("attention_mask", attention_mask_, shape);
        npz.add<std::int32_t>("segment_ids", segment_ids_, shape);
        npz.add<std::int32_t>("position_ids", position_ids_, shape);
        npz.add<std::uint8_t>("loss_mask", loss_mask_, shape);
        npz.add<std::int32_t>("labels", labels_, shape);
        npz.add("packs", packs_);
        npz.add("segment_row", segment_row_);
        npz.add("segment_begin", segment_begin_);
        npz.add("segment_sample", segment_sample_);
        npz.add("segment_offset", segment_offset_);
        return std::move(npz).finish();
    }

  private:
    void add_pack(const PlanChunkColumns& chunk, std::uint64_t pack, std::uint64_t row) {
        packs_.push_back(pack);
        const auto [begin, end] = segments_of(chunk, pack);
        std::uint64_t at = row * columns_;
        for (std::uint64_t s = begin; s < end; ++s) {
            segment_row_.push_back(static_cast<std::uint32_t>(row));
            segment_begin_.push_back(static_cast<std::uint32_t>(at - row * columns_));
            segment_sample_.push_back(chunk.sample(s));
            segment_offset_.push_back(chunk.segment_offset[s]);
            add_segment(place_of(head_, chunk.sample(s)), chunk.segment_offset[s], chunk.segment_tokens[s],
                        at, static_cast<std::int32_t>(s - begin + 1));
            at += chunk.segment_tokens[s];
        }
    }

    void add_segment(Place place, std::uint64_t offset, std::uint32_t tokens, std::uint64_t at,
                     std::int32_t number) {
        const Corpus& corpus = *inputs_[place.source].corpus();
        if (offset + tokens > corpus.sample_tokens(place.sample)) {
            throw Error(ErrorCode::corrupt_data, "the plan wants tokens up to " +
                                                     std::to_string(offset + tokens) + " of a sample of " +
                                                     std::to_string(corpus.sample_tokens(place.sample)) +
                                                     "; plan and corpus do not belong together");
        }
        ids_.resize(tokens);
        corpus.read_tokens(place.sample, offset, ids_);
        for (std::uint32_t i = 0; i < tokens; ++i) {
            input_ids_[at + i] = static_cast<std::int32_t>(ids_[i]);
            attention_mask_[at + i] = 1;
            segment_ids_[at + i] = number;
            position_ids_[at + i] = static_cast<std::int32_t>(i);
        }
        const auto train = [&](std::uint64_t begin, std::uint64_t end) {  // Segment-relative, predicted.
            for (std::uint64_t p = std::max<std::uint64_t>(begin, 1); p < end; ++p) {
                loss_mask_[at + p - 1] = 1;
                labels_[at + p - 1] = static_cast<std::int32_t>(ids_[p]);
            }
        };
        if (!corpus.has_loss_spans()) train(0, tokens);
        for (const LossSpan& span : corpus.loss_spans(place.sample)) {
            const std::uint64_t begin = std::max<std::uint64_t>(span.begin, offset);
            const std::uint64_t end = std::min<std::uint64_t>(span.end, offset + tokens);
            if (begin < end) train(begin - offset, end - offset);
        }
    }

    const BatchPlan& head_;
    const std::vector<PlanInput>& inputs_;
    std::uint64_t rows_, columns_ = 0;
    std::vector<std::int32_t> input_ids_, segment_ids_, position_ids_, labels_;
    std::vector<std::uint8_t> attention_mask_, loss_mask_;
    std::vector<std::uint64_t> packs_, segment_sample_;
    std::vector<std::uint32_t> segment_row_, segment_begin_, segment_offset_, ids_;
};

}  // namespace

bool is_plan_export(const std::filesystem::path& folder) {
    std::error_code failure;
    if (!std::filesystem::is_regular_file(folder / "index.json", failure)) return false;
    const json index = json::parse(read_file(folder / "index.json"), nullptr, false);
    return index.is_object() && index.contains("format") && index["format"] == export_format;
}

std::string jsonl_line_of_pack(const BatchPlan& head, const PlanChunkColumns& chunk, std::uint64_t epoch,
                               std::uint64_t step, std::uint64_t pack, const std::vector<PlanInput>& inputs) {
    std::string samples, packing, offsets, keys;
    std::uint64_t at = 0;
    bool any_offset = false, any_key = false;
    const auto [first, last] = segments_of(chunk, pack);
    for (std::uint64_t s = first; s < last; ++s) {
        const char* comma = s == first ? "" : ",";
        const std::uint64_t end = at + chunk.segment_tokens[s];
        samples += comma + std::to_string(chunk.sample(s));
        packing += std::string(comma) + "[" + std::to_string(at) + "," + std::to_string(end) + "]";
        offsets += comma + std::to_string(chunk.segment_offset[s]);
        any_offset = any_offset || chunk.segment_offset[s] != 0;
        if (!inputs.empty()) {
            const Place place = place_of(head, chunk.sample(s));
            const std::string key = inputs[place.source].key(place.sample);
            any_key = any_key || !key.empty();
            keys += comma + json(key).dump();
        }
        at = end;
    }
    std::string line = "{\"step\":" + std::to_string(step) + ",\"pack\":" + std::to_string(pack) +
                       ",\"epoch\":" + std::to_string(epoch) + ",\"samples\":[" + samples + "]";
    if (any_key) line += ",\"keys\":[" + keys + "]";
    line += ",\"tokens\":" + std::to_string(at) + ",\"packing\":[" + packing + "]";
    if (any_offset) line += ",\"offsets\":[" + offsets + "]";
    return line + "}\n";
}

std::string first_difference_in_jsonl(const PlanFile& plan, const std::filesystem::path& path) {
    std::ifstream lines(path);
    std::string line, difference;
    std::uint64_t number = 0;
    for_each_step(plan, 0, plan.num_steps(), [&](const StepAtHand& at) {
        for (std::uint64_t pack = at.pack_begin; pack < at.pack_end && difference.empty(); ++pack) {
            const std::string here = "step " + std::to_string(at.step) + ", pack " + std::to_string(pack);
            if (!std::getline(lines, line)) {
                difference = "it ends before " + here;
                return;
            }
            ++number;
            json found = json::parse(line, nullptr, false);
            if (found.is_object()) found.erase("keys");
            if (found != json::parse(jsonl_line_of_pack(plan.head(), at.chunk, at.epoch, at.step, pack, {})))
                difference = "line " + std::to_string(number) + " is not the plan's " + here;
        }
    });
    if (!difference.empty()) return difference;
    if (std::getline(lines, line)) return "it goes on after the plan's last step";
    return "steps and samples are the plan's, ids or spelling are not";
}

Exported export_jsonl(const PlanFile& plan, const std::vector<PlanInput>& inputs,
                      const std::filesystem::path& path, Overwrite overwrite) {
    require_writable_output(path, overwrite);
    const std::filesystem::path temporary = temporary_path(path);
    HashedFile file(temporary);
    try {
        for_each_step(plan, 0, plan.num_steps(), [&](const StepAtHand& at) {
            for (std::uint64_t pack = at.pack_begin; pack < at.pack_end; ++pack) {
                file.write(jsonl_line_of_pack(plan.head(), at.chunk, at.epoch, at.step, pack, inputs));
            }
        });
        file.close();
        publish_file(temporary, path, overwrite);
    } catch (...) {
        file_system().remove_file(temporary.c_str());
        throw;
    }
    return {1, file.bytes()};
}

Exported export_columns(const PlanFile& plan, const std::string& kind,
                        const std::vector<std::pair<std::string, std::string_view>>& readers,
                        const std::filesystem::path& folder, Overwrite overwrite) {
    ExportFolder out(folder, kind, plan.head(), overwrite);
    add_columns(out, plan);
    for (const auto& [name, text] : readers) out.add(name, text);
    out.index()["token_budget"] = plan.head().options.token_budget;
    out.index()["sources"] = sources_json(plan.head());
    return out.publish();
}

Exported export_batches(const PlanFile& plan, const std::vector<PlanInput>& inputs, std::uint64_t step_begin,
                        std::uint64_t step_end, const std::filesystem::path& folder, Overwrite overwrite) {
    ExportFolder out(folder, "npz", plan.head(), overwrite);
    for_each_step(plan, step_begin, step_end, [&](const StepAtHand& at) {
        out.add(numbered("step-", 8, at.step, ".npz"), Batch(plan.head(), inputs, at).npz());
    });
    out.index()["step_begin"] = step_begin;
    out.index()["step_end"] = step_end;
    return out.publish();
}

std::vector<ShardCounts> export_shards(const PlanFile& plan, const std::vector<PlanInput>& inputs,
                                       WorldSize world_size, const std::filesystem::path& folder,
                                       Overwrite overwrite) {
    ExportFolder out(folder, "shard", plan.head(), overwrite);
    std::vector<ShardCounts> counts(static_cast<std::size_t>(world_size.value));
    for (int first = 0; first < world_size.value; first += open_files_max) {
        const int last = std::min(world_size.value, first + open_files_max);
        std::vector<HashedFile> files;
        for (int rank = first; rank < last; ++rank) {
            files.push_back(out.file(numbered("rank-", 5, static_cast<std::uint64_t>(rank), ".jsonl")));
        }
        for_each_step(plan, 0, plan.num_steps(), [&](const StepAtHand& at) {
            const auto ranks = assign_packs(
                at.chunk.pack_cost.subspan(at.pack_begin - at.chunk.first_pack, at.pack_end - at.pack_begin),
                world_size);
            for (std::uint64_t pack = at.pack_begin; pack < at.pack_end; ++pack) {
                const int rank = ranks[pack - at.pack_begin].value;
                if (rank < first || rank >= last) continue;
                files[static_cast<std::size_t>(rank - first)].write(
                    jsonl_line_of_pack(plan.head(), at.chunk, at.epoch, at.step, pack, inputs));
                ShardCounts& count = counts[static_cast<std::size_t>(rank)];
                const auto [begin, end] = segments_of(at.chunk, pack);
                ++count.packs;
                count.segments += end - begin;
                for (std::uint64_t s = begin; s < end; ++s) count.tokens += at.chunk.segment_tokens[s];
            }
        });
        for (HashedFile& file : files) out.add(file);
    }
    json ranks = json::array();
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
        ranks.push_back({{"rank", rank},
                         {"file", numbered("rank-", 5, rank, ".jsonl")},
                         {"packs", counts[rank].packs},
                         {"segments", counts[rank].segments},
                         {"tokens", counts[rank].tokens}});
    }
    out.index()["world_size"] = world_size.value;
    out.index()["ranks"] = ranks;
    out.index()["sources"] = sources_json(plan.head());
    out.publish();
    return counts;
}

}  // namespace lockstep
