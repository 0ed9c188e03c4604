#include "io/tokenizer/pipeline/component.h"

namespace lockstep {

namespace {

std::vector<std::string> longer(std::vector<std::string> path, std::string name) {
    path.push_back(std::move(name));
    return path;
}

}  // namespace

void Component::refuse(const std::string& why) const {
    throw ComponentError(ErrorCode::corrupt_data, (place.empty() ? "" : place + ": ") + why, path);
}

void Component::refuse_entry(const std::string& name, const std::string& why) const {
    throw ComponentError(ErrorCode::corrupt_data, place + ": " + why, longer(path, name));
}

void Component::refuse_type() const {
    throw ComponentError(ErrorCode::invalid_argument, place + ": component '" + type() + "' is not supported",
                         path);
}

bool Component::has(const char* name) const {
    const auto field = object.find(name);
    return field != object.end() && !field->is_null();
}

std::string Component::type() const {
    if (!object.is_object()) refuse("not an object");
    return text("type");
}

std::string Component::text(const char* name) const {
    const auto field = object.find(name);
    if (field == object.end() || !field->is_string()) refuse(std::string("no text in field '") + name + "'");
    return field->get<std::string>();
}

std::string Component::text_or(const char* name, const std::string& otherwise) const {
    return has(name) ? text(name) : otherwise;
}

bool Component::flag_or(const char* name, bool otherwise) const {
    if (!has(name)) return otherwise;
    if (!object.at(name).is_boolean()) refuse(std::string("field '") + name + "' is neither true nor false");
    return object.at(name).get<bool>();
}

std::uint64_t Component::number_or(const char* name, std::uint64_t otherwise) const {
    if (!has(name)) return otherwise;
    if (!object.at(name).is_number_unsigned())
        refuse(std::string("field '") + name + "' is not a number from 0 on");
    return object.at(name).get<std::uint64_t>();
}

const nlohmann::json& Component::array(const char* name) const {
    const auto field = object.find(name);
    if (field == object.end() || !field->is_array()) refuse(std::string("no array in field '") + name + "'");
    return *field;
}

Component Component::part(const char* name) const {
    if (!has(name)) refuse(std::string("no field '") + name + "'");
    return {object.at(name), place.empty() ? name : place + "." + name, longer(path, name)};
}

Component Component::part(const char* name, std::size_t index) const {
    return {array(name).at(index),
            (place.empty() ? name : place + "." + name) + "[" + std::to_string(index) + "]",
            longer(longer(path, name), std::to_string(index))};
}

std::string PatternText::as_regex() const {
    if (is_regex) return text;
    std::string escaped;
    for (const char c : text) {
        if (std::string_view(R"(\^$.|?*+()[]{}-&#~)").find(c) != std::string_view::npos) escaped += '\\';
        escaped += c;
    }
    return escaped;
}

PatternText pattern_of(const Component& component) {
    const Component pattern = component.part("pattern");
    if (pattern.object.is_object() && pattern.has("String")) {
        // The reference finds it everywhere, at the end of the text too.
        if (pattern.text("String").empty()) pattern.refuse("an empty String is not supported");
        return {pattern.text("String"), false};
    }
    if (pattern.object.is_object() && pattern.has("Regex")) return {pattern.text("Regex"), true};
    pattern.refuse("expected a String or a Regex");
}

}  // namespace lockstep
