// Layout of the columns and texts: docs/formats/plan.md.

#include "plan/plan_columns.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <type_traits>
#include <utility>

#include "io/base/error.h"
#include "plan/plan_structure.h"

namespace lockstep {

namespace {

using Json = nlohmann::json;

constexpr std::uint64_t plan_columns_version = 3;

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "plan: " + what + "; build it again or take an intact copy");
}

// --- Texts ---

std::string hex_or_nothing(const Fingerprint& fingerprint) {
    return fingerprint.empty() ? std::string() : fingerprint.hex();
}

const std::string& text_of(const PlanColumns& columns, const std::string& name) {
    const auto found = columns.texts.find(name);
    if (found == columns.texts.end()) refuse("text '" + name + "' is missing");
    return found->second;
}

Fingerprint fingerprint_of(const PlanColumns& columns, const std::string& name, bool may_be_empty) {
    const std::string& text = text_of(columns, name);
    if (text.empty() && may_be_empty) return {};
    try {
        return Fingerprint::from_hex(text);
    } catch (const Error& error) {
        refuse("text '" + name + "': " + error.what());
    }
}

std::uint64_t number_of(const PlanColumns& columns, const std::string& name) {
    const std::string& text = text_of(columns, name);
    std::uint64_t value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || end != text.data() + text.size()) {
        refuse("text '" + name + "' is '" + text.substr(0, 40) + "'; expected a number");
    }
    return value;
}

// --- Options ---

/// Reads options from their JSON; every key is required, and the text must be the one we would write.
class OptionsReader {
  public:
    explicit OptionsReader(const std::string& text)
        : text_(text), object_(Json::parse(text, nullptr, false)) {
        if (!object_.is_object()) refuse("text 'options' is not a JSON object");
    }

    PlanOptions read() const {
        PlanOptions options;
        options.balance = flag("balance");
        options.bucket_edges.clear();
        for (const Json& edge : list("bucket_edges")) {
            options.bucket_edges.push_back(integer<std::uint32_t>(edge, "bucket_edges"));
        }
        options.bucket_overflow_max = number<std::uint32_t>("bucket_overflow_max");
        const Json& cost = list("cost");
        if (cost.size() != 2)
            refuse("option 'cost' has " + std::to_string(cost.size()) + " numbers; expected 2");
        options.cost = {integer<std::uint64_t>(cost[0], "cost"), integer<std::uint64_t>(cost[1], "cost")};
        options.compat = choice("compat", parse_plan_compat);
        options.drop_last = flag("drop_last");
        options.epochs = number<std::uint64_t>("epochs");
        options.long_policy = choice("long", parse_long_policy);
        options.mode = choice("mode", parse_plan_mode);
        options.order = choice("order", parse_pack_order);
        options.packing = choice("packing", parse_packing_policy);
        options.packs_per_step = number<std::uint32_t>("packs_per_step");
        options.predictable = flag("predictable");
        options.seed = number<std::uint64_t>("seed");
        options.segments_per_pack_max = number<std::uint32_t>("segments_per_pack_max");
        options.stages = number<std::uint32_t>("stages");
        options.token_budget = number<std::uint32_t>("token_budget");
        if (text_of_options(options) != text_) {
            refuse("text 'options' has an option this build does not know, or is not in canonical form");
        }
        return options;
    }

  private:
    const Json& field(const char* key) const {
        const auto found = object_.find(key);
        if (found == object_.end()) refuse(std::string("option '") + key + "' is missing");
        return *found;
    }
    bool flag(const char* key) const {
        const Json& value = field(key);
        if (!value.is_boolean()) refuse(std::string("option '") + key + "' is not true or false");
        return value.get<bool>();
    }
    const Json& list(const char* key) const {
        const Json& value = field(key);
        if (!value.is_array()) refuse(std::string("option '") + key + "' is not a list");
        return value;
    }
    template <class T>
    static T integer(const Json& value, const char* key) {
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() > std::numeric_limits<T>::max()) {
            refuse(std::string("option '") + key + "' is not an integer in its range");
        }
        return value.get<T>();
    }
    template <class T>
    T number(const char* key) const {
        return integer<T>(field(key), key);
    }
    template <class Parse>
    auto choice(const char* key, Parse parse) const -> decltype(parse(std::string_view{})) {
        const Json& value = field(key);
        if (!value.is_string()) refuse(std::string("option '") + key + "' is not a name");
        try {
            return parse(value.get_ref<const std::string&>());
        } catch (const Error& error) {
            refuse(std::string("option '") + key + "': " + error.what());
        }
    }

    const std::string& text_;
    Json object_;
};

std::string text_of_algorithms(const std::vector<std::string>& algorithms) {
    return Json(algorithms).dump();
}

std::vector<std::string> algorithms_from(const std::string& text) {
    const Json list = Json::parse(text, nullptr, false);
    if (!list.is_array()) refuse("text 'algorithms' is not a JSON list");
    std::vector<std::string> algorithms;
    for (const Json& name : list) {
        if (!name.is_string()) refuse("text 'algorithms' holds something that is not a name");
        algorithms.push_back(name.get<std::string>());
    }
    if (text_of_algorithms(algorithms) != text) refuse("text 'algorithms' is not in canonical form");
    return algorithms;
}

// --- Columns ---

template <class T>
constexpr std::string_view type_name() {
    if constexpr (std::is_same_v<T, std::uint8_t>) return "u8";
    if constexpr (std::is_same_v<T, std::uint16_t>) return "u16";
    if constexpr (std::is_same_v<T, std::uint32_t>) return "u32";
    return "u64";
}

std::string_view type_name_of(const PlanColumn& column) {
    return std::visit(
        [](const auto& values) { return type_name<typename std::decay_t<decltype(values)>::value_type>(); },
        column);
}

/// Takes columns by name and knows at the end whether one was never asked for.
class ColumnReader {
  public:
    explicit ColumnReader(const PlanColumns& columns) : columns_(columns.columns) {}

    bool has(const std::string& name) const { return columns_.contains(name); }

    template <class T>
    const std::vector<T>& take(const std::string& name) {
        const PlanColumn& column = find(name);
        const auto* values = std::get_if<std::vector<T>>(&column);
        if (values == nullptr) refuse_type(name, std::string(type_name<T>()), column);
        return *values;
    }

    /// A column of sample ids: u32 if the plan has at most 2^32 samples, else u64.
    std::vector<std::uint64_t> take_samples(const std::string& name, bool narrow) {
        if (!narrow) return take<std::uint64_t>(name);
        const auto& values = take<std::uint32_t>(name);
        return {values.begin(), values.end()};
    }

    template <class T>
    std::vector<T> take_optional(const std::string& name) {
        if (!has(name)) return {};
        return take<T>(name);
    }

    std::vector<Fingerprint> take_fingerprints(const std::string& name) {
        const auto& bytes = take<std::uint8_t>(name);
        constexpr std::size_t fingerprint_bytes = sizeof(Fingerprint::bytes);
        if (bytes.size() % fingerprint_bytes != 0) {
            refuse("column '" + name + "' has " + std::to_string(bytes.size()) +
                   " bytes; expected a multiple of 32");
        }
        std::vector<Fingerprint> fingerprints(bytes.size() / fingerprint_bytes);
        for (std::size_t i = 0; i < fingerprints.size(); ++i) {
            std::memcpy(fingerprints[i].bytes.data(), bytes.data() + i * fingerprint_bytes,
                        fingerprint_bytes);
        }
        return fingerprints;
    }

    /// @param left_aside  names of columns that are another's to take.
    void expect_nothing_left(bool (*left_aside)(std::string_view) = nullptr) const {
        const auto others = std::ranges::count_if(
            columns_, [&](const auto& column) { return left_aside != nullptr && left_aside(column.first); });
        const std::size_t found = columns_.size() - static_cast<std::size_t>(others);
        if (found == taken_) return;
        refuse("there are " + std::to_string(found) + " columns; expected the " + std::to_string(taken_) +
               " of this format");
    }

  private:
    const PlanColumn& find(const std::string& name) {
        const auto found = columns_.find(name);
        if (found == columns_.end()) refuse("column '" + name + "' is missing");
        ++taken_;
        return found->second;
    }
    [[noreturn]] static void refuse_type(const std::string& name, const std::string& expected,
                                         const PlanColumn& found) {
        refuse("column '" + name + "' has another type: expected " + expected + ", found " +
               std::string(type_name_of(found)));
    }

    const std::map<std::string, PlanColumn>& columns_;
    std::size_t taken_ = 0;
};

PlanColumn column_of_samples(const std::vector<std::uint64_t>& samples, bool narrow) {
    if (!narrow) return samples;
    std::vector<std::uint32_t> values(samples.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint32_t>(samples[i]);
    return values;
}

PlanColumn column_of_fingerprints(const std::vector<Fingerprint>& fingerprints) {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(fingerprints.size() * sizeof(Fingerprint::bytes));
    for (const Fingerprint& f : fingerprints) bytes.insert(bytes.end(), f.bytes.begin(), f.bytes.end());
    return bytes;
}

void put_sources(const std::vector<PlanSource>& sources, PlanColumns& out) {
    std::vector<std::uint64_t> bases;
    std::vector<std::uint64_t> counts;
    std::vector<std::uint64_t> weights;
    std::vector<std::uint32_t> passes;
    std::vector<std::uint32_t> passes_max;
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const PlanSource& source = sources[i];
        const std::string prefix = "source/" + std::to_string(i) + "/";
        out.texts[prefix + "name"] = source.name;
        out.texts[prefix + "lengths"] = hex_or_nothing(source.lengths);
        out.texts[prefix + "tokenizer"] = hex_or_nothing(source.tokenizer);
        out.texts[prefix + "tokenizer_hash"] = source.tokenizer_hash;
        out.texts[prefix + "corpus"] = hex_or_nothing(source.corpus);
        out.texts[prefix + "scores"] = hex_or_nothing(source.scores);
        bases.push_back(source.sample_base);
        counts.push_back(source.num_samples);
        weights.push_back(source.weight);
        passes.push_back(source.passes);
        passes_max.push_back(source.passes_max);
    }
    out.columns["source_sample_base"] = std::move(bases);
    out.columns["source_num_samples"] = std::move(counts);
    out.columns["source_weight"] = std::move(weights);
    out.columns["source_passes"] = std::move(passes);
    out.columns["source_passes_max"] = std::move(passes_max);
}

std::vector<PlanSource> take_sources(const PlanColumns& columns, ColumnReader& reader) {
    const auto& bases = reader.take<std::uint64_t>("source_sample_base");
    const auto& counts = reader.take<std::uint64_t>("source_num_samples");
    const auto& weights = reader.take<std::uint64_t>("source_weight");
    const auto& passes = reader.take<std::uint32_t>("source_passes");
    const auto& passes_max = reader.take<std::uint32_t>("source_passes_max");
    for (const std::size_t rows : {counts.size(), weights.size(), passes.size(), passes_max.size()}) {
        if (rows != bases.size()) refuse("the columns of the source table differ in length");
    }
    std::vector<PlanSource> sources;
    for (std::size_t i = 0; i < bases.size(); ++i) {
        const std::string prefix = "source/" + std::to_string(i) + "/";
        PlanSource source;
        source.name = text_of(columns, prefix + "name");
        source.lengths = fingerprint_of(columns, prefix + "lengths", true);
        source.tokenizer = fingerprint_of(columns, prefix + "tokenizer", true);
        source.tokenizer_hash = text_of(columns, prefix + "tokenizer_hash");
        source.corpus = fingerprint_of(columns, prefix + "corpus", true);
        source.sample_base = bases[i];
        source.num_samples = counts[i];
        source.scores = fingerprint_of(columns, prefix + "scores", true);
        source.weight = weights[i];
        source.passes = passes[i];
        source.passes_max = passes_max[i];
        sources.push_back(std::move(source));
    }
    return sources;
}

void put_dispositions(const std::vector<Disposition>& dispositions, bool narrow, PlanColumns& out) {
    std::vector<std::uint64_t> samples;
    std::vector<std::uint8_t> kinds;
    std::vector<std::uint32_t> lost;
    for (const Disposition& row : dispositions) {
        samples.push_back(row.sample);
        kinds.push_back(static_cast<std::uint8_t>(row.kind));
        lost.push_back(static_cast<std::uint32_t>(row.tokens_lost));
    }
    out.columns["disposition_sample"] = column_of_samples(samples, narrow);
    out.columns["disposition_kind"] = std::move(kinds);
    out.columns["disposition_tokens_lost"] = std::move(lost);
}

std::vector<Disposition> take_dispositions(ColumnReader& reader, bool narrow) {
    const auto samples = reader.take_samples("disposition_sample", narrow);
    const auto& kinds = reader.take<std::uint8_t>("disposition_kind");
    const auto& lost = reader.take<std::uint32_t>("disposition_tokens_lost");
    if (kinds.size() != samples.size() || lost.size() != samples.size()) {
        refuse("the disposition columns differ in length");
    }
    std::vector<Disposition> dispositions;
    dispositions.reserve(samples.size());
    for (std::size_t i = 0; i < samples.size(); ++i) {
        dispositions.push_back({samples[i], static_cast<DispositionKind>(kinds[i]), lost[i]});
    }
    return dispositions;
}

void check_version(const PlanColumns& columns) {
    const std::uint64_t version = number_of(columns, "format_version");
    if (version > plan_columns_version) {
        throw Error(ErrorCode::incompatible_version,
                    "plan: format version " + std::to_string(version) + " is newer than the " +
                        std::to_string(plan_columns_version) + " this build reads; use a newer lockstep");
    }
    if (version == 0) refuse("format version 0 was never written; the first is 1");
    if (version != plan_columns_version) {
        throw Error(ErrorCode::incompatible_version, "plan: format version " + std::to_string(version) +
                                                         " is no longer read, this build reads " +
                                                         std::to_string(plan_columns_version) +
                                                         "; build it again from the same inputs");
    }
}

/// Everything but the body columns.
BatchPlan take_head(const PlanColumns& columns, ColumnReader& reader) {
    check_version(columns);
    BatchPlan plan;
    plan.options = OptionsReader(text_of(columns, "options")).read();
    plan.algorithms = algorithms_from(text_of(columns, "algorithms"));
    if (!text_of(columns, "parent").empty()) plan.parent = fingerprint_of(columns, "parent", false);
    plan.from_step = number_of(columns, "from_step");
    plan.fingerprints.plan = fingerprint_of(columns, "fingerprint/plan", false);
    plan.fingerprints.settings = fingerprint_of(columns, "fingerprint/settings", false);
    plan.fingerprints.order = fingerprint_of(columns, "fingerprint/order", false);
    plan.fingerprints.steps_per_chunk = number_of(columns, "fingerprint/steps_per_chunk");
    plan.sources = take_sources(columns, reader);
    plan.epoch_begin = reader.take<std::uint64_t>("epoch_begin");
    plan.dispositions = take_dispositions(reader, samples_are_narrow(plan.sources));
    plan.fingerprints.epochs = reader.take_fingerprints("epoch_fingerprint");
    plan.fingerprints.chunks = reader.take_fingerprints("chunk_fingerprint");
    plan.fingerprints.chunk_begin = reader.take<std::uint64_t>("chunk_begin");
    return plan;
}

}  // namespace

std::string text_of_options(const PlanOptions& options) {
    const Json object = {{"balance", options.balance},
                         {"bucket_edges", options.bucket_edges},
                         {"bucket_overflow_max", options.bucket_overflow_max},
                         {"compat", name_of(options.compat)},
                         {"cost", {options.cost.token_cost, options.cost.square_cost}},
                         {"drop_last", options.drop_last},
                         {"epochs", options.epochs},
                         {"long", name_of(options.long_policy)},
                         {"mode", name_of(options.mode)},
                         {"order", name_of(options.order)},
                         {"packing", name_of(options.packing)},
                         {"packs_per_step", options.packs_per_step},
                         {"predictable", options.predictable},
                         {"seed", options.seed},
                         {"segments_per_pack_max", options.segments_per_pack_max},
                         {"stages", options.stages},
                         {"token_budget", options.token_budget}};
    return object.dump();
}

PlanColumns head_to_columns(const BatchPlan& plan) {
    PlanColumns out;
    out.texts["format_version"] = std::to_string(plan_columns_version);
    out.texts["options"] = text_of_options(plan.options);
    out.texts["algorithms"] = text_of_algorithms(plan.algorithms);
    out.texts["parent"] = plan.parent ? plan.parent->hex() : std::string();
    out.texts["from_step"] = std::to_string(plan.from_step);
    out.texts["fingerprint/plan"] = plan.fingerprints.plan.hex();
    out.texts["fingerprint/settings"] = plan.fingerprints.settings.hex();
    out.texts["fingerprint/order"] = plan.fingerprints.order.hex();
    out.texts["fingerprint/steps_per_chunk"] = std::to_string(plan.fingerprints.steps_per_chunk);
    put_sources(plan.sources, out);
    out.columns["epoch_begin"] = plan.epoch_begin;
    put_dispositions(plan.dispositions, samples_are_narrow(plan.sources), out);
    out.columns["epoch_fingerprint"] = column_of_fingerprints(plan.fingerprints.epochs);
    out.columns["chunk_fingerprint"] = column_of_fingerprints(plan.fingerprints.chunks);
    out.columns["chunk_begin"] = plan.fingerprints.chunk_begin;
    return out;
}

PlanColumns to_columns(const BatchPlan& plan) {
    PlanColumns out = head_to_columns(plan);
    const bool narrow = samples_are_narrow(plan.sources);
    out.columns["segment_sample"] = column_of_samples(plan.segment_sample, narrow);
    out.columns["segment_offset"] = plan.segment_offset;
    out.columns["segment_tokens"] = plan.segment_tokens;
    out.columns["pack_begin"] = plan.pack_begin;
    out.columns["pack_cost"] = plan.pack_cost;
    if (!plan.pack_targets.empty()) out.columns["pack_targets"] = plan.pack_targets;
    if (plan.options.mode == PlanMode::bucket) {
        out.columns["pack_bucket"] = plan.pack_bucket;
        out.columns["pack_pad_tokens"] = plan.pack_pad_tokens;
    }
    out.columns["step_begin"] = plan.step_begin;
    return out;
}

bool is_body_column(std::string_view name) {
    constexpr std::string_view columns[] = {"step_begin",     "pack_begin",     "pack_cost",
                                            "pack_targets",   "pack_bucket",    "pack_pad_tokens",
                                            "segment_sample", "segment_offset", "segment_tokens"};
    return std::ranges::find(columns, name) != std::end(columns);
}

BatchPlan head_from_columns(const PlanColumns& columns) {
    ColumnReader reader(columns);
    BatchPlan plan = take_head(columns, reader);
    reader.expect_nothing_left(is_body_column);
    return plan;
}

BatchPlan from_columns(const PlanColumns& columns) {
    ColumnReader reader(columns);
    BatchPlan plan = take_head(columns, reader);
    plan.segment_sample = reader.take_samples("segment_sample", samples_are_narrow(plan.sources));
    plan.segment_offset = reader.take<std::uint32_t>("segment_offset");
    plan.segment_tokens = reader.take<std::uint32_t>("segment_tokens");
    plan.pack_begin = reader.take<std::uint64_t>("pack_begin");
    plan.pack_cost = reader.take<std::uint64_t>("pack_cost");
    plan.pack_targets = reader.take_optional<std::uint32_t>("pack_targets");
    plan.pack_bucket = reader.take_optional<std::uint16_t>("pack_bucket");
    plan.pack_pad_tokens = reader.take_optional<std::uint32_t>("pack_pad_tokens");
    plan.step_begin = reader.take<std::uint64_t>("step_begin");
    reader.expect_nothing_left();
    check_structure(plan);
    return plan;
}

}  // namespace lockstep
