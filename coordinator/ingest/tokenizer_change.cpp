#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/ingest/drift.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr std::size_t changes_named_max = 4;
constexpr std::size_t value_text_max = 60;

std::string short_text(const json& value) {
    std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (text.size() > value_text_max) text = text.substr(0, value_text_max) + "…";
    return text;
}

/// "a, b and 3 more"
class ChangeList {
  public:
    void add(const std::string& path, const std::string& change) {
        if (changes_.size() < changes_named_max) changes_.push_back(path + ": " + change);
        ++count_;
    }
    std::string text() const {
        std::string all;
        for (const std::string& change : changes_) all += (all.empty() ? "" : "; ") + change;
        if (count_ > changes_.size()) all += "; and " + std::to_string(count_ - changes_.size()) + " more";
        return all;
    }

  private:
    std::vector<std::string> changes_;
    std::size_t count_ = 0;
};

void compare(const json& expected, const json& found, const std::string& path, ChangeList& changes);

/// Vocabularies and merges: how many entries differ, and the first of them.
void compare_arrays(const json& expected, const json& found, const std::string& path, ChangeList& changes) {
    const std::size_t common = std::min(expected.size(), found.size());
    std::size_t different = 0;
    std::size_t first = common;
    for (std::size_t i = common; i-- > 0;) {
        if (expected[i] == found[i]) continue;
        ++different;
        first = i;
    }
    if (expected.size() != found.size()) {
        changes.add(path,
                    std::to_string(found.size()) + " entries, expected " + std::to_string(expected.size()));
    }
    if (different != 0) {
        changes.add(path, std::to_string(different) + " entries differ, the first is " +
                              std::to_string(first) + ": " + short_text(found[first]) + ", expected " +
                              short_text(expected[first]));
    }
}

void compare_objects(const json& expected, const json& found, const std::string& path, ChangeList& changes) {
    for (const auto& [name, value] : expected.items()) {
        const auto other = found.find(name);
        if (other == found.end()) {
            changes.add(path + "/" + name, "gone, expected " + short_text(value));
        } else if (*other != value) {
            compare(value, *other, path + "/" + name, changes);
        }
    }
    for (const auto& [name, value] : found.items()) {
        if (!expected.contains(name)) changes.add(path + "/" + name, "new: " + short_text(value));
    }
}

void compare(const json& expected, const json& found, const std::string& path, ChangeList& changes) {
    if (expected.is_object() && found.is_object()) {
        compare_objects(expected, found, path, changes);
    } else if (expected.is_array() && found.is_array()) {
        compare_arrays(expected, found, path, changes);
    } else {
        changes.add(path, short_text(found) + ", expected " + short_text(expected));
    }
}

}  // namespace

std::string describe_tokenizer_change(const std::string& expected_json, const std::string& found_json) {
    const json expected = json::parse(expected_json, nullptr, false);
    const json found = json::parse(found_json, nullptr, false);
    ChangeList changes;
    if (expected != found) compare(expected, found, "description", changes);
    return changes.text();
}

}  // namespace lockstep
