#include "io/document_reader.h"

#include <fcntl.h>
#include <simdjson.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "io/base/error.h"
#include "io/posix_file.h"

namespace lockstep {

namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
constexpr std::string_view whitespace = " \t\r\n\v\f";

/// The bytes of a file: mapped if it is a regular one, else (a pipe) read to its end.
class SourceBytes {
  public:
    explicit SourceBytes(const std::filesystem::path& path) {
        PosixFile file = open(path);
        if (!file.is_regular()) {
            read_to_end(file);
            return;
        }
        mapped_bytes_ = file.size();
        if (mapped_bytes_ == 0) return;
        map_ = ::mmap(nullptr, mapped_bytes_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
        if (map_ == MAP_FAILED) throw_errno("map", path.string(), errno);
        static_cast<void>(::madvise(map_, mapped_bytes_, MADV_SEQUENTIAL));
    }
    ~SourceBytes() {
        if (map_ != MAP_FAILED) ::munmap(map_, mapped_bytes_);
    }
    SourceBytes(const SourceBytes&) = delete;
    SourceBytes& operator=(const SourceBytes&) = delete;

    std::string_view view() const {
        if (map_ == MAP_FAILED) return read_;
        return {static_cast<const char*>(map_), mapped_bytes_};
    }

  private:
    static PosixFile open(const std::filesystem::path& path) {
        if (std::filesystem::is_directory(path)) {
            throw Error(ErrorCode::not_found, "'" + path.string() + "' is a folder; expected a text file");
        }
        try {
            return PosixFile(path, O_RDONLY);
        } catch (const Error& error) {
            // An input that may not be read is as good as absent.
            throw Error(ErrorCode::not_found, error.what());
        }
    }

    void read_to_end(PosixFile& file) {
        std::array<std::byte, 1U << 16U> buffer{};
        for (std::size_t got = buffer.size(); got == buffer.size();) {
            got = file.read(buffer);
            read_.append(reinterpret_cast<const char*>(buffer.data()), got);
        }
    }

    void* map_ = MAP_FAILED;
    std::size_t mapped_bytes_ = 0;
    std::string read_;
};

/// One line without its terminator ("\n" or "\r\n").
struct Line {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t next = 0;      ///< Where the line after it begins.
    std::uint64_t number = 0;  ///< From 1.
};

class LineCursor {
  public:
    LineCursor(std::string_view bytes, std::size_t begin, std::uint64_t first_number)
        : bytes_(bytes), next_(begin), number_(first_number) {}

    std::optional<Line> take() {
        if (next_ >= bytes_.size()) return std::nullopt;
        Line line{next_, bytes_.find('\n', next_), 0, number_++};
        if (line.end == std::string_view::npos) {
            line.end = bytes_.size();
            line.next = bytes_.size();
        } else {
            line.next = line.end + 1;
        }
        if (line.end > line.begin && bytes_[line.end - 1] == '\r') --line.end;
        next_ = line.next;
        return line;
    }

  private:
    std::string_view bytes_;
    std::size_t next_;
    std::uint64_t number_;
};

bool is_blank(std::string_view text) {
    return text.find_first_not_of(whitespace) == std::string_view::npos;
}

/// What is wrong with one line; thrown inside this file alone.
struct BadLine {
    std::uint64_t line;
    std::string problem;
};

/// The fields of a JSONL line that matter here. Views live until the next line is parsed.
struct JsonFields {
    std::optional<std::string_view> text, prompt, response;
    std::optional<std::string> key;
};

class SourceReader {
  public:
    SourceReader(const std::filesystem::path& file, std::uint32_t source_index,
                 const DocumentOptions& options, std::uint64_t& bad_so_far,
                 const std::function<void(const Document&)>& deliver,
                 const std::function<void(std::uint64_t)>& progress)
        : name_(file.string()),
          source_(file),
          bytes_(source_.view()),
          begin_(bytes_.starts_with(byte_order_mark) ? byte_order_mark.size() : 0),
          source_index_(source_index),
          options_(options),
          bad_so_far_(bad_so_far),
          deliver_(deliver),
          progress_(progress) {}

    SourceSummary read() {
        const std::string extension = std::filesystem::path(name_).extension().string();
        if (extension == ".jsonl" || extension == ".json") {
            read_jsonl();
        } else {
            switch (options_.rule) {
                case DocumentRule::file:
                    plain_document(begin_, bytes_.size(), 1);
                    break;
                case DocumentRule::line:
                    read_lines();
                    break;
                case DocumentRule::blank:
                    read_paragraphs();
                    break;
                case DocumentRule::separator:
                    read_separated();
                    break;
            }
        }
        read_up_to(bytes_.size(), 0);
        summary_.name = name_;
        summary_.bytes = bytes_.size();
        summary_.digest = digest_.value();
        return summary_;
    }

  private:
    void read_lines() {
        LineCursor cursor(bytes_, begin_, 1);
        while (const auto line = cursor.take()) plain_document(line->begin, line->end, line->number);
    }

    void read_paragraphs() {
        LineCursor cursor(bytes_, begin_, 1);
        std::optional<Line> first;
        std::size_t end = 0;
        while (const auto line = cursor.take()) {
            if (!is_blank(bytes_.substr(line->begin, line->end - line->begin))) {
                if (!first) first = line;
                end = line->end;
            } else if (first) {
                plain_document(first->begin, end, first->number);
                first.reset();
            }
        }
        if (first) plain_document(first->begin, end, first->number);
    }

    void read_separated() {
        LineCursor cursor(bytes_, begin_, 1);
        std::size_t begin = begin_;
        std::size_t end = begin_;
        std::uint64_t first_line = 1;
        while (const auto line = cursor.take()) {
            if (bytes_.substr(line->begin, line->end - line->begin) != options_.separator) {
                end = line->end;
                continue;
            }
            plain_document(begin, std::max(begin, end), first_line);
            begin = line->next;
            first_line = line->number + 1;
        }
        // Nothing after the last separator is the end of the file, not an empty document.
        if (begin < bytes_.size()) plain_document(begin, end, first_line);
    }

    void plain_document(std::size_t begin, std::size_t end, std::uint64_t line) {
        const std::string_view text = bytes_.substr(begin, end - begin);
        const bool separated = options_.rule == DocumentRule::separator;
        if (separated ? is_blank(text) : text.empty()) {
            ++summary_.empty;
        } else if (simdjson::validate_utf8(text.data(), text.size())) {
            Document document;
            document.text = text;
            hand_over(document, begin, text, line);
        } else {
            count_bad(
                {line_of_invalid_utf8(begin, end, line), "invalid UTF-8; convert the file (iconv -t UTF-8)"});
        }
        read_up_to(end, least_step_bytes);
    }

    std::uint64_t line_of_invalid_utf8(std::size_t begin, std::size_t end, std::uint64_t first_line) const {
        // A newline is never part of a longer character, so lines are valid or not each by itself.
        LineCursor cursor(bytes_.substr(0, end), begin, first_line);
        while (const auto line = cursor.take()) {
            if (!simdjson::validate_utf8(bytes_.data() + line->begin, line->next - line->begin))
                return line->number;
        }
        return first_line;
    }

    void read_jsonl() {
        LineCursor cursor(bytes_, begin_, 1);
        while (const auto line = cursor.take()) {
            const std::string_view text = bytes_.substr(line->begin, line->end - line->begin);
            try {
                json_document(text, *line);
            } catch (const BadLine& bad) {
                count_bad(bad);
            }
            read_up_to(line->next, least_step_bytes);
        }
    }

    void json_document(std::string_view text, const Line& line) {
        if (is_blank(text)) {
            ++summary_.empty;
            return;
        }
        const JsonFields fields = parse_json_line(text, line.number);
        Document document;
        if (fields.text) {
            document.text = *fields.text;
        } else if (fields.prompt && fields.response) {
            prompt_and_response_ = *fields.prompt;
            prompt_and_response_ += *fields.response;
            document.text = prompt_and_response_;
            document.has_prompt = true;
            document.prompt = document.text.substr(0, fields.prompt->size());
        } else {
            throw BadLine{line.number,
                          "no field '" + options_.text_field +
                              "', nor 'prompt' and 'response'; name the field with --text-field"};
        }
        if (document.text.empty()) {
            ++summary_.empty;
            return;
        }
        if (fields.key) document.key = *fields.key;
        hand_over(document, line.begin, text, line.number);
    }

    JsonFields parse_json_line(std::string_view text, std::uint64_t number) {
        simdjson::dom::object object;
        const auto failure = parser_.parse(text.data(), text.size()).get_object().get(object);
        if (failure != simdjson::SUCCESS) {
            const char* const advice =
                text.starts_with('[') ? "; expected one object a line, not an array" : "";
            throw BadLine{number, std::string("not one JSON object (") + simdjson::error_message(failure) +
                                      ")" + advice};
        }
        JsonFields fields;
        for (const auto& [name, value] : object) {
            if (name == options_.text_field) {
                set_text(fields.text, name, value, number);
            } else if (name == "prompt") {
                set_text(fields.prompt, name, value, number);
            } else if (name == "response") {
                set_text(fields.response, name, value, number);
            } else if (name == options_.key_field && !value.is_null()) {
                if (fields.key) throw twice(name, number);
                fields.key = key_of(name, value, number);
            }
        }
        return fields;
    }

    static BadLine twice(std::string_view name, std::uint64_t number) {
        return {number, "field '" + std::string(name) + "' stands twice in one object"};
    }

    static void set_text(std::optional<std::string_view>& field, std::string_view name,
                         simdjson::dom::element value, std::uint64_t number) {
        if (field) throw twice(name, number);
        std::string_view text;
        if (value.get_string().get(text) != simdjson::SUCCESS) {
            throw BadLine{number, "field '" + std::string(name) + "' is not a string"};
        }
        field = text;
    }

    static std::string key_of(std::string_view name, simdjson::dom::element value, std::uint64_t number) {
        std::string_view text;
        std::int64_t integer = 0;
        std::uint64_t large = 0;
        if (value.get_string().get(text) == simdjson::SUCCESS && !text.empty()) return std::string(text);
        if (value.get_int64().get(integer) == simdjson::SUCCESS) return std::to_string(integer);
        if (value.get_uint64().get(large) == simdjson::SUCCESS) return std::to_string(large);
        throw BadLine{number,
                      "field '" + std::string(name) + "' is neither an integer nor a string with content"};
    }

    void hand_over(Document& document, std::size_t offset, std::string_view bytes, std::uint64_t line) {
        document.source_index = source_index_;
        document.source_offset = offset;
        document.line = line;
        document.digest = digest_of(std::as_bytes(std::span(bytes.data(), bytes.size())));
        ++summary_.documents;
        deliver_(document);
    }

    void count_bad(const BadLine& bad) {
        ++summary_.bad_lines;
        if (++bad_so_far_ <= options_.skip_bad_max) return;
        std::string message = name_ + ":" + std::to_string(bad.line) + ": " + bad.problem;
        if (options_.skip_bad_max > 0) {
            message += " (--skip-bad " + std::to_string(options_.skip_bad_max) + " is used up)";
        }
        throw Error(ErrorCode::corrupt_data, message);
    }

    /// Digest and report what was read, in steps of at least this many bytes.
    void read_up_to(std::size_t offset, std::size_t step_bytes) {
        if (offset < digested_ + step_bytes) return;
        const std::string_view piece = bytes_.substr(digested_, offset - digested_);
        digest_.update(std::as_bytes(std::span(piece.data(), piece.size())));
        digested_ = offset;
        if (progress_) progress_(offset);
    }

    static constexpr std::size_t least_step_bytes = std::size_t{1} << 20U;

    std::string name_;
    SourceBytes source_;
    std::string_view bytes_;
    std::size_t begin_;  ///< After the byte-order mark, if there is one.
    std::uint32_t source_index_;
    const DocumentOptions& options_;
    std::uint64_t& bad_so_far_;
    const std::function<void(const Document&)>& deliver_;
    const std::function<void(std::uint64_t)>& progress_;

    simdjson::dom::parser parser_;
    std::string prompt_and_response_;
    SourceSummary summary_;
    DigestStream digest_;
    std::size_t digested_ = 0;
};

/// Text files hold no NUL byte; indices, images and archives nearly always do near their beginning.
bool looks_binary(const std::filesystem::path& path) {
    constexpr std::size_t looked_at = 8192;
    std::array<char, looked_at> head{};
    std::ifstream stream(path, std::ios::binary);
    stream.read(head.data(), head.size());
    const auto got = static_cast<std::size_t>(stream.gcount());
    return std::memchr(head.data(), 0, got) != nullptr;
}

class SourceList {
  public:
    explicit SourceList(std::vector<std::string>& left_out) : left_out_(left_out) {}

    void add_argument(const std::filesystem::path& path) {
        if (!std::filesystem::exists(path)) {
            throw Error(ErrorCode::not_found,
                        "'" + path.string() + "' does not exist; expected a file or a folder");
        }
        if (std::filesystem::is_directory(path)) {
            add_folder(path);
        } else {
            add_once(path);
        }
    }

    std::vector<std::filesystem::path> take() { return std::move(files_); }

  private:
    void add_folder(const std::filesystem::path& folder) {
        std::vector<std::filesystem::path> candidates;
        const std::size_t notes_before = left_out_.size();
        collect(folder, candidates);
        std::sort(candidates.begin(), candidates.end());
        // The files themselves come before links to them, so that a link never takes its target's place.
        std::set<std::filesystem::path> real_files;
        for (const auto& path : candidates) {
            if (!std::filesystem::is_symlink(path)) real_files.insert(std::filesystem::canonical(path));
        }
        const std::size_t before = files_.size();
        for (const auto& path : candidates) {
            if (std::filesystem::is_symlink(path) && real_files.contains(std::filesystem::canonical(path))) {
                leave_out(path, "a link to a file that is listed itself");
            } else {
                add_once(path);
            }
        }
        std::sort(left_out_.begin() + static_cast<std::ptrdiff_t>(notes_before), left_out_.end());
        if (files_.size() == before) {
            throw Error(ErrorCode::not_found,
                        "folder '" + folder.string() + "' holds no text file that is not listed already");
        }
    }

    void collect(const std::filesystem::path& folder, std::vector<std::filesystem::path>& candidates) {
        std::filesystem::recursive_directory_iterator entry(folder);
        for (const auto end = std::filesystem::end(entry); entry != end; ++entry) {
            const std::filesystem::path& path = entry->path();
            if (path.filename().string().starts_with('.')) {
                leave_out(path, "hidden");
                if (entry->is_directory()) entry.disable_recursion_pending();
            } else if (entry->is_directory()) {
                if (entry->is_symlink()) leave_out(path, "a link to a folder");
            } else if (!entry->is_regular_file()) {
                leave_out(path, "not a regular file");
            } else if (path.extension() == ".dat") {
                leave_out(path, "an index (*.dat)");
            } else if (looks_binary(path)) {
                leave_out(path, "binary");
            } else {
                candidates.push_back(path);
            }
        }
    }

    void add_once(const std::filesystem::path& path) {
        if (listed_.insert(std::filesystem::canonical(path)).second) {
            files_.push_back(path);
        } else {
            leave_out(path, "listed already");
        }
    }

    void leave_out(const std::filesystem::path& path, const char* reason) {
        left_out_.push_back(path.string() + ": " + reason);
    }

    std::vector<std::string>& left_out_;
    std::vector<std::filesystem::path> files_;
    std::set<std::filesystem::path> listed_;
};

}  // namespace

void parse_document_rule(std::string_view text, DocumentOptions& options) {
    constexpr std::string_view separator_prefix = "separator:";
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

SourceSummary read_documents(const std::filesystem::path& file, std::uint32_t source_index,
                             const DocumentOptions& options, std::uint64_t& bad_so_far,
                             const std::function<void(const Document&)>& deliver,
                             const std::function<void(std::uint64_t)>& progress) {
    return SourceReader(file, source_index, options, bad_so_far, deliver, progress).read();
}

std::vector<std::filesystem::path> expand_sources(const std::vector<std::string>& arguments,
                                                  std::vector<std::string>& left_out) {
    SourceList list(left_out);
    try {
        for (const std::string& argument : arguments) list.add_argument(argument);
    } catch (const std::filesystem::filesystem_error& failure) {
        throw_errno("read", failure.path1().string(), failure.code().value());
    }
    return list.take();
}

}  // namespace lockstep
