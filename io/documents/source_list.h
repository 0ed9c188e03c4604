// io/documents/source_list.h
//
// The files named on a command line, in the order in which their documents are
// numbered.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lockstep {

/// A folder means every regular file in it (recursively, sorted by path; hidden files, *.dat, a *.bin beside
/// its *.idx and other binary files by content are left out with a note in `left_out`; compressed and Parquet
/// files are taken). A file is listed once, however often it is named.
/// @throws Error{not_found} for what does not exist and for a folder without any file.
std::vector<std::filesystem::path> expand_sources(const std::vector<std::string>& arguments,
                                                  std::vector<std::string>& left_out);

}  // namespace lockstep
