// io/documents/text_cuts.h
//
// Where lines and text may be cut so that every document stays whole. The cuts
// of a source depend on its bytes alone, so that ranges between them can be read
// by different threads and ranks and still give the same documents.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "io/documents/document.h"
#include "io/documents/source_kind.h"

namespace lockstep {

class TextCuts {
  public:
    TextCuts(SourceContent content, const DocumentOptions& options);

    /// False when a source is one document, whatever it holds.
    bool divides() const { return divides_; }

    /// Bytes in front of a place that must be seen to know whether it is a cut; at least 1.
    std::size_t look_back() const { return by_separator_ ? separator_.size() + 3 : 1; }

    /// The first place at or after `at` where a document may begin or nothing is under way: after a newline;
    /// with blank lines before a whole blank line; with separators after one. The end of the source is such a
    /// place.
    /// @param window       bytes of the source; offsets are relative to it. What `look_back` asks for is
    /// there,
    ///                     or the window begins a line.
    /// @param at           from 1.
    /// @param begins_line  the window begins with a line.
    /// @param complete     the window reaches the end of the source.
    /// @return nullopt if more bytes are needed.
    std::optional<std::size_t> find(std::string_view window, std::size_t at, bool begins_line,
                                    bool complete) const;

  private:
    bool divides_ = true;
    bool by_blank_ = false;
    bool by_separator_ = false;
    std::string_view separator_;
};

}  // namespace lockstep
