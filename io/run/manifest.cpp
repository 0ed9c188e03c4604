#include <algorithm>
#include <initializer_list>
#include <limits>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "io/base/digest.h"
#include "io/base/error.h"
#include "io/run/checkpoint.h"
#include "io/run/manifest_check.h"

namespace lockstep {
namespace {

using Json = nlohmann::json;  // Objects are sorted by key.

constexpr const char* manifest_format = "lockstep-manifest";
constexpr std::uint64_t manifest_version = 1;

/// Compact, with sorted keys: what the digest is over.
std::string canonical(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json body_of(const Manifest& manifest) {
    const Cursor& cursor = manifest.cursor;
    Json shards = Json::array();
    for (const ShardName& shard : manifest.shards) {
        shards.push_back({{"file", shard.file},
                          {"slice_begin", shard.slice_begin},
                          {"slice_end", shard.slice_end},
                          {"file_bytes", shard.file_bytes},
                          {"digest", shard.digest_hex}});
    }
    Json body = {{"format", manifest_format},
                 {"format_version", manifest_version},
                 {"step", manifest.step},
                 {"cursor",
                  {{"plan", cursor.plan.hex()},
                   {"model", cursor.model.hex()},
                   {"numerics", cursor.numerics},
                   {"next_step", cursor.next_step},
                   {"epoch", cursor.epoch},
                   {"targets_seen", cursor.targets_seen},
                   {"scale_exponent", cursor.scale_exponent},
                   {"clean_steps", cursor.clean_steps},
                   {"skipped_in_a_row", cursor.skipped_in_a_row},
                   {"ledger_root", cursor.ledger_root.hex()}}},
                 {"state_digest", manifest.state_digest.hex()},
                 {"state_elements", manifest.state_elements},
                 {"shards", std::move(shards)},
                 {"ledger_head", nullptr},
                 {"parent_step", nullptr}};
    if (manifest.ledger_head) {
        body["ledger_head"] = {{"file", manifest.ledger_head->file},
                               {"digest", manifest.ledger_head->digest_hex}};
    }
    if (manifest.parent_step) body["parent_step"] = *manifest.parent_step;
    return body;
}

std::string digest_hex_of(const Json& body) {
    const std::string bytes = canonical(body);
    return digest_of(std::as_bytes(std::span(bytes))).hex();
}

/// Text of a file we do not trust, fit for a one-line message.
std::string printable(std::string_view text) {
    std::string line(text.substr(0, 64));
    for (char& c : line) {
        if (c < ' ' || c > '~') c = '?';
    }
    return line;
}

/// One object of a manifest, read strictly: each key there, no other one, each value of its type.
class Fields {
  public:
    Fields(const Json& object, std::string path, const std::string& origin,
           std::initializer_list<const char*> keys)
        : object_(object), path_(std::move(path)), origin_(origin) {
        if (!object_.is_object()) wrong("", "an object", object_);
        for (const char* key : keys) {
            if (!object_.contains(key)) fail(key, "is missing, expected in every manifest");
        }
        for (const auto& [key, value] : object_.items()) {
            const auto same = [&name = key](const char* k) { return name == k; };
            if (std::none_of(keys.begin(), keys.end(), same))
                fail(printable(key), "is unknown, expected none but a manifest's");
        }
    }

    std::uint64_t number(const char* key) const {
        const Json& value = object_[key];
        if (!value.is_number_unsigned()) wrong(key, "a non-negative integer", value);
        return value.get<std::uint64_t>();
    }
    std::int64_t signed_number(const char* key) const {
        const Json& value = object_[key];
        // An unsigned one is any that has no minus sign.
        if (!value.is_number_integer() ||
            (value.is_number_unsigned() &&
             value.get<std::uint64_t>() >
                 static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))) {
            wrong(key, "an integer", value);
        }
        return value.get<std::int64_t>();
    }
    std::string text(const char* key) const {
        const Json& value = object_[key];
        if (!value.is_string()) wrong(key, "a string", value);
        return value.get<std::string>();
    }
    Fingerprint fingerprint(const char* key) const {
        try {
            return Fingerprint::from_hex(text(key));
        } catch (const Error&) {
            wrong(key, "64 hexadecimal digits", object_[key]);
        }
    }
    const Json& array(const char* key) const {
        const Json& value = object_[key];
        if (!value.is_array()) wrong(key, "an array", value);
        return value;
    }
    bool is_null(const char* key) const { return object_[key].is_null(); }
    Fields object(const char* key, std::initializer_list<const char*> keys) const {
        return {object_[key], name(key), origin_, keys};
    }

    [[noreturn]] void fail(const std::string& key, const std::string& problem) const {
        throw Error(ErrorCode::corrupt_data, "manifest '" + origin_ + "': field '" + name(key) + "' " +
                                                 problem + "; the file was altered, use another generation");
    }

  private:
    [[noreturn]] void wrong(const std::string& key, const std::string& expected, const Json& found) const {
        const std::string value = found.is_primitive() ? " " + printable(canonical(found)) : std::string();
        fail(key, "is the " + std::string(found.type_name()) + value + ", expected " + expected);
    }
    std::string name(const std::string& key) const {
        return path_.empty() || key.empty() ? path_ + key : path_ + "." + key;
    }

    const Json& object_;
    std::string path_;
    const std::string& origin_;
};

Cursor cursor_of(const Fields& fields) {
    Cursor cursor;
    cursor.plan = fields.fingerprint("plan");
    cursor.model = fields.fingerprint("model");
    cursor.numerics = fields.text("numerics");
    cursor.next_step = fields.number("next_step");
    cursor.epoch = fields.number("epoch");
    cursor.targets_seen = fields.number("targets_seen");
    cursor.scale_exponent = fields.signed_number("scale_exponent");
    cursor.clean_steps = fields.number("clean_steps");
    cursor.skipped_in_a_row = fields.number("skipped_in_a_row");
    cursor.ledger_root = fields.fingerprint("ledger_root");
    return cursor;
}

std::vector<ShardName> shards_of(const Json& array, const std::string& origin) {
    std::vector<ShardName> shards;
    for (const Json& value : array) {
        const Fields fields(value, "shards[" + std::to_string(shards.size()) + "]", origin,
                            {"file", "slice_begin", "slice_end", "file_bytes", "digest"});
        shards.push_back({.file = fields.text("file"),
                          .slice_begin = fields.number("slice_begin"),
                          .slice_end = fields.number("slice_end"),
                          .file_bytes = fields.number("file_bytes"),
                          .digest_hex = fields.text("digest")});
    }
    return shards;
}

Manifest manifest_of(const Fields& top, const std::string& origin) {
    Manifest manifest;
    manifest.step = top.number("step");
    manifest.cursor =
        cursor_of(top.object("cursor", {"plan", "model", "numerics", "next_step", "epoch", "targets_seen",
                                        "scale_exponent", "clean_steps", "skipped_in_a_row", "ledger_root"}));
    manifest.state_digest = top.fingerprint("state_digest");
    manifest.state_elements = top.number("state_elements");
    manifest.shards = shards_of(top.array("shards"), origin);
    if (!top.is_null("ledger_head")) {
        const Fields head = top.object("ledger_head", {"file", "digest"});
        manifest.ledger_head =
            LedgerSegmentName{.file = head.text("file"), .digest_hex = head.text("digest")};
    }
    if (!top.is_null("parent_step")) manifest.parent_step = top.number("parent_step");
    return manifest;
}

bool is_digest(std::string_view text) {
    return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string problem_of_shards(const Manifest& manifest) {
    // The names of one world, each once; so none leads out of the directory either.
    std::set<std::string> names;
    const auto num_shards = manifest.shards.size();
    if (num_shards == 0 || num_shards > std::numeric_limits<int>::max())
        return "field 'shards' is empty, expected one at least";
    const WorldSize world_size{static_cast<int>(num_shards)};
    for (int rank = 0; rank < world_size.value; ++rank) names.insert(shard_file_name(Rank{rank}, world_size));

    std::uint64_t covered = 0;
    for (std::size_t i = 0; i < num_shards; ++i) {
        const ShardName& shard = manifest.shards[i];
        const std::string field = "field 'shards[" + std::to_string(i) + "]";
        if (names.erase(shard.file) == 0) {
            return field + ".file' is '" + printable(shard.file) + "', expected each of '" +
                   shard_file_name(Rank{0}, world_size) + "' … once";
        }
        if (!is_digest(shard.digest_hex))
            return field + ".digest' is '" + printable(shard.digest_hex) +
                   "', expected 32 hexadecimal digits";
        if (shard.slice_begin != covered) {
            return field + ".slice_begin' is " + std::to_string(shard.slice_begin) + ", expected " +
                   std::to_string(covered);
        }
        if (shard.slice_end < shard.slice_begin || shard.slice_end > manifest.state_elements) {
            return field + ".slice_end' is " + std::to_string(shard.slice_end) + ", expected " +
                   std::to_string(shard.slice_begin) + " to " + std::to_string(manifest.state_elements);
        }
        covered = shard.slice_end;
    }
    if (covered != manifest.state_elements) {
        return "field 'state_elements' is " + std::to_string(manifest.state_elements) + ", expected " +
               std::to_string(covered) + ", where the shards end";
    }
    return {};
}

/// Arrays and objects inside each other at most `limit` deep; bounds what may be dumped.
bool no_deeper_than(const Json& json, int limit) {
    if (!json.is_structured()) return true;
    return limit > 0 && std::all_of(json.begin(), json.end(),
                                    [limit](const Json& j) { return no_deeper_than(j, limit - 1); });
}

}  // namespace

std::string problem_of(const Manifest& manifest) {
    const Cursor& cursor = manifest.cursor;
    if (cursor.next_step != manifest.step) {
        return "field 'cursor.next_step' is " + std::to_string(cursor.next_step) + ", expected step " +
               std::to_string(manifest.step);
    }
    const auto graphic = [](char c) { return c > ' ' && c <= '~'; };
    if (cursor.numerics.empty() || cursor.numerics.size() > 64 ||
        !std::all_of(cursor.numerics.begin(), cursor.numerics.end(), graphic)) {
        return "field 'cursor.numerics' is '" + printable(cursor.numerics) +
               "', expected a short name as 'fma256'";
    }
    if (manifest.parent_step && *manifest.parent_step >= manifest.step) {
        return "field 'parent_step' is " + std::to_string(*manifest.parent_step) + ", expected one before " +
               std::to_string(manifest.step);
    }
    if (manifest.ledger_head.has_value() != (manifest.step > 0)) {
        return manifest.ledger_head
                   ? "field 'ledger_head' names a segment before the first step, expected null"
                   : "field 'ledger_head' is null, expected the segment that ends before step " +
                         std::to_string(manifest.step);
    }
    if (manifest.ledger_head) {
        const auto steps = parse_ledger_segment_file(manifest.ledger_head->file);
        if (!is_digest(manifest.ledger_head->digest_hex)) {
            return "field 'ledger_head.digest' is '" + printable(manifest.ledger_head->digest_hex) +
                   "', expected 32 hexadecimal digits";
        }
        if (!steps || steps->step_end != manifest.step) {
            return "field 'ledger_head.file' is '" + printable(manifest.ledger_head->file) +
                   "', expected a segment that ends before step " + std::to_string(manifest.step);
        }
    }
    return problem_of_shards(manifest);
}

std::string to_json(const Manifest& manifest) {
    Json body = body_of(manifest);
    body["digest"] = digest_hex_of(body);
    return body.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

bool manifest_digest_holds(std::string_view json) {
    Json parsed = Json::parse(json.begin(), json.end(), nullptr, false);
    if (!parsed.is_object() || !no_deeper_than(parsed, 16)) return false;
    const auto field = parsed.find("digest");
    if (field == parsed.end() || !field->is_string()) return false;
    const std::string digest_hex = field->get<std::string>();
    parsed.erase(field);
    return digest_hex == digest_hex_of(parsed);
}

Manifest manifest_from_json(std::string_view json, const std::string& origin) {
    const Json parsed = Json::parse(json.begin(), json.end(), nullptr, false);
    const auto malformed = [&](const std::string& problem) {
        throw Error(ErrorCode::corrupt_data, "manifest '" + origin + "' " + problem +
                                                 "; the file was altered, use another generation");
    };
    const auto shown = [&](Json::const_iterator field) {
        return field == parsed.end() ? "missing" : "of " + printable(canonical(*field));
    };
    if (!parsed.is_object())
        malformed("is not a JSON object (" + std::to_string(json.size()) +
                  " bytes), expected one of format '" + manifest_format + "'");
    const auto format = parsed.find("format");
    if (format == parsed.end() || !format->is_string() || format->get<std::string>() != manifest_format) {
        malformed("has field 'format' " + shown(format) + ", expected '" + manifest_format + "'");
    }
    const auto version = parsed.find("format_version");
    if (version == parsed.end() || !version->is_number_unsigned() || version->get<std::uint64_t>() < 1) {
        malformed("has field 'format_version' " + shown(version) + ", expected 1 or more");
    }
    if (version->get<std::uint64_t>() > manifest_version) {
        throw Error(ErrorCode::incompatible_version, "manifest '" + origin + "': field 'format_version' is " +
                                                         std::to_string(version->get<std::uint64_t>()) +
                                                         ", this build reads up to " +
                                                         std::to_string(manifest_version) +
                                                         "; use the Lockstep that wrote it, or a newer one");
    }
    const Fields top(parsed, "", origin,
                     {"format", "format_version", "digest", "step", "cursor", "state_digest",
                      "state_elements", "shards", "ledger_head", "parent_step"});
    Manifest manifest = manifest_of(top, origin);
    const std::string expected = digest_hex_of(body_of(manifest));
    if (top.text("digest") != expected) {
        top.fail("digest",
                 "is " + printable(top.text("digest")) + ", expected " + expected + " of its content");
    }
    if (const std::string problem = problem_of(manifest); !problem.empty())
        malformed("is unsound: " + problem);
    // Only what we write counts: no key twice, no other spelling of a number, nothing behind the end.
    const std::string written = to_json(manifest);
    if (json != written) {
        const auto at = static_cast<std::size_t>(
            std::mismatch(json.begin(), json.end(), written.begin(), written.end()).first - json.begin());
        malformed("has '" + printable(json.substr(at, 16)) + "' from byte " + std::to_string(at) +
                  " on, expected '" + printable(std::string_view(written).substr(at, 16)) +
                  "' as Lockstep writes it (reformatted?)");
    }
    return manifest;
}

}  // namespace lockstep
