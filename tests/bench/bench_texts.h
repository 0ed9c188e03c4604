// tests/bench/bench_texts.h
//
// Texts for the tokenizers' benchmarks: one file that is named, or the project's own documentation.

#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "io/files/atomic_file.h"

namespace lockstep {

inline std::vector<std::string> texts_to_tokenize() {
    if (const char* const named = std::getenv("LOCKSTEP_BENCH_TEXT")) return {read_file(named)};
    std::vector<std::string> texts;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(LOCKSTEP_DOCS)) {
        if (entry.path().extension() == ".md") texts.push_back(read_file(entry.path()));
    }
    return texts;
}

}  // namespace lockstep
