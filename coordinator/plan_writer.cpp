#include "coordinator/plan_writer.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

#include "coordinator/plan_documents.h"
#include "coordinator/plan_export.h"
#include "coordinator/plan_file.h"
#include "coordinator/plan_tokenizers.h"
#include "io/base/contract.h"
#include "io/base/digest.h"
#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/comm/agreement.h"
#include "io/files/atomic_file.h"
#include "io/files/file_system.h"
#include "io/files/posix_file.h"
#include "io/files/sealed_json.h"
#include "io/files/staged_folder.h"
#include "plan/mixture.h"
#include "plan/plan_builder.h"
#include "plan/plan_columns.h"
#include "plan/plan_stats.h"

namespace lockstep {

namespace {

using nlohmann::json;

const FolderKind& plan_folders() {
    static const FolderKind kind{
        "a plan folder",
        [](const std::filesystem::path& folder) { return std::filesystem::exists(folder / "plan.h5"); },
        [](std::string_view name) {
            constexpr std::string_view files[] = {"plan.h5", "plan.jsonl", "fingerprints.json",
                                                  "metadata.json", "stats.json"};
            return std::ranges::find(files, name) != std::end(files);
        }};
    return kind;
}

std::pair<std::string, std::string> group_and_name(const std::string& text_name) {
    const std::size_t slash = text_name.rfind('/');
    if (slash == std::string::npos) return {std::string(plan_text_group), text_name};
    return {std::string(plan_text_group) + "/" + text_name.substr(0, slash), text_name.substr(slash + 1)};
}

/// plan.h5, whose body columns grow chunk by chunk.
class BodyColumns {
  public:
    BodyColumns(const std::filesystem::path& path, const BatchPlan& head, const EpochCounts& total,
                bool targets)
        : writer_(path, std::string(plan_format), plan_format_version) {
        const bool narrow = samples_are_narrow(head.sources);
        begin("segment_sample", narrow ? ColumnType::u32 : ColumnType::u64, total.segments);
        begin("segment_offset", ColumnType::u32, total.segments);
        begin("segment_tokens", ColumnType::u32, total.segments);
        begin("pack_begin", ColumnType::u64, total.packs + 1);
        begin("pack_cost", ColumnType::u64, total.packs);
        if (targets) begin("pack_targets", ColumnType::u32, total.packs);
        if (head.options.mode == PlanMode::bucket) {
            begin("pack_bucket", ColumnType::u16, total.packs);
            begin("pack_pad_tokens", ColumnType::u32, total.packs);
        }
        begin("step_begin", ColumnType::u64, total.steps + 1);
        require_room(path);
        narrow_ = narrow;
        const std::uint64_t first = 0;
        append("pack_begin", std::span(&first, 1));
        append("step_begin", std::span(&first, 1));
    }

    void add(const PlanChunkColumns& chunk) {
        std::visit([&](auto samples) { append_samples(samples); }, chunk.segment_sample);
        append("segment_offset", chunk.segment_offset);
        append("segment_tokens", chunk.segment_tokens);
        append_offsets("pack_begin", chunk.pack_begin, segments_);
        append("pack_cost", chunk.pack_cost);
        if (chunk.pack_targets) append("pack_targets", *chunk.pack_targets);
        if (chunk.pack_bucket) append("pack_bucket", *chunk.pack_bucket);
        if (chunk.pack_pad_tokens) append("pack_pad_tokens", *chunk.pack_pad_tokens);
        append_offsets("step_begin", chunk.step_begin, packs_);
    }

    ColumnFileWriter::Published finish(const BatchPlan& head) {
        const PlanColumns columns = head_to_columns(head);
        for (const auto& [name, text] : columns.texts) {
            const auto [group, attribute] = group_and_name(name);
            writer_.attribute(group, attribute, std::string_view(text));
        }
        for (const auto& [name, column] : columns.columns) {
            std::visit(
                [&, &column_name = name](const auto& values) {
                    writer_.column("/" + column_name, std::span(values.data(), values.size()));
                },
                column);
        }
        return writer_.finish();
    }

  private:
    void begin(const std::string& name, ColumnType type, std::uint64_t rows) {
        writer_.begin_column("/" + name, type, rows);
        bytes_ += rows * column_type_bytes(type);
    }
    /// Not begun for a disk that cannot hold plan.h5; plan.jsonl, of small plans, is not counted.
    void require_room(const std::filesystem::path& path) const {
        std::uint64_t free = 0;
        if (file_system().free_bytes(path.parent_path().c_str(), free) != 0 || bytes_ <= free) return;
        throw Error(ErrorCode::io_failure, "'" + path.string() + "' would have " + std::to_string(bytes_) +
                                               " bytes, the disk has " + std::to_string(free) +
                                               " free; free some space or write elsewhere");
    }
    template <class T>
    void append(const std::string& name, std::span<const T> values) {
        writer_.append("/" + name, values);
    }
    template <class T>
    void append_samples(std::span<const T> samples) {
        if constexpr (sizeof(T) == 8) {
            if (narrow_) {
                samples_.resize(samples.size());
                for (std::size_t i = 0; i < samples.size(); ++i) {
                    samples_[i] = static_cast<std::uint32_t>(samples[i]);
                }
                append("segment_sample", std::span<const std::uint32_t>(samples_));
                return;
            }
        }
        append("segment_sample", samples);
    }
    /// Ends of a chunk's groups, counted from the plan's start.
    void append_offsets(const std::string& name, std::span<const std::uint64_t> begin, std::uint64_t& end) {
        ends_.resize(begin.size() - 1);
        for (std::size_t i = 1; i < begin.size(); ++i) ends_[i - 1] = end + (begin[i] - begin[0]);
        end += begin.back() - begin.front();
        append(name, std::span<const std::uint64_t>(ends_));
    }

    ColumnFileWriter writer_;
    bool narrow_ = true;
    std::uint64_t bytes_ = 0;  ///< Of the body.
    std::uint64_t segments_ = 0, packs_ = 0;
    std::vector<std::uint32_t> samples_;
    std::vector<std::uint64_t> ends_;
};

/// plan.jsonl, a line a pack.
class JsonLines {
  public:
    JsonLines(const std::filesystem::path& path, const BatchPlan& head, const std::vector<PlanInput>& inputs)
        : head_(head), inputs_(inputs), file_(path, O_WRONLY | O_CREAT | O_TRUNC) {}

    void add(const PlanChunkColumns& chunk) {
        text_.clear();
        const std::uint64_t epoch = head_.epoch_of(chunk.first_step);
        for (std::uint64_t step = 0; step < chunk.num_steps(); ++step) {
            const std::uint64_t begin = chunk.step_begin[step] - chunk.step_begin[0];
            const std::uint64_t end = chunk.step_begin[step + 1] - chunk.step_begin[0];
            for (std::uint64_t pack = begin; pack < end; ++pack) {
                text_ += jsonl_line_of_pack(head_, chunk, epoch, chunk.first_step + step,
                                            chunk.first_pack + pack, inputs_);
            }
        }
        const auto bytes = std::as_bytes(std::span(text_));
        file_.write(bytes);
        digest_.update(bytes);
    }

    Digest finish() {
        file_.close();
        return digest_.value();
    }

  private:
    const BatchPlan& head_;
    const std::vector<PlanInput>& inputs_;
    PosixFile file_;
    DigestStream digest_;
    std::string text_;
};

// --- Chunks between ranks ---

constexpr int chunk_tag = 311;

/// Every column of a chunk, for one who reads or writes them all.
template <class Chunk, class Visit>
void visit_columns(Chunk& chunk, Visit visit) {
    visit(chunk.step_begin);
    visit(chunk.pack_begin);
    visit(chunk.narrow_sample);
    visit(chunk.wide_sample);
    visit(chunk.segment_offset);
    visit(chunk.segment_tokens);
    visit(chunk.pack_cost);
    visit(chunk.pack_targets);
    visit(chunk.pack_bucket);
    visit(chunk.pack_pad_tokens);
}

/// Rows of the ten columns, first step, first pack; then leaf and columns.
using ChunkHeader = std::array<std::uint64_t, 12>;

/// Make this rank's chunks, one after another, and send them to rank 0.
void send_chunks(PlanBuilder& builder, Communicator& comm) {
    const auto rank = static_cast<std::uint64_t>(comm.rank().value);
    const auto ranks = static_cast<std::uint64_t>(comm.size().value);
    std::uint64_t first_chunk = 0;
    PlanChunk chunk;
    std::vector<std::byte> message;
    for (std::uint64_t epoch = 0; epoch < builder.frame().options.epochs; ++epoch) {
        builder.begin_epoch(epoch);
        for (std::uint64_t c = 0; c < builder.num_chunks(); ++c) {
            if ((first_chunk + c) % ranks != rank) continue;
            builder.make_chunk(c, chunk);
            const Fingerprint leaf = fingerprint_chunk(chunk.columns());
            ChunkHeader header{};
            std::size_t column = 0;
            message.assign(std::as_bytes(std::span(leaf.bytes)).begin(),
                           std::as_bytes(std::span(leaf.bytes)).end());
            visit_columns(chunk, [&](const auto& values) {
                header[column++] = values.size();
                const auto bytes = std::as_bytes(std::span(values));
                message.insert(message.end(), bytes.begin(), bytes.end());
            });
            header[column++] = chunk.first_step;
            header[column] = chunk.first_pack;
            comm.send(std::as_bytes(std::span(header)), Rank{0}, chunk_tag)->wait();
            comm.send(message, Rank{0}, chunk_tag)->wait();
        }
        first_chunk += builder.num_chunks();
    }
}

Fingerprint receive_chunk(Communicator& comm, Rank from, PlanChunk& chunk) {
    ChunkHeader header{};
    comm.receive(std::as_writable_bytes(std::span(header)), from, chunk_tag)->wait();
    std::size_t column = 0;
    Fingerprint leaf;
    std::size_t bytes = leaf.bytes.size();
    visit_columns(chunk, [&](auto& values) {
        values.resize(header[column++]);
        bytes += std::as_bytes(std::span(values)).size();
    });
    chunk.first_step = header[column++];
    chunk.first_pack = header[column];
    std::vector<std::byte> message(bytes);
    comm.receive(message, from, chunk_tag)->wait();
    const std::byte* at = message.data();
    const auto take = [&](std::span<std::byte> to) {
        std::copy_n(at, to.size(), to.begin());
        at += to.size();
    };
    take(std::as_writable_bytes(std::span(leaf.bytes)));
    visit_columns(chunk, [&](auto& values) { take(std::as_writable_bytes(std::span(values))); });
    return leaf;
}

}  // namespace

void require_plan_output(const std::filesystem::path& directory, Overwrite overwrite) {
    require_stageable(directory, plan_folders(), overwrite);
}

struct PlanWriter::State {
    std::optional<StagedFolder> folder;  ///< Outlives the files written in it.
    const std::vector<PlanInput>* inputs = nullptr;
    EpochCounts total;
    std::unique_ptr<BodyColumns> columns;
    std::unique_ptr<JsonLines> lines;
};

PlanWriter::PlanWriter(const std::filesystem::path& directory, const BatchPlan& head,
                       const EpochCounts& total, bool targets, const std::vector<PlanInput>& inputs,
                       WriteJsonl jsonl, Overwrite overwrite)
    : state_(std::make_unique<State>()) {
    State& s = *state_;
    s.inputs = &inputs;
    s.total = total;
    s.folder.emplace(directory, plan_folders(), overwrite);
    s.columns = std::make_unique<BodyColumns>(s.folder->path() / "plan.h5", head, total, targets);
    if (jsonl == WriteJsonl::always ||
        (jsonl == WriteJsonl::automatic && total.segments <= jsonl_segments_max)) {
        s.lines = std::make_unique<JsonLines>(s.folder->path() / "plan.jsonl", head, inputs);
    }
}

PlanWriter::~PlanWriter() = default;

void PlanWriter::add(const PlanChunkColumns& chunk) {
    state_->columns->add(chunk);
    if (state_->lines) state_->lines->add(chunk);
}

SavedPlan PlanWriter::publish(const BatchPlan& whole_head, const PlanStats& stats) {
    State& s = *state_;
    json files = {{"plan.h5", s.columns->finish(whole_head).digest_hex}};
    if (s.lines) files["plan.jsonl"] = s.lines->finish().hex();
    json fingerprints = fingerprints_of(whole_head);
    fingerprints["files"] = files;
    write_file(s.folder->path() / "fingerprints.json", seal_json(fingerprints.dump()));
    json metadata = metadata_of(whole_head, s.total);
    metadata["tokenizers"] = tokenizer_records(*s.inputs);
    write_file(s.folder->path() / "metadata.json", seal_json(metadata.dump()));
    write_file(s.folder->path() / "stats.json", stats_json(stats).dump(2) + "\n");
    s.folder->publish();
    return {s.lines != nullptr};
}

SavedPlan save_plan(const std::filesystem::path& directory, const PlanView& plan, const PlanStats& stats,
                    const std::vector<PlanInput>& inputs, WriteJsonl jsonl, Overwrite overwrite) {
    const bool targets = plan.num_chunks() > 0 && plan.chunk(0).pack_targets.has_value();
    PlanWriter writer(directory, *plan.head, {plan.num_segments, plan.num_packs, plan.num_steps()}, targets,
                      inputs, jsonl, overwrite);
    for (std::size_t index = 0; index < plan.num_chunks(); ++index) writer.add(plan.chunk(index));
    return writer.publish(*plan.head, stats);
}

SavedPlan save_plan(const std::filesystem::path& directory, const BatchPlan& plan, const PlanStats& stats,
                    const std::vector<PlanInput>& inputs, WriteJsonl jsonl, Overwrite overwrite) {
    return save_plan(directory, view_of(plan), stats, inputs, jsonl, overwrite);
}

BuiltPlanFolder build_plan_folder(const std::filesystem::path& directory, const PlanOptions& options,
                                  const std::vector<PlanInput>& inputs,
                                  std::span<const SourceLengths> lengths, WriteJsonl jsonl,
                                  Overwrite overwrite, int threads, Communicator* comm) {
    LOCKSTEP_EXPECTS(threads >= 1);
    const auto begin = std::chrono::steady_clock::now();
    BuiltPlanFolder built;
    const auto finish = [&](const SavedPlan& saved) {
        built.saved = saved;
        built.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    const int rank = comm == nullptr ? 0 : comm->rank().value;
    const int ranks = comm == nullptr ? 1 : comm->size().value;
    if (options.compat != PlanCompat::none) {  // Another system's rules make whole plans.
        if (rank != 0) return built;
        const BatchPlan plan = build_plan(options, lengths);
        built.stats = plan_stats(plan);
        finish(save_plan(directory, plan, built.stats, inputs, jsonl, overwrite));
        built.head = head_of(plan);
        return built;
    }
    std::optional<PlanBuilder> made;
    const auto prepare = [&] { made.emplace(options, lengths); };
    if (comm == nullptr) {
        prepare();
    } else {
        together(*comm, "packing", prepare);
    }
    PlanBuilder& builder = *made;
    built.head = builder.frame();
    if (rank != 0) {
        send_chunks(builder, *comm);
        return built;
    }
    PlanWriter writer(directory, built.head, builder.total(), builder.counts_targets(), inputs, jsonl,
                      overwrite);
    PlanStatsBuilder stats(builder.frame());
    // Without a mixture every epoch holds every segment once.
    const bool mixture = is_mixture(built.head.sources);
    std::vector<std::uint32_t> arrivals;
    std::vector<Fingerprint> leaves;
    std::vector<PlanChunk> chunks(static_cast<std::size_t>(threads));
    std::vector<std::future<Fingerprint>> making(chunks.size());
    std::uint64_t first_chunk = 0;  // Of the epoch.
    for (std::uint64_t epoch = 0; epoch < built.head.options.epochs; ++epoch) {
        builder.begin_epoch(epoch);
        if (epoch == 0 && mixture) arrivals = builder.arrival_tokens();
        const std::uint64_t num_chunks = builder.num_chunks();
        const auto start = [&](std::uint64_t index) {
            if (index >= num_chunks) return;
            const std::size_t slot = index % chunks.size();
            const auto maker = static_cast<int>((first_chunk + index) % static_cast<std::uint64_t>(ranks));
            if (maker != 0) {
                making[slot] = std::async(std::launch::deferred, [&, slot, maker] {
                    return receive_chunk(*comm, Rank{maker}, chunks[slot]);
                });
                return;
            }
            builder.draw_chunk(index, chunks[slot]);
            making[slot] = std::async(threads == 1 ? std::launch::deferred : std::launch::async, [&, slot] {
                builder.fill_chunk(chunks[slot]);
                return fingerprint_chunk(chunks[slot].columns());
            });
        };
        for (std::uint64_t c = 0; c < chunks.size(); ++c) start(c);
        for (std::uint64_t c = 0; c < num_chunks; ++c) {
            const std::size_t slot = c % chunks.size();
            leaves.push_back(making[slot].get());
            const PlanChunkColumns columns = chunks[slot].columns();
            writer.add(columns);
            stats.add(columns);
            start(c + chunks.size());
        }
        first_chunk += num_chunks;
    }
    built.stats =
        stats.finish(mixture ? std::span<const std::uint32_t>(arrivals) : builder.segments().tokens);
    built.head.fingerprints = fingerprint_tree(fingerprint_settings(built.head), built.head.epoch_begin,
                                               std::move(leaves), built.head.parent, built.head.from_step);
    finish(writer.publish(built.head, built.stats));
    return built;
}

}  // namespace lockstep
