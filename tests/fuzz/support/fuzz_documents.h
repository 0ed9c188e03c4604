// tests/fuzz/support/fuzz_documents.h
//
// Source files, read as ingest reads them.

#pragma once

#include "io/documents/document_reader.h"
#include "tests/fuzz/support/fuzz_target.h"

namespace lockstep::fuzz {

/// A file of this name with these bytes: strictly, and with bad documents tolerated.
inline void read_as_document(const char* name, std::string_view bytes, DocumentOptions options = {}) {
    const std::filesystem::path file = memory_file(name, bytes);
    options.document_bytes_max = std::uint64_t{1} << 20U;
    for (const std::uint64_t tolerated : {std::uint64_t{0}, std::uint64_t{1'000'000}}) {
        options.skip_bad_max = tolerated;
        read_or_refuse([&] {
            std::uint64_t bad = 0;
            read_documents(file, 0, options, bad, [](const Document&) {});
        });
    }
}

}  // namespace lockstep::fuzz
