#include "coordinator/plan_file.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "coordinator/plan_store.h"
#include "io/base/contract.h"
#include "io/base/error.h"
#include "plan/plan_structure.h"
#include "plan/validate_plan.h"

namespace lockstep {

PlanColumns read_plan_columns(const ColumnFile& file, PlanColumnsRead what) {
    PlanColumns columns;
    for (const ColumnFile::Attribute& attribute : file.attributes()) {
        if (!attribute.group.starts_with(plan_text_group)) continue;
        const std::string below = attribute.group.substr(plan_text_group.size());
        const std::string name = below.empty() ? attribute.name : below.substr(1) + "/" + attribute.name;
        columns.texts[name] = file.attribute_text(attribute.group, attribute.name);
    }
    for (const ColumnFile::Info& info : file.columns()) {
        const std::string name = info.name.substr(1);
        if (what == PlanColumnsRead::head && is_body_column(name)) continue;
        const auto take = [&]<class T>(T) {
            const auto values = file.column<T>(info.name);
            columns.columns[name] = std::vector<T>(values.begin(), values.end());
        };
        switch (info.type) {
            case ColumnType::u8:
                take(std::uint8_t{});
                break;
            case ColumnType::u16:
                take(std::uint16_t{});
                break;
            case ColumnType::u32:
                take(std::uint32_t{});
                break;
            case ColumnType::u64:
                take(std::uint64_t{});
                break;
            default:
                throw Error(ErrorCode::corrupt_data, "'" + file.path().string() + "': column '" + info.name +
                                                         "' has a type that plans do not use");
        }
    }
    return columns;
}

namespace {

/// Rows of `values`, the first of them number first_row, equal to `wanted`. In blocks that are compared
/// without a branch: most hold none.
template <class T>
void find_rows(std::span<const T> values, std::uint64_t wanted, std::uint64_t first_row,
               std::vector<std::uint64_t>& rows) {
    if (wanted > std::numeric_limits<T>::max()) return;
    const auto value = static_cast<T>(wanted);
    constexpr std::size_t block = 2048;
    for (std::size_t begin = 0; begin < values.size(); begin += block) {
        const std::size_t end = std::min(values.size(), begin + block);
        T any = 0;
        for (std::size_t i = begin; i < end; ++i) any = static_cast<T>(any | T{values[i] == value});
        if (any == 0) continue;
        for (std::size_t i = begin; i < end; ++i) {
            if (values[i] == value) rows.push_back(first_row + i);
        }
    }
}

}  // namespace

struct PlanFile::State {
    std::filesystem::path directory;
    ColumnFile file;
    BatchPlan head;
    std::uint64_t num_steps = 0, num_packs = 0, num_segments = 0, num_samples = 0;
    bool wide_samples = false;
    std::vector<bool> checked;  ///< (chunks) compared with their leaf.

    State(std::filesystem::path folder, ColumnFile opened)
        : directory(std::move(folder)), file(std::move(opened)) {
        const PlanColumns columns = read_plan_columns(file, PlanColumnsRead::head);
        named([&] { head = head_from_columns(columns); });
        num_steps = offsets_rows("step_begin");
        num_packs = offsets_rows("pack_begin");
        num_segments = file.info("/segment_tokens").rows;
        wide_samples = file.info("/segment_sample").type == ColumnType::u64;
        require_rows("segment_sample", num_segments);
        require_rows("segment_offset", num_segments);
        require_rows("pack_cost", num_packs);
        for (const char* name : {"pack_targets", "pack_bucket", "pack_pad_tokens"}) {
            if (has(name)) require_rows(name, num_packs);
        }
        for (const ColumnFile::Info& info : file.columns()) {
            if (info.width != 1) refuse("column '" + info.name + "' has more than one value a row");
        }
        if (wide_samples == samples_are_narrow(head.sources)) {
            refuse(std::string("column 'segment_sample' has another type: expected ") +
                   (wide_samples ? "u32" : "u64") + " for its number of samples");
        }
        named([&] { check_head_structure(head, num_steps); });
        for (const PlanSource& source : head.sources) num_samples += source.num_samples;
        check_path();
        checked.assign(head.fingerprints.chunks.size(), false);
    }

    bool has(const char* name) const { return file.has_column(std::string("/") + name); }

    std::uint64_t offsets_rows(const char* name) const {
        const std::uint64_t rows = file.info(std::string("/") + name).rows;
        if (rows == 0) refuse("column '" + std::string(name) + "' is empty");
        return rows - 1;
    }

    void require_rows(const char* name, std::uint64_t expected) const {
        const std::uint64_t found = file.info(std::string("/") + name).rows;
        if (found == expected) return;
        refuse("column '" + std::string(name) + "' has " + std::to_string(found) + " rows, expected " +
               std::to_string(expected));
    }

    /// From the leaves to the root.
    void check_path() const {
        const PlanFingerprints& stored = head.fingerprints;
        const PlanFingerprints found = fingerprint_tree(fingerprint_settings(head), head.epoch_begin,
                                                        stored.chunks, head.parent, head.from_step);
        const auto compare = [&](const std::string& what, const Fingerprint& expected,
                                 const Fingerprint& recomputed) {
            if (expected == recomputed) return;
            mismatch("fingerprint of the " + what + ": its content has " + recomputed.brief() +
                     "…, expected " + expected.brief() + "… as recorded");
        };
        compare("settings", stored.settings, found.settings);
        for (std::size_t e = 0; e < found.epochs.size(); ++e) {
            compare("epoch " + std::to_string(e), stored.epochs[e], found.epochs[e]);
        }
        compare("order", stored.order, found.order);
        compare("plan", stored.plan, found.plan);
    }

    std::string steps_of_chunk(std::size_t index) const {
        const std::vector<std::uint64_t>& begin = head.fingerprints.chunk_begin;
        return "steps " + std::to_string(begin[index]) + " to " + std::to_string(begin[index + 1] - 1);
    }

    std::span<const std::uint64_t> offsets(const std::string& steps, const std::string& column,
                                           std::uint64_t begin, std::uint64_t end, std::uint64_t rows) const {
        const auto values = file.column_range<std::uint64_t>("/" + column, begin, end + 1);
        named([&] { check_ascending(steps + ", " + column, values, begin, head.parent.has_value()); });
        if (values.back() > rows) {
            refuse(steps + ": row " + std::to_string(end) + " of " + column + " is " +
                   std::to_string(values.back()) + ", expected at most " + std::to_string(rows));
        }
        return values;
    }

    /// A chunk as the file has it: blocks have their digests and offsets ascend, no more.
    PlanChunkColumns rows(std::size_t index) const {
        const std::uint64_t begin = head.fingerprints.chunk_begin[index];
        const std::uint64_t end = head.fingerprints.chunk_begin[index + 1];
        PlanChunkColumns chunk;
        chunk.first_step = begin;
        const std::string steps = steps_of_chunk(index);
        chunk.step_begin = offsets(steps, "step_begin", begin, end, num_packs);
        const std::uint64_t pack_begin = chunk.step_begin.front();
        const std::uint64_t pack_end = chunk.step_begin.back();
        chunk.first_pack = pack_begin;
        chunk.pack_begin = offsets(steps, "pack_begin", pack_begin, pack_end, num_segments);
        const std::uint64_t segment_begin = chunk.pack_begin.front();
        const std::uint64_t segment_end = chunk.pack_begin.back();
        if (wide_samples) {
            chunk.segment_sample =
                file.column_range<std::uint64_t>("/segment_sample", segment_begin, segment_end);
        } else {
            chunk.segment_sample =
                file.column_range<std::uint32_t>("/segment_sample", segment_begin, segment_end);
        }
        chunk.segment_offset =
            file.column_range<std::uint32_t>("/segment_offset", segment_begin, segment_end);
        chunk.segment_tokens =
            file.column_range<std::uint32_t>("/segment_tokens", segment_begin, segment_end);
        chunk.pack_cost = file.column_range<std::uint64_t>("/pack_cost", pack_begin, pack_end);
        if (has("pack_targets")) {
            chunk.pack_targets = file.column_range<std::uint32_t>("/pack_targets", pack_begin, pack_end);
        }
        if (has("pack_bucket")) {
            chunk.pack_bucket = file.column_range<std::uint16_t>("/pack_bucket", pack_begin, pack_end);
        }
        if (has("pack_pad_tokens")) {
            chunk.pack_pad_tokens =
                file.column_range<std::uint32_t>("/pack_pad_tokens", pack_begin, pack_end);
        }
        return chunk;
    }

    PlanChunkColumns chunk(std::size_t index) {
        const PlanChunkColumns chunk = rows(index);
        if (!checked[index]) check_chunk(index, chunk);
        return chunk;
    }

    void check_chunk(std::size_t index, const PlanChunkColumns& chunk) {
        const std::string steps = steps_of_chunk(index);
        const Fingerprint found = fingerprint_chunk(chunk);
        const Fingerprint& expected = head.fingerprints.chunks[index];
        if (found != expected) {
            mismatch("fingerprint of " + steps + ": their content has " + found.brief() + "…, expected " +
                     expected.brief() + "… as recorded");
        }
        for (std::uint64_t s = 0; s < chunk.num_segments(); ++s) {
            const std::uint64_t last = std::uint64_t{chunk.segment_offset[s]} + chunk.segment_tokens[s];
            if (chunk.sample(s) >= num_samples || chunk.segment_tokens[s] == 0 ||
                last > std::numeric_limits<std::uint32_t>::max()) {
                refuse(steps + ": a segment of sample " + std::to_string(chunk.sample(s)) +
                       " lies outside every source");
            }
        }
        checked[index] = true;
    }

    std::vector<std::uint64_t> rows_of(std::uint64_t sample) const {
        std::vector<std::uint64_t> rows;
        // A digest block at a time, so that what was just checked is still in the cache.
        constexpr std::uint64_t rows_at_once = (std::uint64_t{1} << 20U) / sizeof(std::uint32_t);
        for (std::uint64_t begin = 0; begin < num_segments; begin += rows_at_once) {
            const std::uint64_t end = std::min(num_segments, begin + rows_at_once);
            if (wide_samples) {
                find_rows(file.column_range<std::uint64_t>("/segment_sample", begin, end), sample, begin,
                          rows);
            } else {
                find_rows(file.column_range<std::uint32_t>("/segment_sample", begin, end), sample, begin,
                          rows);
            }
        }
        return rows;
    }

    /// Last row of an offset column that is at most `value`; reads only the rows it compares.
    std::uint64_t row_holding(const char* column, std::uint64_t rows, std::uint64_t value) const {
        std::uint64_t low = 0, high = rows;
        while (high - low > 1) {
            const std::uint64_t middle = low + (high - low) / 2;
            (file.column_range<std::uint64_t>(column, middle, middle + 1)[0] <= value ? low : high) = middle;
        }
        return low;
    }

    /// Errors of checks that know nothing of files.
    template <class Check>
    void named(const Check& check) const {
        try {
            check();
        } catch (const Error& error) {
            throw Error(error.code(), "'" + file.path().string() + "': " + error.what());
        }
    }

    [[noreturn]] void refuse(const std::string& what) const {
        throw Error(ErrorCode::corrupt_data, "'" + file.path().string() + "': " + what +
                                                 "; build the plan again or take an intact copy");
    }
    [[noreturn]] void mismatch(const std::string& what) const {
        throw Error(ErrorCode::fingerprint_mismatch, "'" + file.path().string() + "': " + what +
                                                         "; build the plan again or take an intact copy");
    }
};

PlanFile::PlanFile() = default;
PlanFile::~PlanFile() = default;
PlanFile::PlanFile(PlanFile&&) noexcept = default;
PlanFile& PlanFile::operator=(PlanFile&&) noexcept = default;

PlanFile PlanFile::open(const std::filesystem::path& directory) {
    require_plan_folder(directory);
    const std::filesystem::path path = directory / "plan.h5";
    ColumnFile file = ColumnFile::open(path, plan_format, plan_format_version, VerifyAtOpen::touched_blocks);
    PlanFile plan;
    plan.state_ = std::make_unique<State>(directory, std::move(file));
    check_fingerprints_file(directory, plan.head());
    return plan;
}

const std::filesystem::path& PlanFile::directory() const {
    return state_->directory;
}
const BatchPlan& PlanFile::head() const {
    return state_->head;
}
std::uint64_t PlanFile::num_steps() const {
    return state_->num_steps;
}
std::uint64_t PlanFile::num_packs() const {
    return state_->num_packs;
}
std::uint64_t PlanFile::num_segments() const {
    return state_->num_segments;
}
std::uint64_t PlanFile::num_samples() const {
    return state_->num_samples;
}
bool PlanFile::has_targets() const {
    return state_->has("pack_targets");
}

std::uint64_t PlanFile::epoch_of(std::uint64_t step) const {
    LOCKSTEP_EXPECTS(step < num_steps());
    const std::vector<std::uint64_t>& begin = state_->head.epoch_begin;
    return static_cast<std::uint64_t>(std::upper_bound(begin.begin(), begin.end(), step) - begin.begin()) - 1;
}

std::size_t PlanFile::chunk_of_step(std::uint64_t step) const {
    return lockstep::chunk_of_step(state_->head.fingerprints, step);
}

PlanChunkColumns PlanFile::chunk(std::size_t index) const {
    return state_->chunk(index);
}

std::vector<SegmentPlace> PlanFile::find_sample(std::uint64_t sample) const {
    const State& s = *state_;
    std::vector<SegmentPlace> places;
    for (const std::uint64_t row : s.rows_of(sample)) {
        // The search reads unproven rows; the chunk it ends in is proven, and must hold the segment.
        const std::uint64_t pack = s.row_holding("/pack_begin", s.num_packs, row);
        const std::uint64_t step = s.row_holding("/step_begin", s.num_steps, pack);
        const PlanChunkColumns chunk = this->chunk(chunk_of_step(step));
        const std::uint64_t first_segment = chunk.pack_begin.front();
        const std::uint64_t last_pack = chunk.first_pack + chunk.num_packs();
        if (pack < chunk.first_pack || pack >= last_pack || row < chunk.pack_begin[pack - chunk.first_pack] ||
            row >= chunk.pack_begin[pack - chunk.first_pack + 1]) {
            s.refuse("segment " + std::to_string(row) + " is in no pack");
        }
        SegmentPlace place;
        place.epoch = epoch_of(step);
        place.step = step;
        place.pack = pack;
        const std::uint64_t begin = chunk.pack_begin[pack - chunk.first_pack];
        place.segment_in_pack = row - begin;
        for (std::uint64_t i = begin; i < row; ++i) {
            place.token_begin += chunk.segment_tokens[i - first_segment];
        }
        place.offset = chunk.segment_offset[row - first_segment];
        place.tokens = chunk.segment_tokens[row - first_segment];
        places.push_back(place);
    }
    return places;
}

PlanView PlanFile::view() const {
    return {&state_->head, state_->num_packs, state_->num_segments,
            [state = state_.get()](std::size_t index) { return state->chunk(index); }};
}

void PlanFile::validate(std::span<const SourceLengths> sources,
                        const std::function<void(const PlanChunkColumns&)>& visit) const {
    PlanView view = this->view();
    // Fingerprints come last: they would say that something differs, not what.
    view.chunk = [state = state_.get()](std::size_t index) { return state->rows(index); };
    std::optional<PlanValidation> validation;
    state_->named([&] { validation.emplace(view, sources); });
    for (std::size_t index = 0; index < view.num_chunks(); ++index) {
        const PlanChunkColumns chunk = view.chunk(index);
        state_->named([&] { validation->add(chunk); });
        if (visit) visit(chunk);
    }
    state_->named([&] { validation->finish(); });
    state_->checked.assign(view.num_chunks(), true);
}

PlanTotals prove_and_count(const PlanFile& plan) {
    PlanTotalsCount count;
    plan.validate({}, [&](const PlanChunkColumns& chunk) { count.add(chunk); });
    return count.totals();
}

void PlanFile::check_structure() const {
    const PlanView view = this->view();
    std::optional<StructureCheck> structure;
    state_->named([&] { structure.emplace(view); });
    for (std::size_t index = 0; index < view.num_chunks(); ++index) {
        const PlanChunkColumns chunk = view.chunk(index);
        state_->named([&] { structure->add(chunk); });
    }
    state_->named([&] { structure->finish(); });
}

void PlanFile::verify_everything() const {
    state_->file.verify_everything();
}

std::string PlanFile::digest_hex() const {
    return state_->file.digest_hex();
}

}  // namespace lockstep
