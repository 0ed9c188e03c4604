#include "io/columns/fingerprint_attribute.h"

#include <string>

#include "io/base/error.h"
#include "io/columns/column_file.h"

namespace lockstep {

void write_fingerprint(ColumnFileWriter& writer, std::string_view group, std::string_view name,
                       const Fingerprint& fingerprint) {
    writer.attribute(group, name, std::string_view(fingerprint.hex()));
}

Fingerprint read_fingerprint(const ColumnFile& file, std::string_view group, std::string_view name) {
    const std::string text = file.attribute_text(group, name);
    try {
        return Fingerprint::from_hex(text);
    } catch (const Error& error) {
        throw Error(error.code(), "'" + file.path().string() + "', attribute '" + std::string(name) +
                                      "' of '" + std::string(group) + "': " + error.what());
    }
}

}  // namespace lockstep
