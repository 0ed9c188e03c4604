// io/documents/reread.h
//
// Documents of a source once more, by where they began.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

#include "io/documents/document.h"
#include "io/documents/source_kind.h"

namespace lockstep {

/// Read the documents that begin at these offsets.
/// @param offsets  ascending, as Document::source_offset was.
/// @param deliver  called for each that is found, in order; others are missing from the source now.
/// @param within   compressed files are read up to this byte, after decompression; what lies behind is
///                 neither delivered nor missing.
/// @return offsets that lie beyond `within`.
/// @throws as reading does.
std::uint64_t reread_documents(const std::filesystem::path& path, const DocumentOptions& options,
                               std::span<const std::uint64_t> offsets, std::uint64_t within,
                               const std::function<void(const Document&)>& deliver);

}  // namespace lockstep
