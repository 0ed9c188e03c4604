#include "io/hdf5/attributes.h"

#include <array>
#include <charconv>

namespace lockstep {

namespace {

Hdf5Datatype text_type(std::size_t bytes, const Hdf5Calls& calls, std::string_view name) {
    Hdf5Datatype type(calls.checked(H5Tcopy(H5T_C_S1), "describe attribute", name));
    calls.checked(H5Tset_size(type.id(), bytes), "describe attribute", name);
    calls.checked(H5Tset_strpad(type.id(), H5T_STR_NULLPAD), "describe attribute", name);
    calls.checked(H5Tset_cset(type.id(), H5T_CSET_UTF8), "describe attribute", name);
    return type;
}

void write_value(hid_t group, std::string_view name, hid_t file_type, hid_t memory_type, const void* value,
                 const Hdf5Calls& calls) {
    const H5S_class_t kind = value == nullptr ? H5S_NULL : H5S_SCALAR;
    const Hdf5Dataspace space(calls.checked(H5Screate(kind), "describe attribute", name));
    const std::string terminated(name);
    Hdf5Attribute attribute(
        calls.checked(H5Acreate2(group, terminated.c_str(), file_type, space.id(), H5P_DEFAULT, H5P_DEFAULT),
                      "create attribute", name));
    if (value != nullptr) {
        calls.checked(H5Awrite(attribute.id(), memory_type, value), "write attribute", name);
    }
    attribute.close(calls, name);
}

bool same_type(hid_t type, hid_t other, const Hdf5Calls& calls) {
    return calls.checked(H5Tequal(type, other), "compare types in") > 0;
}

template <class T>
T read_scalar(hid_t attribute, hid_t memory_type, const std::string& name, const Hdf5Calls& calls) {
    T value{};
    calls.checked(H5Aread(attribute, memory_type, &value), "read attribute", name);
    return value;
}

// C code calls this; an exception must not pass through it.
herr_t collect_name(hid_t, const char* name, const H5A_info_t*, void* names) noexcept {
    try {
        static_cast<std::vector<std::string>*>(names)->emplace_back(name);
    } catch (...) {
        return -1;
    }
    return 0;
}

}  // namespace

void write_attribute(hid_t group, std::string_view name, const AttributeValue& value,
                     const Hdf5Calls& calls) {
    if (const auto* u = std::get_if<std::uint64_t>(&value)) {
        write_value(group, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, u, calls);
    } else if (const auto* i = std::get_if<std::int64_t>(&value)) {
        write_value(group, name, H5T_STD_I64LE, H5T_NATIVE_INT64, i, calls);
    } else if (const auto* d = std::get_if<double>(&value)) {
        write_value(group, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, d, calls);
    } else {
        const auto& text = std::get<std::string>(value);
        const Hdf5Datatype type = text_type(text.empty() ? 1 : text.size(), calls, name);
        write_value(group, name, type.id(), type.id(), text.empty() ? nullptr : text.data(), calls);
    }
}

std::vector<std::string> attribute_names(hid_t object, const Hdf5Calls& calls) {
    std::vector<std::string> names;
    calls.checked(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect_name, &names),
                  "list attributes of");
    return names;
}

AttributeValue read_attribute(hid_t object, const std::string& name, const Hdf5Calls& calls) {
    const Hdf5Attribute attribute(
        calls.checked(H5Aopen(object, name.c_str(), H5P_DEFAULT), "open attribute", name));
    const Hdf5Datatype type(calls.checked(H5Aget_type(attribute.id()), "examine attribute", name));
    const Hdf5Dataspace space(calls.checked(H5Aget_space(attribute.id()), "examine attribute", name));
    const H5S_class_t kind = H5Sget_simple_extent_type(space.id());
    if (kind == H5S_SCALAR && same_type(type.id(), H5T_STD_U64LE, calls)) {
        return read_scalar<std::uint64_t>(attribute.id(), H5T_NATIVE_UINT64, name, calls);
    }
    if (kind == H5S_SCALAR && same_type(type.id(), H5T_STD_I64LE, calls)) {
        return read_scalar<std::int64_t>(attribute.id(), H5T_NATIVE_INT64, name, calls);
    }
    if (kind == H5S_SCALAR && same_type(type.id(), H5T_IEEE_F64LE, calls)) {
        return read_scalar<double>(attribute.id(), H5T_NATIVE_DOUBLE, name, calls);
    }
    if (H5Tget_class(type.id()) == H5T_STRING && H5Tis_variable_str(type.id()) == 0) {
        std::string text;
        if (kind == H5S_NULL) return text;
        text.resize(H5Tget_size(type.id()));
        if (kind == H5S_SCALAR && !text.empty()) {
            calls.checked(H5Aread(attribute.id(), type.id(), text.data()), "read attribute", name);
            return text;
        }
    }
    throw Error(ErrorCode::corrupt_data, "attribute '" + name + "' in '" + calls.file().string() +
                                             "' is not a single u64, i64, f64 or text of fixed length");
}

std::string to_text(const AttributeValue& value) {
    if (const auto* u = std::get_if<std::uint64_t>(&value)) return std::to_string(*u);
    if (const auto* i = std::get_if<std::int64_t>(&value)) return std::to_string(*i);
    if (const auto* d = std::get_if<double>(&value)) {
        std::array<char, 32> digits{};
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *d).ptr;
        return {digits.data(), end};
    }
    return std::get<std::string>(value);
}

}  // namespace lockstep
