#include "launch/chaos/error_clarity.h"

#include <algorithm>
#include <cctype>
#include <span>
#include <string_view>

namespace lockstep {

namespace {

/// What in a file an error may be about.
constexpr const char* objects[] = {"attribute",  "begins with", "bytes",       "column",  "digest",
                                   "field",      "fingerprint", "file is",     "format",  "holds",
                                   "is no JSON", "is plan",     "JSON object", "ledger",  "lengths",
                                   "of step",    "revision",    "settings",    "shard '", "structure",
                                   "such file",  "tokenizer",   "version"};
/// How it tells what should be there; of versions, which ones can be read.
constexpr const char* expectations[] = {"expected", "reads up to", "reads version"};

/// How it says, before that, what is there.
constexpr const char* findings[] = {" are ", " begins with ", " belongs to ", " found ",
                                    " has ", " have ",        " holds ",      "field '"};

/// What follows an "is" that only judges. Whole words: a digest may begin with "bad".
constexpr std::string_view judgements[] = {"bad",       "broken",  "corrupt", "damaged",
                                           "incorrect", "invalid", "wrong"};

/// The words that speak, without paths: a folder's name says nothing of what is wrong in a file.
std::string without_paths(const std::string& text) {
    std::string kept;
    for (std::size_t begin = 0; begin < text.size();) {
        // A path is quoted, with whatever spaces it has, or a word.
        const bool quoted = text[begin] == '\'';
        const std::size_t end = std::min(text.find_first_of(quoted ? "'" : " '", begin + 1), text.size());
        const std::string part = text.substr(begin, end - begin);
        if (part.find('/') == std::string::npos) kept += part;
        begin = end + (quoted && end < text.size() ? 1 : 0);
    }
    return kept;
}

/// Where the first of them begins; npos: none is there.
std::size_t find_any(const std::string& text, std::span<const char* const> parts) {
    std::size_t first = std::string::npos;
    for (const char* part : parts) first = std::min(first, text.find(part));
    return first;
}

bool begins_with_word(std::string_view text, std::string_view word) {
    return text.starts_with(word) &&
           (text.size() == word.size() || !std::isalnum(static_cast<unsigned char>(text[word.size()])));
}

/// Whether it says what something is, and not merely that it is wrong.
bool tells_what_is(const std::string& text) {
    constexpr std::string_view is = " is ";
    for (std::size_t at = text.find(is); at != std::string::npos; at = text.find(is, at + 1)) {
        const std::string_view told = std::string_view(text).substr(at + is.size());
        if (std::ranges::none_of(judgements,
                                 [&](std::string_view word) { return begins_with_word(told, word); }))
            return true;
    }
    return false;
}

}  // namespace

std::string why_not_one_line(const std::string& text) {
    if (text.find('\n') != std::string::npos) return "an error of several lines: " + text;
    if (text.size() < 20 || text.size() > 2000) return "an error nobody can use: " + text;
    return "";
}

std::string why_unclear(const std::string& text) {
    if (std::string why = why_not_one_line(text); !why.empty()) return why;
    const std::string words = without_paths(text);
    if (find_any(words, objects) == std::string::npos)
        return "an error that does not name what in the file is wrong: " + text;
    const std::size_t expectation = find_any(words, expectations);
    if (expectation == std::string::npos) return "an error without what was expected: " + text;
    const std::string before = words.substr(0, expectation);
    if (find_any(before, findings) == std::string::npos && !tells_what_is(before))
        return "an error without what was found: " + text;
    return "";
}

}  // namespace lockstep
