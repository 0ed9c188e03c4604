#include "coordinator/lazarus_files.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "io/base/error.h"
#include "io/files/posix_file.h"
#include "io/files/staged_folder.h"
#include "plan/bucketing.h"
#include "plan/dispositions.h"
#include "plan/lazarus/identity.h"
#include "plan/lazarus/plan.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view lazarus_version = "1.0";

std::string epoch_name(std::uint64_t epoch) {
    return "epoch_" + std::to_string(epoch) + ".jsonl";
}

// --- Names of samples ---

/// Users' ids by global sample number.
class SampleNames {
  public:
    SampleNames(std::vector<std::uint64_t> sample_base, const std::vector<PlanInput>& inputs)
        : sample_base_(std::move(sample_base)), inputs_(inputs) {}

    std::string operator()(std::uint64_t sample) const {
        if (!inputs_.empty()) {
            const auto after = std::upper_bound(sample_base_.begin(), sample_base_.end(), sample);
            const auto source = static_cast<std::size_t>(after - sample_base_.begin()) - 1;
            std::string key = inputs_[source].key(sample - sample_base_[source]);
            if (!key.empty()) return key;
        }
        return std::to_string(sample);
    }

  private:
    std::vector<std::uint64_t> sample_base_;
    const std::vector<PlanInput>& inputs_;
};

/// All of one value, or each in turn with commas.
template <class Range, class Text>
std::string joined(const Range& range, const Text& text) {
    std::vector<std::string> parts;
    for (const auto& element : range) parts.push_back(text(element));
    if (std::all_of(parts.begin(), parts.end(), [&](const auto& part) { return part == parts.front(); }))
        parts.resize(1);
    std::string result;
    for (const std::string& part : parts) result += (result.empty() ? "" : ",") + part;
    return result;
}

std::string dataset_hash_of(const std::vector<PlanSource>& sources) {
    return joined(sources, [](const PlanSource& source) {
        return source.corpus.empty() ? source.lengths.hex() : source.corpus.hex();
    });
}

std::string tokenizer_hash_of(const std::vector<PlanSource>& sources) {
    return joined(sources, [](const PlanSource& source) {
        if (!source.tokenizer_hash.empty()) return source.tokenizer_hash;
        return source.tokenizer.empty() ? std::string("unknown") : source.tokenizer.hex();
    });
}

// --- Export ---

void check_exportable(const BatchPlan& plan, const std::vector<PlanInput>& inputs) {
    for (const Disposition& row : plan.dispositions) {
        if (row.kind != DispositionKind::split && row.kind != DispositionKind::truncated) continue;
        throw Error(ErrorCode::invalid_argument,
                    "sample " + std::to_string(row.sample) +
                        " is split or truncated, and Lazarus has no form for a piece of a sample; build the "
                        "plan with --long drop");
    }
    if (plan.options.seed > std::numeric_limits<std::uint64_t>::max() - (plan.num_epochs() - 1)) {
        throw Error(ErrorCode::invalid_argument,
                    "seed " + std::to_string(plan.options.seed) + " and " +
                        std::to_string(plan.num_epochs()) +
                        " epochs give epoch seeds over 2^64 - 1; choose a smaller --seed");
    }
    if (inputs.empty()) return;
    if (inputs.size() != plan.sources.size()) {
        throw Error(ErrorCode::invalid_argument, "the plan has " + std::to_string(plan.sources.size()) +
                                                     " source(s), " + std::to_string(inputs.size()) +
                                                     " were given; pass one -l for each, in its order");
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        const Fingerprint found = inputs[i].lengths().source.lengths;
        if (found == plan.sources[i].lengths) continue;
        throw Error(ErrorCode::fingerprint_mismatch,
                    "source '" + plan.sources[i].name + "': the plan was built for lengths " +
                        plan.sources[i].lengths.brief() + "…, '" + inputs[i].name() + "' has " +
                        found.brief() + "…; give the file the plan was built from");
    }
}

/// Ids are unique in a source; across sources nobody has looked yet.
void check_names(const BatchPlan& plan, const std::vector<PlanInput>& inputs, const SampleNames& name) {
    if (inputs.empty() || plan.sources.size() < 2) return;
    std::unordered_set<std::string> seen;
    const std::uint64_t num_samples = plan.sources.back().sample_base + plan.sources.back().num_samples;
    for (std::uint64_t sample = 0; sample < num_samples; ++sample) {
        if (seen.insert(name(sample)).second) continue;
        throw Error(ErrorCode::invalid_argument, "two samples of the plan's sources are called '" +
                                                     name(sample) +
                                                     "'; Lazarus would take them for one, rename them");
    }
}

std::string iso_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &utc);
    return text;
}

/// Lazarus' name of the packing rule, if it has one that made these packs.
nlohmann::ordered_json pack_config_of(const PlanOptions& options) {
    const char* mode = nullptr;
    if (options.packing == PackingPolicy::first_fit) mode = "first_fit";
    if (options.packing == PackingPolicy::best_fit) mode = "best_fit";
    if (options.packing == PackingPolicy::first_fit_decreasing) mode = "greedy";
    if (options.mode == PlanMode::bucket || mode == nullptr) return nullptr;
    return {{"mode", mode},
            {"max_length", options.token_budget},
            {"pad_to_max", true},
            {"add_separator", false},
            {"separator_token_id", nullptr}};
}

std::string meta_text(const BatchPlan& plan) {
    const PlanOptions& options = plan.options;
    const bool buckets = options.mode == PlanMode::bucket;
    // The padding policies of Lazarus' two presets.
    const bool in_bucket_order =
        options.order == PackOrder::short_to_long || options.order == PackOrder::in_order;
    const nlohmann::ordered_json meta = {
        {"dataset_hash", dataset_hash_of(plan.sources)},
        {"tokenizer_hash", tokenizer_hash_of(plan.sources)},
        {"bucket_edges", options.bucket_edges},
        {"overflow_max", buckets ? options.bucket_overflow_max : options.token_budget},
        {"token_budget", options.token_budget},
        {"pad_policy", buckets && in_bucket_order ? "pad_to_bucket" : "pad_to_max"},
        {"pack_config", pack_config_of(options)},
        {"num_epochs", plan.num_epochs()},
        {"base_seed", options.seed},
        {"created_at", iso_now()},
        {"version", lazarus_version}};
    return meta.dump(2, ' ', true);
}

/// Writes the lines of an epoch; keeps count for the fingerprint.
class EpochWriter {
  public:
    EpochWriter(const BatchPlan& plan, const SampleNames& name, LazarusFingerprint& fingerprint)
        : plan_(plan),
          name_(name),
          fingerprint_(fingerprint),
          buckets_(plan.options.bucket_edges, plan.options.bucket_overflow_max) {}

    /// @return microbatches written.
    std::uint64_t write(const fs::path& path, std::uint64_t epoch) {
        PosixFile file(path, O_WRONLY | O_CREAT | O_TRUNC);
        std::string text = header(epoch);
        std::uint64_t index = 0;
        const auto flush = [&] {
            file.write(std::as_bytes(std::span(text)));
            text.clear();
        };
        for (std::uint64_t pack = first_pack(epoch); pack < first_pack(epoch + 1); ++pack) {
            if (plan_.pack_begin[pack] < plan_.pack_begin[pack + 1]) text += line(pack, index++);
            if (text.size() >= write_bytes) flush();
        }
        flush();
        file.close();
        return index;
    }

  private:
    static constexpr std::size_t write_bytes = std::size_t{1} << 16U;

    std::uint64_t first_pack(std::uint64_t epoch) const { return plan_.step_begin[plan_.epoch_begin[epoch]]; }

    std::string header(std::uint64_t epoch) const {
        std::uint64_t tokens = 0;
        std::uint64_t microbatches = 0;
        for (std::uint64_t pack = first_pack(epoch); pack < first_pack(epoch + 1); ++pack) {
            tokens += plan_.pack_tokens(pack);
            if (plan_.pack_begin[pack] < plan_.pack_begin[pack + 1]) ++microbatches;
        }
        const std::uint64_t samples =
            plan_.pack_begin[first_pack(epoch + 1)] - plan_.pack_begin[first_pack(epoch)];
        return "{\"epoch\": " + std::to_string(epoch) +
               ", \"seed\": " + std::to_string(plan_.options.seed + epoch) +
               ", \"total_samples\": " + std::to_string(samples) +
               ", \"total_tokens\": " + std::to_string(tokens) +
               ", \"num_microbatches\": " + std::to_string(microbatches) + "}\n";
    }

    std::string line(std::uint64_t pack, std::uint64_t index) {
        std::vector<std::string> ids;
        for (std::uint64_t s = plan_.pack_begin[pack]; s < plan_.pack_begin[pack + 1]; ++s)
            ids.push_back(name_(plan_.segment_sample[s]));
        fingerprint_.add_microbatch(ids);
        std::string samples;
        for (const std::string& id : ids) samples += (samples.empty() ? "" : ", ") + python_json_string(id);
        const bool in_bucket = plan_.options.mode == PlanMode::bucket;
        const std::uint16_t bucket = in_bucket ? plan_.pack_bucket[pack] : std::uint16_t{0};
        const std::uint32_t max_length = in_bucket ? buckets_.upper(bucket) : plan_.options.token_budget;
        return "{\"samples\": [" + samples + "], \"packs\": " + (in_bucket ? "null" : "[[" + samples + "]]") +
               ", \"bucket_id\": " + std::to_string(bucket) + ", \"max_len\": " + std::to_string(max_length) +
               ", \"index\": " + std::to_string(index) + "}\n";
    }

    const BatchPlan& plan_;
    const SampleNames& name_;
    LazarusFingerprint& fingerprint_;
    const LengthBuckets buckets_;
};

const FolderKind& lazarus_folders() {
    static const FolderKind kind{
        "a plan folder of Lazarus", [](const fs::path& folder) { return fs::exists(folder / "meta.json"); },
        [](std::string_view name) {
            return name == "meta.json" || (name.starts_with("epoch_") && name.ends_with(".jsonl"));
        }};
    return kind;
}

// --- Import ---

[[noreturn]] void refuse(const fs::path& file, std::uint64_t line, const std::string& what) {
    throw Error(ErrorCode::corrupt_data, file.string() + ":" + std::to_string(line) + ": " + what);
}

/// An object with exactly these fields.
json parse_object(std::string_view text, std::initializer_list<const char*> fields, const fs::path& file,
                  std::uint64_t line) {
    json object = json::parse(text.begin(), text.end(), nullptr, false);
    if (!object.is_object()) refuse(file, line, "not one JSON object; the file may be cut short");
    for (const char* field : fields) {
        if (!object.contains(field)) refuse(file, line, std::string("no '") + field + "'");
    }
    for (const auto& item : object.items()) {
        if (std::none_of(fields.begin(), fields.end(),
                         [&](const char* known) { return item.key() == known; }))
            refuse(file, line, "unknown field '" + item.key() + "'");
    }
    return object;
}

template <class Integer>
Integer integer_of(const json& value, const std::string& what, const fs::path& file, std::uint64_t line) {
    if (value.is_number_unsigned()) {
        const auto number = value.get<std::uint64_t>();
        if (number <= std::numeric_limits<Integer>::max()) return static_cast<Integer>(number);
    }
    refuse(file, line,
           "'" + what + "' must be an integer in [0, " + std::to_string(std::numeric_limits<Integer>::max()) +
               "]; found " + value.dump().substr(0, 80));
}

std::string text_of(const json& value, const std::string& what, const fs::path& file) {
    if (!value.is_string()) refuse(file, 1, "'" + what + "' must be a string; found " + value.dump());
    return value.get<std::string>();
}

struct Meta {
    PlanOptions options;
    std::string dataset_hash, tokenizer_hash;
};

Meta read_meta(const fs::path& file, std::uint32_t packs_per_step) {
    const json object =
        parse_object(read_file(file),
                     {"dataset_hash", "tokenizer_hash", "bucket_edges", "overflow_max", "token_budget",
                      "pad_policy", "pack_config", "num_epochs", "base_seed", "created_at", "version"},
                     file, 1);
    if (object.at("version") != lazarus_version) {
        throw Error(ErrorCode::incompatible_version,
                    "'" + file.string() + "' is a plan of version " + object.at("version").dump() +
                        "; this build reads \"" + std::string(lazarus_version) + "\"");
    }
    Meta meta;
    meta.dataset_hash = text_of(object.at("dataset_hash"), "dataset_hash", file);
    meta.tokenizer_hash = text_of(object.at("tokenizer_hash"), "tokenizer_hash", file);
    text_of(object.at("created_at"), "created_at", file);
    const std::string pad_policy = text_of(object.at("pad_policy"), "pad_policy", file);
    if (pad_policy != "pad_to_bucket" && pad_policy != "pad_to_max") {
        refuse(file, 1, "'pad_policy' is '" + pad_policy + "'; expected pad_to_bucket or pad_to_max");
    }
    if (!object.at("pack_config").is_null() && !object.at("pack_config").is_object())
        refuse(file, 1, "'pack_config' must be an object or null");

    PlanOptions& options = meta.options;
    options.mode = PlanMode::bucket;
    options.compat = PlanCompat::lazarus;
    options.packs_per_step = packs_per_step;
    options.token_budget = integer_of<std::uint32_t>(object.at("token_budget"), "token_budget", file, 1);
    options.bucket_overflow_max =
        integer_of<std::uint32_t>(object.at("overflow_max"), "overflow_max", file, 1);
    options.epochs = integer_of<std::uint64_t>(object.at("num_epochs"), "num_epochs", file, 1);
    options.seed = integer_of<std::uint64_t>(object.at("base_seed"), "base_seed", file, 1);
    options.bucket_edges.clear();
    if (!object.at("bucket_edges").is_array()) refuse(file, 1, "'bucket_edges' must be a list");
    for (const json& edge : object.at("bucket_edges"))
        options.bucket_edges.push_back(integer_of<std::uint32_t>(edge, "bucket_edges", file, 1));
    try {
        check_options(options);
    } catch (const Error& error) {
        refuse(file, 1, error.what());
    }
    return meta;
}

/// Exactly the epoch files that meta.json names: Lazarus takes whatever lies there.
void check_epoch_files(const fs::path& directory, std::uint64_t num_epochs) {
    std::vector<std::string> stale;
    std::uint64_t found = 0;
    for (const auto& entry : fs::directory_iterator(directory)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with("epoch_") || !name.ends_with(".jsonl")) continue;
        const std::string digits = name.substr(6, name.size() - 12);
        const bool number = !digits.empty() && digits.size() <= 10 &&
                            digits.find_first_not_of("0123456789") == std::string::npos;
        const std::uint64_t epoch = number ? std::stoull(digits) : num_epochs;
        if (epoch < num_epochs && name == epoch_name(epoch)) {
            ++found;
        } else {
            stale.push_back(name);
        }
    }
    const std::string says = "; meta.json says " + std::to_string(num_epochs) + " epoch(s)";
    if (!stale.empty()) {
        const std::string first = *std::min_element(stale.begin(), stale.end());
        throw Error(ErrorCode::corrupt_data, "'" + (directory / first).string() +
                                                 "' is not an epoch of this plan" + says +
                                                 ", remove what an earlier plan left behind");
    }
    if (found == num_epochs) return;
    std::uint64_t epoch = 0;
    while (fs::exists(directory / epoch_name(epoch))) ++epoch;
    throw Error(ErrorCode::corrupt_data,
                "'" + (directory / epoch_name(epoch)).string() + "' is missing" + says);
}

/// Reads epoch files against the samples they must hold.
class EpochReader {
  public:
    EpochReader(const PlanOptions& options, const SegmentTable& table, std::uint64_t num_samples,
                const SampleNames& name, LazarusFingerprint& fingerprint)
        : options_(options),
          table_(table),
          name_(name),
          fingerprint_(fingerprint),
          sampling_(lazarus_sampling_of(options)),
          bucket_samples_(sampling_.buckets.size(), 0) {
        sample_of_.reserve(num_samples);
        for (std::uint64_t sample = 0; sample < num_samples; ++sample) {
            if (!sample_of_.emplace(name(sample), sample).second) {
                throw Error(ErrorCode::corrupt_data, "two samples of the lengths given are called '" +
                                                         name(sample) + "'; a plan cannot tell them apart");
            }
        }
        segment_of_.assign(num_samples, none);
        for (std::uint32_t segment = 0; segment < table.size(); ++segment) {
            segment_of_[table.sample_of(segment)] = segment;
            ++bucket_samples_[sampling_.buckets.index_of(table.tokens[segment])];
        }
    }

    LazarusEpoch read(const fs::path& file, std::uint64_t epoch) {
        file_ = file;
        line_ = 0;
        epoch_ = LazarusEpoch{};
        tokens_ = 0;
        seen_.assign(table_.size(), false);
        ended_.assign(bucket_samples_.size(), false);
        const std::string text = read_file(file);
        if (text.empty()) fail("the file is empty; expected a header line");
        json header;
        for (std::size_t begin = 0; begin < text.size();) {
            const std::size_t end = std::min(text.find('\n', begin), text.size());
            const auto line = std::string_view(text).substr(begin, end - begin);
            if (++line_ == 1) {
                header = read_header(line, epoch);
            } else {
                take(line);
            }
            begin = end + 1;
        }
        line_ = 1;
        check_count(header, "num_microbatches", epoch_.num_batches());
        check_count(header, "total_samples", epoch_.samples.size());
        check_count(header, "total_tokens", tokens_);
        check_left_out();
        return std::move(epoch_);
    }

    bool drop_last() const { return drop_last_.value_or(false); }

  private:
    static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

    [[noreturn]] void fail(const std::string& what) const { refuse(file_, line_, what); }

    template <class Integer>
    Integer integer(const json& object, const char* field) const {
        return integer_of<Integer>(object.at(field), field, file_, line_);
    }

    json read_header(std::string_view line, std::uint64_t epoch) const {
        json header = parse_object(
            line, {"epoch", "seed", "total_samples", "total_tokens", "num_microbatches"}, file_, line_);
        check_count(header, "epoch", epoch);
        if (options_.seed > std::numeric_limits<std::uint64_t>::max() - epoch)
            fail("'seed': base_seed and epoch are over 2^64 - 1 together");
        check_count(header, "seed", options_.seed + epoch);
        return header;
    }

    void check_count(const json& header, const char* field, std::uint64_t expected) const {
        const auto found = integer<std::uint64_t>(header, field);
        if (found == expected) return;
        fail(std::string("'") + field + "' is " + std::to_string(found) + "; folder and lengths give " +
             std::to_string(expected));
    }

    void take(std::string_view line) {
        const json object =
            parse_object(line, {"samples", "packs", "bucket_id", "max_len", "index"}, file_, line_);
        if (!object.at("packs").is_null()) {
            fail("'packs' is not null; only plans of buckets, as Lazarus builds them, can be imported");
        }
        const auto bucket = integer<std::uint16_t>(object, "bucket_id");
        if (bucket >= bucket_samples_.size()) {
            fail("'bucket_id' is " + std::to_string(bucket) + "; there are " +
                 std::to_string(bucket_samples_.size()) + " buckets");
        }
        const auto pad_to = static_cast<std::uint64_t>(sampling_.buckets.pad_to(bucket));
        if (integer<std::uint64_t>(object, "max_len") != pad_to) {
            fail("'max_len' is " + object.at("max_len").dump() + "; bucket " + std::to_string(bucket) +
                 " pads to " + std::to_string(pad_to));
        }
        if (integer<std::uint64_t>(object, "index") != epoch_.num_batches()) {
            fail("'index' is " + object.at("index").dump() + "; expected " +
                 std::to_string(epoch_.num_batches()) + ", lines are missing or out of order");
        }
        const json& samples = object.at("samples");
        if (!samples.is_array()) fail("'samples' must be a list");
        check_size(bucket, samples.size());
        std::vector<std::string> ids;
        for (const json& sample : samples) {
            if (!sample.is_string())
                fail("'samples' must hold strings; found " + sample.dump().substr(0, 80));
            ids.push_back(sample.get<std::string>());
            take_sample(ids.back(), bucket);
        }
        fingerprint_.add_microbatch(ids);
        epoch_.batch_begin.push_back(epoch_.samples.size());
        epoch_.batch_bucket.push_back(bucket);
    }

    void check_size(std::uint16_t bucket, std::size_t samples) {
        const std::uint64_t capacity = sampling_.capacity(bucket);
        if (samples == 0 || samples > capacity) {
            fail(std::to_string(samples) + " samples; a batch of bucket " + std::to_string(bucket) +
                 " holds 1 to " + std::to_string(capacity));
        }
        if (ended_[bucket]) {
            fail("a batch of bucket " + std::to_string(bucket) +
                 " after its short one; only a bucket's last " + "batch may be short");
        }
        ended_[bucket] = samples < capacity;
    }

    void take_sample(const std::string& id, std::uint16_t bucket) {
        const auto found = sample_of_.find(id);
        if (found == sample_of_.end()) fail("sample '" + id + "' is not in the lengths given");
        const std::uint32_t segment = segment_of_[found->second];
        if (segment == none) {
            fail("sample '" + id + "' is empty or longer than overflow_max, " +
                 std::to_string(options_.bucket_overflow_max) + "; Lazarus plans neither");
        }
        if (seen_[segment]) fail("sample '" + id + "' comes twice in this epoch");
        seen_[segment] = true;
        const std::uint32_t tokens = table_.tokens[segment];
        if (sampling_.buckets.index_of(tokens) != bucket) {
            fail("sample '" + id + "' has " + std::to_string(tokens) +
                 " tokens by the lengths given, which is " + "bucket " +
                 std::to_string(sampling_.buckets.index_of(tokens)) + "; found in " + std::to_string(bucket));
        }
        tokens_ += tokens;
        epoch_.samples.push_back(segment);
    }

    /// Nothing is left out, or in every bucket just what fills no batch; the same in all epochs.
    void check_left_out() {
        if (!drop_last_) drop_last_ = epoch_.samples.size() < table_.size();
        std::vector<std::uint64_t> left_out = bucket_samples_;
        for (const std::uint32_t segment : epoch_.samples)
            --left_out[sampling_.buckets.index_of(table_.tokens[segment])];
        for (std::uint16_t bucket = 0; bucket < left_out.size(); ++bucket) {
            const std::uint64_t expected =
                *drop_last_ ? bucket_samples_[bucket] % sampling_.capacity(bucket) : 0;
            if (left_out[bucket] == expected) continue;
            std::uint32_t segment = 0;
            while (segment + 1 < table_.size() &&
                   (seen_[segment] || sampling_.buckets.index_of(table_.tokens[segment]) != bucket)) {
                ++segment;
            }
            fail(std::to_string(left_out[bucket]) + " samples of bucket " + std::to_string(bucket) +
                 " are missing (" + (*drop_last_ ? "drop_last leaves out " : "expected ") +
                 std::to_string(expected) + ")" +
                 (seen_[segment] ? std::string() : ", first '" + name_(table_.sample_of(segment)) + "'"));
        }
    }

    const PlanOptions& options_;
    const SegmentTable& table_;
    const SampleNames& name_;
    LazarusFingerprint& fingerprint_;
    const LazarusSampling sampling_;
    std::unordered_map<std::string, std::uint64_t> sample_of_;  ///< Looked up, never walked.
    std::vector<std::uint32_t> segment_of_;                     ///< (samples) row of the table, or none.
    std::vector<std::uint64_t> bucket_samples_;
    std::optional<bool> drop_last_;  ///< Found with the first epoch.

    fs::path file_;
    std::uint64_t line_ = 0;
    LazarusEpoch epoch_;
    std::uint64_t tokens_ = 0;
    std::vector<bool> seen_;   ///< (rows of the table) in this epoch.
    std::vector<bool> ended_;  ///< (buckets) had a short batch.
};

void check_tokenizer(const Meta& meta, const std::vector<PlanSource>& sources) {
    const std::string given = tokenizer_hash_of(sources);
    const auto known = [](const std::string& hash) { return !hash.empty() && hash != "unknown"; };
    if (!known(meta.tokenizer_hash) || !known(given) || meta.tokenizer_hash == given) return;
    throw Error(ErrorCode::fingerprint_mismatch, "the plan was built for tokenizer '" + meta.tokenizer_hash +
                                                     "', the lengths given are of '" + given +
                                                     "'; give the lengths the plan was built from");
}

bool is_reproduced(const BatchPlan& plan, std::span<const SourceLengths> lengths) {
    try {
        const BatchPlan built = build_lazarus_plan(plan.options, lengths);
        return built.segment_sample == plan.segment_sample && built.pack_begin == plan.pack_begin;
    } catch (const Error&) {
        return false;
    }
}

}  // namespace

LazarusExport export_lazarus(const BatchPlan& plan, const std::vector<PlanInput>& inputs,
                             const fs::path& directory, Overwrite overwrite) {
    check_exportable(plan, inputs);
    std::vector<std::uint64_t> sample_base;
    for (const PlanSource& source : plan.sources) sample_base.push_back(source.sample_base);
    const SampleNames name(std::move(sample_base), inputs);
    check_names(plan, inputs, name);

    StagedFolder folder(directory, lazarus_folders(), overwrite);
    LazarusFingerprint fingerprint(dataset_hash_of(plan.sources), tokenizer_hash_of(plan.sources),
                                   plan.options.seed);
    LazarusExport result;
    result.epochs = plan.num_epochs();
    EpochWriter writer(plan, name, fingerprint);
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch)
        result.microbatches += writer.write(folder.path() / epoch_name(epoch), epoch);
    write_file(folder.path() / "meta.json", meta_text(plan));
    folder.publish();
    result.fingerprint = fingerprint.finish();
    return result;
}

LazarusImport import_lazarus(const fs::path& directory, const std::vector<PlanInput>& inputs,
                             std::uint32_t packs_per_step) {
    if (inputs.empty())
        throw Error(ErrorCode::invalid_argument,
                    "an import needs -l FILE: the lengths of the plan's samples");
    if (packs_per_step < 1)
        throw Error(ErrorCode::invalid_argument, "packs per step is 0; expected at least 1");
    if (!fs::is_directory(directory)) {
        throw Error(ErrorCode::not_found,
                    "plan folder '" + directory.string() + "' does not exist; name the one with meta.json");
    }
    Meta meta = read_meta(directory / "meta.json", packs_per_step);
    check_epoch_files(directory, meta.options.epochs);

    std::vector<SourceLengths> lengths;
    std::vector<PlanSource> sources;
    std::vector<std::uint64_t> sample_base;
    std::uint64_t num_samples = 0;
    for (const PlanInput& input : inputs) {
        lengths.push_back(input.lengths());
        sources.push_back(lengths.back().source);
        sample_base.push_back(num_samples);
        num_samples += lengths.back().sample_tokens.size();
    }
    check_tokenizer(meta, sources);

    PlanOptions options = effective_options(meta.options);
    Fates fates = decide_fates(options, lengths);
    const SampleNames name(std::move(sample_base), inputs);
    LazarusFingerprint fingerprint(meta.dataset_hash, meta.tokenizer_hash, options.seed);
    std::vector<LazarusEpoch> epochs;
    bool ascending = true;
    {
        EpochReader reader(options, fates.segments, num_samples, name, fingerprint);
        for (std::uint64_t e = 0; e < options.epochs; ++e) {
            epochs.push_back(reader.read(directory / epoch_name(e), e));
            const auto& bucket = epochs.back().batch_bucket;
            ascending = ascending && std::is_sorted(bucket.begin(), bucket.end());
        }
        options.drop_last = reader.drop_last();
    }
    options.order = ascending ? PackOrder::short_to_long : PackOrder::buckets_interleaved;

    LazarusImport result;
    result.plan = assemble_lazarus_plan(
        options, {"segments=overlap-split/1", "targets=loss-spans/1", "import=lazarus/1", "balance=none/1"},
        lengths, std::move(fates), [&](std::uint64_t epoch) { return std::move(epochs[epoch]); });
    result.fingerprint = fingerprint.finish();
    result.drop_last = options.drop_last;
    result.reproduced = is_reproduced(result.plan, lengths);
    result.dataset_hash = std::move(meta.dataset_hash);
    result.tokenizer_hash = std::move(meta.tokenizer_hash);
    return result;
}

}  // namespace lockstep
