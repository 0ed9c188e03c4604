#include "io/documents/text_cuts.h"

#include <algorithm>

#include "io/base/blanks.h"
#include "io/base/contract.h"

namespace lockstep {

TextCuts::TextCuts(SourceContent content, const DocumentOptions& options) : separator_(options.separator) {
    if (content == SourceContent::json_lines) return;
    divides_ = options.rule != DocumentRule::file;
    by_blank_ = options.rule == DocumentRule::blank;
    by_separator_ = options.rule == DocumentRule::separator;
}

std::optional<std::size_t> TextCuts::find(std::string_view window, std::size_t at, bool begins_line,
                                          bool complete) const {
    LOCKSTEP_EXPECTS(at != 0);
    const auto end = complete ? std::optional(window.size()) : std::nullopt;
    if (!divides_ || at >= window.size()) return end;
    // A separator that ends at or after `at` begins no earlier than this.
    const std::size_t from = by_separator_ ? at - std::min(at, separator_.size() + 2) : at;
    std::size_t line = 0;
    if (from != 0 || !begins_line) {
        const std::size_t newline = window.find('\n', from == 0 ? 0 : from - 1);
        if (newline == std::string_view::npos) return end;
        line = newline + 1;
    }
    while (by_blank_ || by_separator_) {
        const std::size_t newline = window.find('\n', line);
        if (newline == std::string_view::npos) return end;
        std::string_view text = window.substr(line, newline - line);
        if (by_blank_ && is_blank(text)) return line;
        if (text.ends_with('\r')) text.remove_suffix(1);
        if (by_separator_ && text == separator_ && newline + 1 >= at) return newline + 1;
        line = newline + 1;
    }
    return line;
}

}  // namespace lockstep
