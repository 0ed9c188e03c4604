#include "launch/cli/data/corpus_outputs.h"

#include <array>
#include <fstream>
#include <string_view>
#include <system_error>

#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/columns/column_file_format.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

bool has_column_file_mark(const fs::path& file) {
    std::array<char, column_file_mark.size()> head{};
    std::ifstream stream(file, std::ios::binary);
    stream.read(head.data(), head.size());
    return stream && std::string_view(head.data(), head.size()) == column_file_mark;
}

bool is_corpus(const fs::path& file) {
    if (!fs::is_regular_file(file) || !has_column_file_mark(file)) return false;
    try {
        return ColumnFile::format_of(file) == "lockstep-corpus";
    } catch (const Error&) {
        return true;  // Ours, and too damaged to say what it was.
    }
}

bool is_same_file(const fs::path& a, const fs::path& b) {
    std::error_code absent;
    return fs::equivalent(a, b, absent) ||
           fs::weakly_canonical(fs::absolute(a)) == fs::weakly_canonical(fs::absolute(b));
}

}  // namespace

void require_replaceable(const fs::path& output) {
    std::error_code absent;
    if (!fs::exists(output, absent) || is_corpus(output)) return;
    throw Error(ErrorCode::output_exists, "'" + output.string() +
                                              "' exists and is not a corpus; --force replaces only a corpus, "
                                              "choose another name or remove it yourself");
}

void require_apart(const std::vector<fs::path>& outputs, const std::vector<fs::path>& inputs) {
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        for (const fs::path& input : inputs) {
            if (!is_same_file(outputs[i], input)) continue;
            throw Error(ErrorCode::invalid_argument, "output '" + outputs[i].string() + "' is input '" +
                                                         input.string() +
                                                         "', which it would replace; choose another name");
        }
        for (std::size_t j = 0; j < i; ++j) {
            if (!is_same_file(outputs[i], outputs[j])) continue;
            throw Error(ErrorCode::invalid_argument, "outputs '" + outputs[j].string() + "' and '" +
                                                         outputs[i].string() +
                                                         "' are one file; give each a name of its own");
        }
    }
}

nlohmann::ordered_json json_of(const fs::path& path, const PublishedCorpus& corpus) {
    return {{"corpus", path.string()},
            {"documents", corpus.num_samples},
            {"tokens", corpus.num_tokens},
            {"content_fingerprint", corpus.content.hex()},
            {"lengths_fingerprint", corpus.lengths.hex()}};
}

}  // namespace lockstep
