// What is said of a tokenizer that is not the one it was.

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/ingest/drift.h"
#include "coordinator/ingest/tokenizer_parts.h"
#include "io/base/digest.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr std::size_t shown_bytes_max = 60;
/// Of a long text this much stands before the first difference.
constexpr std::size_t shown_before = 16;

bool continues_character(std::string_view text, std::size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U;
}

/// A stretch of it in quotes, on one line whatever it holds.
std::string shown(std::string_view text, std::size_t from = 0) {
    while (from > 0 && continues_character(text, from)) --from;
    std::size_t end = std::min(text.size(), from + shown_bytes_max);
    while (continues_character(text, end)) --end;
    std::string quoted =
        json(text.substr(from, end - from)).dump(-1, ' ', false, json::error_handler_t::replace);
    // The text's own quotation marks need no escape between these.
    std::string out = from > 0 ? "'…" : "'";
    for (std::size_t i = 1; i + 1 < quoted.size(); ++i) {
        if (quoted[i] == '\\' && quoted[i + 1] == '"') continue;
        out += quoted[i];
        if (quoted[i] == '\\') out += quoted[++i];
    }
    return out + (end < text.size() ? "…'" : "'");
}

class Changes {
  public:
    void add(const std::string& name, const std::string& change) {
        text_ += (text_.empty() ? "" : "; ") + name + ": " + change;
    }
    const std::string& text() const { return text_; }

  private:
    std::string text_;
};

void compare_lists(const TokenizerPart& before, const TokenizerPart& now, Changes& changes) {
    const auto& a = before.entries;
    const auto& b = now.entries;
    const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    if (x == a.end() && y == b.end()) return;
    const std::string counts =
        a.size() == b.size() ? std::to_string(a.size()) + " before and now"
                             : std::to_string(a.size()) + " before, " + std::to_string(b.size()) + " now";
    changes.add(before.name, counts + ", first difference at " + std::to_string(x - a.begin()) + " " +
                                 (x == a.end() ? "nothing" : shown(*x)) + " / " +
                                 (y == b.end() ? "nothing" : shown(*y)));
}

void compare_texts(const TokenizerPart& before, const TokenizerPart& now, Changes& changes) {
    const std::string& a = before.entries.front();
    const std::string& b = now.entries.front();
    if (a == b) return;
    std::size_t from = 0;
    if (std::max(a.size(), b.size()) > shown_bytes_max) {
        const auto same =
            static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
        from = same < shown_before ? 0 : same - shown_before;
    }
    changes.add(before.name, shown(a, from) + " before, " + shown(b, from) + " now");
}

const TokenizerPart* part_named(const std::vector<TokenizerPart>& parts, const std::string& name) {
    const auto place =
        std::find_if(parts.begin(), parts.end(), [&](const TokenizerPart& p) { return p.name == name; });
    return place == parts.end() ? nullptr : &*place;
}

std::string digest_text(const TokenizerPart& part) {
    DigestStream digest;
    for (const std::string& entry : part.entries) {
        const std::uint64_t bytes = entry.size();
        digest.update(std::as_bytes(std::span(&bytes, 1)));
        digest.update(std::as_bytes(std::span(entry.data(), entry.size())));
    }
    return digest.value().hex();
}

json record_of(const TokenizerPart& part) {
    json record = {{"name", part.name}, {"digest", digest_text(part)}};
    if (part.is_list) {
        record["count"] = part.entries.size();
    } else if (part.entries.front().size() <= shown_bytes_max) {
        record["text"] = part.entries.front();
    } else {
        record["bytes"] = part.entries.front().size();
    }
    return record;
}

/// A part against what was recorded of it.
void compare_record(const json& before, const TokenizerPart& now, Changes& changes) {
    if (before.value("digest", "") == digest_text(now)) return;
    if (now.is_list) {
        const std::uint64_t count = before.value("count", std::uint64_t{0});
        changes.add(now.name,
                    count == now.entries.size()
                        ? std::to_string(count) + " before and now, but not the same"
                        : std::to_string(count) + " before, " + std::to_string(now.entries.size()) + " now");
    } else {
        const std::string text = now.entries.front();
        changes.add(now.name, (before.contains("text") ? shown(before.value("text", "")) : "another text") +
                                  " before, " + shown(text) + " now");
    }
}

}  // namespace

std::string describe_tokenizer_change(const std::string& expected_json, const std::string& found_json) {
    const std::vector<TokenizerPart> before = tokenizer_parts(expected_json),
                                     now = tokenizer_parts(found_json);
    Changes changes;
    for (const TokenizerPart& part : before) {
        const TokenizerPart* other = part_named(now, part.name);
        if (other == nullptr) continue;
        part.is_list ? compare_lists(part, *other, changes) : compare_texts(part, *other, changes);
        // Of another kind of tokenizer everything differs.
        if (part.name == "type" && !changes.text().empty()) break;
    }
    return changes.text();
}

bool is_tokenizer_part(const json& part) {
    if (!part.is_object()) return false;
    const auto is_text = [&](const char* field) {
        return part.contains(field) && part.at(field).is_string();
    };
    const auto is_number = [&](const char* field) {
        return part.contains(field) && part.at(field).is_number_unsigned();
    };
    return part.size() == 3 && is_text("name") && is_text("digest") &&
           (is_number("count") || is_number("bytes") || is_text("text"));
}

json tokenizer_record(const std::string& description_json) {
    json record = json::array();
    for (const TokenizerPart& part : tokenizer_parts(description_json)) record.push_back(record_of(part));
    return record;
}

std::string describe_change_since(const json& record, const std::string& description_json) {
    Changes changes;
    if (!record.is_array()) return {};
    const std::vector<TokenizerPart> now = tokenizer_parts(description_json);
    try {
        for (const json& before : record) {
            const TokenizerPart* part = part_named(now, before.value("name", ""));
            if (part == nullptr) continue;
            compare_record(before, *part, changes);
            if (part->name == "type" && !changes.text().empty()) break;
        }
    } catch (const json::exception&) {
        // It says nothing for sure.
        return {};
    }
    return changes.text();
}

}  // namespace lockstep
