#include "tests/io/run/small_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "io/files/atomic_file.h"

namespace lockstep {

namespace fs = std::filesystem;

std::vector<LedgerRow> small_rows(std::uint64_t step_begin, std::uint64_t step_end) {
    std::vector<LedgerRow> rows;
    for (std::uint64_t step = step_begin; step < step_end; ++step) {
        for (std::uint64_t pack = 2 * step; step != 3 && pack < 2 * step + 2; ++pack) {
            rows.push_back({.step = step,
                            .pack = pack,
                            .tokens = static_cast<std::uint32_t>(100 + pack),
                            .targets = static_cast<std::uint32_t>(90 + pack),
                            .token_digest = {.low = 1000 + pack, .high = 2000 + pack},
                            .loss = 1.5 * static_cast<double>(pack) + 0.1,
                            .event = PackEvent::trained,
                            .rank = static_cast<std::uint32_t>(pack % 3),
                            .seconds = 0.25F});
        }
    }
    return rows;
}

void SmallRun::resume(const Manifest& manifest) {
    last_ = manifest;
}

LedgerSegment SmallRun::segment_until(std::uint64_t step) const {
    LedgerSegment segment;
    segment.step_begin = last_ ? last_->step : 0;
    segment.step_end = step;
    segment.plan.bytes[0] = 7;
    segment.root_before = last_ ? last_->cursor.ledger_root : empty_ledger_root();
    segment.rows = small_rows(segment.step_begin, segment.step_end);
    if (last_) segment.previous = last_->ledger_head;
    segment.root_after = segment.root_before;
    for (std::uint64_t s = segment.step_begin; s < step; ++s) {
        segment.root_after = advance_ledger_root(segment.root_after, s, small_rows(s, s + 1));
    }
    return segment;
}

float SmallRun::value(std::uint64_t step, int which, std::uint64_t element) {
    return static_cast<float>(step * 1000 + static_cast<std::uint64_t>(which) * 100 + element) + 0.5F;
}

Manifest SmallRun::commit(std::uint64_t step, int world_size) {
    Manifest manifest;
    const std::optional<LedgerSegment> segment =
        step > 0 ? std::optional<LedgerSegment>(segment_until(step)) : std::nullopt;
    manifest.step = step;
    manifest.cursor.plan.bytes[0] = 7;
    manifest.cursor.model.bytes[31] = 9;
    manifest.cursor.numerics = "fma256";
    manifest.cursor.next_step = step;
    manifest.cursor.targets_seen = 11 * step;
    manifest.cursor.scale_exponent = 42;
    manifest.cursor.clean_steps = step;
    manifest.cursor.ledger_root = segment ? segment->root_after : empty_ledger_root();
    manifest.state_digest.bytes[3] = static_cast<std::uint8_t>(step);
    manifest.state_elements = state_elements;
    if (last_) manifest.parent_step = last_->step;

    // Whole blocks of four, so that with many ranks the last slices are empty.
    const auto ranks = static_cast<std::uint64_t>(world_size);
    const std::uint64_t slice = ((state_elements + ranks - 1) / ranks + 3) / 4 * 4;
    for (int rank = 0; rank < world_size; ++rank) {
        const std::uint64_t begin = std::min(state_elements, static_cast<std::uint64_t>(rank) * slice);
        const std::uint64_t end = std::min(state_elements, begin + slice);
        std::vector<float> state[3];
        for (int which = 0; which < 3; ++which) {
            for (std::uint64_t i = begin; i < end; ++i) state[which].push_back(value(step, which, i));
        }
        manifest.shards.push_back(write_shard(generation_directory(run_, step), Rank{rank},
                                              WorldSize{world_size}, manifest.cursor, begin, state[0],
                                              state[1], state[2]));
    }
    if (segment) manifest.ledger_head = write_ledger_segment(run_ / "ledger", *segment);
    write_manifest(run_, manifest);
    last_ = manifest;
    return manifest;
}

bool holds_its_values(const fs::path& run, const Manifest& manifest) {
    const GenerationReader reader = GenerationReader::open(run, manifest);
    for (std::uint64_t piece = 1; piece <= 9; ++piece) {
        for (std::uint64_t begin = 0; begin < manifest.state_elements; begin += piece) {
            const std::uint64_t count = std::min(piece, manifest.state_elements - begin);
            std::vector<float> state[3] = {std::vector<float>(count), std::vector<float>(count),
                                           std::vector<float>(count)};
            reader.read_weights(begin, state[0]);
            reader.read_adam_m(begin, state[1]);
            reader.read_adam_v(begin, state[2]);
            for (int which = 0; which < 3; ++which) {
                for (std::uint64_t i = 0; i < count; ++i) {
                    if (state[which][i] != SmallRun::value(manifest.step, which, begin + i)) return false;
                }
            }
        }
    }
    return reader.cursor() == manifest.cursor;
}

std::map<std::string, std::string> all_files(const fs::path& run) {
    std::map<std::string, std::string> files;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(run)) {
        if (entry.is_regular_file())
            files[fs::relative(entry.path(), run).string()] = read_file(entry.path());
    }
    return files;
}

std::optional<std::uint64_t> newest_step(const fs::path& run, std::vector<std::string>* why) {
    std::vector<std::string> rejected;
    const std::optional<Manifest> newest = newest_valid_generation(run, rejected);
    if (why != nullptr) *why = rejected;
    if (!newest) return std::nullopt;
    EXPECT_TRUE(holds_its_values(run, *newest));
    return newest->step;
}

std::vector<std::uint64_t> valid_steps(const fs::path& run) {
    std::vector<std::uint64_t> steps;
    for (const GenerationStatus& generation : list_generations(run)) {
        EXPECT_EQ(generation.valid, generation.problem.empty()) << generation.problem;
        if (generation.valid) steps.push_back(generation.step);
    }
    return steps;
}

void damage(const fs::path& file) {
    std::string bytes = read_file(file);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    write_file_atomically(file, bytes, Overwrite::yes);
}

}  // namespace lockstep
