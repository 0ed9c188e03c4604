// io/hdf5/attributes.h
//
// Scalar attributes: u64, i64, f64 and UTF-8 text of fixed length. Empty text is
// an attribute with a null dataspace, so that every text comes back exactly.

#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/hdf5/handle.h"

namespace lockstep {

using AttributeValue = std::variant<std::uint64_t, std::int64_t, double, std::string>;

/// Create an attribute of an open group. @throws Error if it exists.
void write_attribute(hid_t group, std::string_view name, const AttributeValue& value, const Hdf5Calls& calls);

/// Names of the attributes of an open object, sorted.
std::vector<std::string> attribute_names(hid_t object, const Hdf5Calls& calls);

/// @throws Error{corrupt_data} if its type is none of the four.
AttributeValue read_attribute(hid_t object, const std::string& name, const Hdf5Calls& calls);

/// The value as people read it; doubles in the shortest form that reads back equal.
std::string to_text(const AttributeValue& value);

}  // namespace lockstep
