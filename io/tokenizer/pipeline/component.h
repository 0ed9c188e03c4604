// io/tokenizer/pipeline/component.h
//
// Reading the components of a tokenizer.json: fields by name, errors that say
// where, and refusal by name of what is not supported.

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/error.h"

namespace lockstep {

/// One JSON object of the file and where it stands ("normalizer.normalizers[2]").
struct Component {
    const nlohmann::json& object;
    std::string place;
    std::vector<std::string> path = {};  ///< The same, name by name and number by number.

    std::string type() const;
    bool has(const char* name) const;  ///< There, and not null.
    std::string text(const char* name) const;
    std::string text_or(const char* name, const std::string& otherwise) const;
    bool flag_or(const char* name, bool otherwise) const;
    std::uint64_t number_or(const char* name, std::uint64_t otherwise) const;
    const nlohmann::json& array(const char* name) const;
    Component part(const char* name) const;
    Component part(const char* name, std::size_t index) const;

    /// @throws ComponentError{corrupt_data}.
    [[noreturn]] void refuse(const std::string& why) const;
    /// The same for one entry of the object: the file says the line of that.
    [[noreturn]] void refuse_entry(const std::string& name, const std::string& why) const;
    /// @throws ComponentError{invalid_argument}.
    [[noreturn]] void refuse_type() const;
};

/// What is wrong with a component: "<place>: <why>".
class ComponentError : public Error {
  public:
    ComponentError(ErrorCode code, const std::string& problem, std::vector<std::string> path)
        : Error(code, problem), path_(std::move(path)) {}
    const std::vector<std::string>& path() const { return path_; }

  private:
    std::vector<std::string> path_;
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
