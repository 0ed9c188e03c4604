#include "io/run/ledger.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/columns/fingerprint_attribute.h"
#include "io/files/commit_hook.h"
#include "io/files/directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Names in the file; docs/formats/ledger.md describes them.
constexpr std::string_view ledger_format = "lockstep-ledger";
constexpr std::uint64_t ledger_version = 1;
constexpr std::string_view root_tag = "lockstep-ledger-v1";
constexpr std::string_view content_tag = "lockstep-ledger-content-v1";

constexpr std::size_t content_digits = 8;  // Of the content digest, in the file name.

/// The rows as the file holds them.
struct LedgerColumns {
    std::vector<std::uint64_t> step, pack;
    std::vector<std::uint32_t> tokens, targets;
    std::vector<std::uint64_t> token_digest;  // (num_rows, 2): low, high.
    std::vector<double> loss;
    std::vector<std::uint8_t> event;
    std::vector<std::uint32_t> rank;
    std::vector<float> seconds;
};

LedgerColumns columns_of(std::span<const LedgerRow> rows) {
    LedgerColumns columns;
    for (const LedgerRow& row : rows) {
        columns.step.push_back(row.step);
        columns.pack.push_back(row.pack);
        columns.tokens.push_back(row.tokens);
        columns.targets.push_back(row.targets);
        columns.token_digest.push_back(row.token_digest.low);
        columns.token_digest.push_back(row.token_digest.high);
        columns.loss.push_back(row.loss);
        columns.event.push_back(static_cast<std::uint8_t>(row.event));
        columns.rank.push_back(row.rank);
        columns.seconds.push_back(row.seconds);
    }
    return columns;
}

class ContentDigest {
  public:
    void add(std::uint64_t value) { stream_.update(std::as_bytes(std::span(&value, 1))); }
    void add(std::string_view text) { add_array(std::span(text.data(), text.size())); }
    template <class T>
    void add_array(std::span<const T> values) {
        add(static_cast<std::uint64_t>(values.size()));
        stream_.update(std::as_bytes(values));
    }
    Digest value() const { return stream_.value(); }

  private:
    DigestStream stream_;
};

/// Over all attributes and columns, observations too: equal digests, equal segments.
Digest content_digest(const LedgerSegment& segment, const LedgerColumns& columns) {
    ContentDigest digest;
    digest.add(content_tag);
    digest.add(segment.step_begin);
    digest.add(segment.step_end);
    digest.add(segment.plan.hex());
    digest.add(segment.root_before.hex());
    digest.add(segment.root_after.hex());
    digest.add(segment.previous ? std::string_view(segment.previous->file) : std::string_view());
    digest.add(segment.previous ? std::string_view(segment.previous->digest_hex) : std::string_view());
    digest.add_array(std::span<const std::uint64_t>(columns.step));
    digest.add_array(std::span<const std::uint64_t>(columns.pack));
    digest.add_array(std::span<const std::uint32_t>(columns.tokens));
    digest.add_array(std::span<const std::uint32_t>(columns.targets));
    digest.add_array(std::span<const std::uint64_t>(columns.token_digest));
    digest.add_array(std::span<const double>(columns.loss));
    digest.add_array(std::span<const std::uint8_t>(columns.event));
    digest.add_array(std::span<const std::uint32_t>(columns.rank));
    digest.add_array(std::span<const float>(columns.seconds));
    return digest.value();
}

std::string eight_digits(std::uint64_t number) {
    const std::string digits = std::to_string(number);
    return std::string(digits.size() < 8 ? 8 - digits.size() : 0, '0') + digits;
}

std::string segment_file_name(std::uint64_t step_begin, std::uint64_t step_end, const Digest& content) {
    return "steps-" + eight_digits(step_begin) + "-" + eight_digits(step_end) + "-" +
           content.hex().substr(0, content_digits) + ".h5";
}

/// Takes a decimal number of at least eight digits off the front of `text`.
std::optional<std::uint64_t> take_step(std::string_view& text) {
    std::uint64_t step = 0;
    const char* const last = text.data() + text.size();
    const auto [end, failure] = std::from_chars(text.data(), last, step);
    if (failure != std::errc() || end - text.data() < 8) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return step;
}

bool is_digest(std::string_view text) {
    return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Fingerprint root_over(const LedgerSegment& segment) {
    Fingerprint root = segment.root_before;
    auto row = segment.rows.begin();
    for (std::uint64_t step = segment.step_begin; step < segment.step_end; ++step) {
        const auto end =
            std::find_if(row, segment.rows.end(), [&](const LedgerRow& r) { return r.step != step; });
        root = advance_ledger_root(root, step, {row, end});
        row = end;
    }
    return root;
}

/// What is wrong with a segment taken by itself, or nothing.
std::string problem_of(const LedgerSegment& segment) {
    if (segment.step_begin >= segment.step_end ||
        segment.step_end - segment.step_begin > ledger_segment_steps_max) {
        return "covers steps " + std::to_string(segment.step_begin) + " to " +
               std::to_string(segment.step_end) + ", expected 1 to " +
               std::to_string(ledger_segment_steps_max) + " steps";
    }
    if (segment.previous.has_value() != (segment.step_begin > 0)) {
        return segment.previous
                   ? "begins at step 0 but names a predecessor"
                   : "begins at step " + std::to_string(segment.step_begin) + " but names no predecessor";
    }
    if (!segment.previous && segment.root_before != empty_ledger_root()) {
        return "is the first, but root_before is " + segment.root_before.brief() +
               "…, expected the empty ledger's " + empty_ledger_root().brief() + "…";
    }
    if (segment.previous) {
        const std::optional<LedgerSegmentSteps> before = parse_ledger_segment_file(segment.previous->file);
        if (!before || !is_digest(segment.previous->digest_hex)) return "names its predecessor wrongly";
        if (before->step_end != segment.step_begin) {
            return "begins at step " + std::to_string(segment.step_begin) + ", but its predecessor '" +
                   segment.previous->file + "' ends elsewhere";
        }
    }
    for (std::size_t i = 0; i < segment.rows.size(); ++i) {
        const LedgerRow& row = segment.rows[i];
        if (row.step < segment.step_begin || row.step >= segment.step_end) {
            return "row " + std::to_string(i) + " is of step " + std::to_string(row.step) + ", outside [" +
                   std::to_string(segment.step_begin) + ", " + std::to_string(segment.step_end) + ")";
        }
        if (static_cast<std::uint8_t>(row.event) > static_cast<std::uint8_t>(PackEvent::skipped_non_finite)) {
            return "row " + std::to_string(i) + " has the unknown event " +
                   std::to_string(static_cast<unsigned>(row.event));
        }
        if (i > 0 &&
            std::pair(segment.rows[i - 1].step, segment.rows[i - 1].pack) >= std::pair(row.step, row.pack)) {
            return "row " + std::to_string(i) + " (step " + std::to_string(row.step) + ", pack " +
                   std::to_string(row.pack) + ") does not follow the row before it";
        }
    }
    const Fingerprint root = root_over(segment);
    if (root != segment.root_after) {
        return "rows give root " + root.brief() + "…, but root_after is " + segment.root_after.brief() + "…";
    }
    return {};
}

[[noreturn]] void throw_corrupt(const fs::path& file, const std::string& problem) {
    throw Error(ErrorCode::corrupt_data, "ledger segment '" + file.string() + "' " + problem +
                                             "; the file was altered, restore it or use an older generation");
}

/// A column that must have one entry (of `width` values) a row.
template <class T>
std::span<const T> row_column(const ColumnFile& file, std::string_view name, std::uint64_t rows,
                              std::size_t width = 1) {
    const ColumnFile::Info info = file.info(name);
    if (info.rows != rows || info.width != width) {
        throw_corrupt(file.path(), "column '" + std::string(name) + "' has shape (" +
                                       std::to_string(info.rows) + ", " + std::to_string(info.width) +
                                       "), expected (" + std::to_string(rows) + ", " + std::to_string(width) +
                                       ")");
    }
    return file.column<T>(name);
}

std::vector<LedgerRow> rows_of(const ColumnFile& file) {
    const std::uint64_t num_rows = file.info("/step").rows;
    const auto step = row_column<std::uint64_t>(file, "/step", num_rows);
    const auto pack = row_column<std::uint64_t>(file, "/pack", num_rows);
    const auto tokens = row_column<std::uint32_t>(file, "/tokens", num_rows);
    const auto targets = row_column<std::uint32_t>(file, "/targets", num_rows);
    const auto token_digest = row_column<std::uint64_t>(file, "/token_digest", num_rows, 2);
    const auto loss = row_column<double>(file, "/loss", num_rows);
    const auto event = row_column<std::uint8_t>(file, "/event", num_rows);
    const auto rank = row_column<std::uint32_t>(file, "/observations/rank", num_rows);
    const auto seconds = row_column<float>(file, "/observations/seconds", num_rows);

    std::vector<LedgerRow> rows(num_rows);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i] = {.step = step[i],
                   .pack = pack[i],
                   .tokens = tokens[i],
                   .targets = targets[i],
                   .token_digest = {.low = token_digest[2 * i], .high = token_digest[2 * i + 1]},
                   .loss = loss[i],
                   .event = static_cast<PackEvent>(event[i]),
                   .rank = rank[i],
                   .seconds = seconds[i]};
    }
    return rows;
}

/// A segment has its steps and the digest of its content in its name. Looked at before the walk over the
/// steps, which may be many whatever the file's size.
void check_own_name(const fs::path& file, const LedgerSegment& segment) {
    const std::string name = file.filename().string();
    if (!parse_ledger_segment_file(name)) return;  // Whoever looks at a copy may call it as he likes.
    const std::string expected = segment_file_name(segment.step_begin, segment.step_end,
                                                   content_digest(segment, columns_of(segment.rows)));
    if (name != expected)
        throw_corrupt(file, "has another content than its name says, expected '" + expected + "'");
}

LedgerSegment segment_of(const ColumnFile& file) {
    file.verify_everything();
    LedgerSegment segment;
    segment.step_begin = file.attribute_u64("/", "step_begin");
    segment.step_end = file.attribute_u64("/", "step_end");
    segment.plan = read_fingerprint(file, "/", "plan");
    segment.root_before = read_fingerprint(file, "/", "root_before");
    segment.root_after = read_fingerprint(file, "/", "root_after");
    if (file.has_attribute("/", "previous_file") || file.has_attribute("/", "previous_digest")) {
        segment.previous = LedgerSegmentName{.file = file.attribute_text("/", "previous_file"),
                                             .digest_hex = file.attribute_text("/", "previous_digest")};
    }
    segment.rows = rows_of(file);
    check_own_name(file.path(), segment);
    if (const std::string problem = problem_of(segment); !problem.empty())
        throw_corrupt(file.path(), problem);
    return segment;
}

}  // namespace

Fingerprint empty_ledger_root() {
    return FingerprintBuilder(root_tag).finish();
}

Fingerprint advance_ledger_root(const Fingerprint& root, std::uint64_t step,
                                std::span<const LedgerRow> rows) {
    FingerprintBuilder builder(root_tag);
    builder.add(root).add(step).add(static_cast<std::uint64_t>(rows.size()));
    for (const LedgerRow& row : rows) {
        LOCKSTEP_EXPECTS(row.step == step);
        // Which NaN an operation returns is the machine's choice, so all of them count as one.
        const std::uint64_t loss_bits =
            std::isnan(row.loss) ? 0x7ff8000000000000U : std::bit_cast<std::uint64_t>(row.loss);
        // Field by field, so that no padding is hashed.
        std::array<std::byte, 49> bytes{};
        std::size_t used = 0;
        const auto put = [&](const auto& field) {
            std::memcpy(bytes.data() + used, &field, sizeof field);
            used += sizeof field;
        };
        put(row.step);
        put(row.pack);
        put(row.tokens);
        put(row.targets);
        put(row.token_digest.low);
        put(row.token_digest.high);
        put(loss_bits);
        put(static_cast<std::uint8_t>(row.event));
        LOCKSTEP_ENSURES(used == bytes.size());
        builder.raw(bytes);
    }
    return builder.finish();
}

std::optional<LedgerSegmentSteps> parse_ledger_segment_file(std::string_view file) {
    std::string_view rest = file;
    const auto take = [&rest](std::string_view text) {
        if (!rest.starts_with(text)) return false;
        rest.remove_prefix(text.size());
        return true;
    };
    if (!take("steps-")) return std::nullopt;
    const std::optional<std::uint64_t> begin = take_step(rest);
    if (!begin || !take("-")) return std::nullopt;
    const std::optional<std::uint64_t> end = take_step(rest);
    if (!end || !take("-") || rest.size() != content_digits + 3 || !rest.ends_with(".h5"))
        return std::nullopt;
    if (rest.find_first_not_of("0123456789abcdef") != content_digits) return std::nullopt;
    return LedgerSegmentSteps{.step_begin = *begin, .step_end = *end};
}

LedgerSegmentName write_ledger_segment(const fs::path& ledger_directory, const LedgerSegment& segment) {
    if (const std::string problem = problem_of(segment); !problem.empty()) {
        throw Error(ErrorCode::bug, "ledger segment for '" + ledger_directory.string() + "' " + problem);
    }
    const LedgerColumns columns = columns_of(segment.rows);
    const Digest content = content_digest(segment, columns);
    const std::string name = segment_file_name(segment.step_begin, segment.step_end, content);
    const fs::path path = ledger_directory / name;

    const CommitScope scope("ledger");
    create_directories_durably(ledger_directory);
    commit_point("before-write");
    if (path_exists(path)) {
        const ColumnFile present = ColumnFile::open(path, ledger_format, ledger_version);
        const LedgerSegment found = segment_of(present);
        if (content_digest(found, columns_of(found.rows)) != content) {
            throw Error(ErrorCode::output_exists, "ledger segment '" + path.string() +
                                                      "' exists with other content; move it out of the way");
        }
        // Whoever wrote it may have been killed between the rename and the sync.
        sync_directory(ledger_directory);
        return {.file = name, .digest_hex = present.digest_hex()};
    }

    ColumnFileWriter writer(path, std::string(ledger_format), ledger_version);
    writer.attribute("/", "step_begin", segment.step_begin);
    writer.attribute("/", "step_end", segment.step_end);
    write_fingerprint(writer, "/", "plan", segment.plan);
    write_fingerprint(writer, "/", "root_before", segment.root_before);
    write_fingerprint(writer, "/", "root_after", segment.root_after);
    if (segment.previous) {
        writer.attribute("/", "previous_file", std::string_view(segment.previous->file));
        writer.attribute("/", "previous_digest", std::string_view(segment.previous->digest_hex));
    }
    writer.column<std::uint64_t>("/step", columns.step);
    writer.column<std::uint64_t>("/pack", columns.pack);
    writer.column<std::uint32_t>("/tokens", columns.tokens);
    writer.column<std::uint32_t>("/targets", columns.targets);
    writer.column<std::uint64_t>("/token_digest", columns.token_digest, 2);
    writer.column<double>("/loss", columns.loss);
    writer.column<std::uint8_t>("/event", columns.event);
    writer.column<std::uint32_t>("/observations/rank", columns.rank);
    writer.column<float>("/observations/seconds", columns.seconds);
    const ColumnFileWriter::Published published = writer.publish();
    commit_point("published");
    return {.file = name, .digest_hex = published.digest_hex};
}

LedgerSegment read_ledger_segment(const fs::path& ledger_directory, const LedgerSegmentName& name) {
    const fs::path path = ledger_directory / name.file;
    if (!parse_ledger_segment_file(name.file))
        throw_corrupt(path, "has no segment's file name, expected steps-BEGIN-END-CONTENT.h5");
    if (!path_exists(path)) {
        throw Error(ErrorCode::not_found,
                    "ledger segment '" + path.string() +
                        "' is missing, expected as the manifest or the segment after it "
                        "names it; restore it or use an older generation");
    }
    const ColumnFile file = ColumnFile::open(path, ledger_format, ledger_version, VerifyAtOpen::everything);
    if (file.digest_hex() != name.digest_hex) {
        throw_corrupt(path, "has digest " + file.digest_hex() + ", expected " + name.digest_hex);
    }
    return segment_of(file);
}

LedgerSegment read_ledger_segment_file(const fs::path& file) {
    return segment_of(ColumnFile::open(file, ledger_format, ledger_version, VerifyAtOpen::everything));
}

LedgerChains::LedgerChains(fs::path ledger_directory) : ledger_directory_(std::move(ledger_directory)) {}

const LedgerLink& LedgerChains::link(const LedgerSegmentName& name) {
    const auto known = links_.find(name.file);
    if (known != links_.end() && known->second.name == name) return known->second;
    const LedgerSegment segment = read_ledger_segment(ledger_directory_, name);
    return links_[name.file] = {.name = name,
                                .step_begin = segment.step_begin,
                                .step_end = segment.step_end,
                                .root_before = segment.root_before,
                                .root_after = segment.root_after,
                                .previous = segment.previous};
}

std::vector<LedgerLink> LedgerChains::behind(const LedgerSegmentName& head) {
    std::vector<LedgerLink> chain{link(head)};
    // A segment begins after its predecessor does, so the walk ends.
    while (chain.back().previous) {
        const LedgerLink& later = chain.back();
        const LedgerLink& earlier = link(*later.previous);
        if (earlier.step_end != later.step_begin || earlier.root_after != later.root_before) {
            throw_corrupt(ledger_directory_ / later.name.file,
                          "does not continue '" + earlier.name.file + "' (root " + later.root_before.brief() +
                              "…, expected " + earlier.root_after.brief() + "…)");
        }
        chain.push_back(earlier);
    }
    std::reverse(chain.begin(), chain.end());
    return chain;
}

std::vector<LedgerSegmentName> ledger_chain(const fs::path& ledger_directory, const LedgerSegmentName& head) {
    std::vector<LedgerSegmentName> names;
    for (const LedgerLink& link : LedgerChains(ledger_directory).behind(head)) names.push_back(link.name);
    return names;
}

}  // namespace lockstep
