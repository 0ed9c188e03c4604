// io/columns/fingerprint_attribute.h
//
// A fingerprint as an attribute of a column file: its 64 hexadecimal digits.

#pragma once

#include <string_view>

#include "io/base/fingerprint.h"

namespace lockstep {

class ColumnFile;
class ColumnFileWriter;

void write_fingerprint(ColumnFileWriter& writer, std::string_view group, std::string_view name,
                       const Fingerprint& fingerprint);

/// @throws Error{corrupt_data} naming file and attribute if it is absent or no fingerprint.
Fingerprint read_fingerprint(const ColumnFile& file, std::string_view group, std::string_view name);

}  // namespace lockstep
