#include "io/documents/document.h"

#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr std::string_view separator_prefix = "separator:";

}  // namespace

void parse_document_rule(std::string_view text, DocumentOptions& options) {
    if (text == "file") {
        options.rule = DocumentRule::file;
    } else if (text == "line") {
        options.rule = DocumentRule::line;
    } else if (text == "blank") {
        options.rule = DocumentRule::blank;
    } else if (text.starts_with(separator_prefix) && text.size() > separator_prefix.size() &&
               text.find_first_of("\r\n") == std::string_view::npos) {
        options.rule = DocumentRule::separator;
        options.separator = text.substr(separator_prefix.size());
    } else {
        throw Error(ErrorCode::invalid_argument, "'" + std::string(text) +
                                                     "' is not a document rule; expected file, line, blank "
                                                     "or separator:STR (STR is one line, such "
                                                     "as separator:%)");
    }
}

std::string document_rule_text(const DocumentOptions& options) {
    switch (options.rule) {
        case DocumentRule::file:
            return "file";
        case DocumentRule::line:
            return "line";
        case DocumentRule::blank:
            return "blank";
        case DocumentRule::separator:
            return std::string(separator_prefix) + options.separator;
    }
    return {};
}

}  // namespace lockstep
