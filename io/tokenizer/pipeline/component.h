// io/tokenizer/pipeline/component.h
//
// Reading the components of a tokenizer.json: fields by name, errors that say
// where, and refusal by name of what is not supported.

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lockstep {

/// One JSON object of the file and where it stands ("normalizer.normalizers[2]").
struct Component {
    const nlohmann::json& object;
    std::string place;

    std::string type() const;
    bool has(const char* name) const;  ///< There, and not null.
    std::string text(const char* name) const;
    std::string text_or(const char* name, const std::string& otherwise) const;
    bool flag_or(const char* name, bool otherwise) const;
    std::uint64_t number_or(const char* name, std::uint64_t otherwise) const;
    const nlohmann::json& array(const char* name) const;
    Component part(const char* name) const;
    Component part(const char* name, std::size_t index) const;

    /// @throws Error{corrupt_data} "tokenizer.json: <place>: <why>".
    [[noreturn]] void refuse(const std::string& why) const;
    [[noreturn]] void refuse_type() const;
};

/// {"String": …} or {"Regex": …} of `pattern`.
struct PatternText {
    std::string text;
    bool is_regex = false;
    /// Strings are escaped.
    std::string as_regex() const;
};
PatternText pattern_of(const Component& component);

}  // namespace lockstep
