#include "io/tokenizer/tokenizer_files.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <span>

#include "io/base/error.h"
#include "io/tokenizer/base64.h"
#include "io/tokenizer/description.h"
#include "io/tokenizer/openai_names.h"
#include "io/tokenizer/saved_files.h"

namespace lockstep {

namespace {

/// Vocabularies are megabytes; what is larger is some other file.
constexpr std::uintmax_t file_bytes_max = std::uintmax_t{1} << 30U;

std::string read_file(const std::filesystem::path& path) {
    std::error_code failure;
    if (!std::filesystem::is_regular_file(path, failure)) {
        throw Error(ErrorCode::not_found, "tokenizer '" + path.string() + "' is no file");
    }
    const std::uintmax_t bytes = std::filesystem::file_size(path, failure);
    if (!failure && bytes > file_bytes_max) {
        throw Error(ErrorCode::corrupt_data, "tokenizer '" + path.string() + "' has " +
                                                 std::to_string(bytes) +
                                                 " bytes; a vocabulary has less than 2^30");
    }
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw_errno("read tokenizer", path.string(), errno);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::string read_if_there(const std::filesystem::path& path) {
    std::error_code absent;
    return std::filesystem::exists(path, absent) ? read_file(path) : std::string();
}

/// The configuration belongs to the folder Hugging Face saves, not to a file of another name.
struct SavedBeside {
    std::string config, chat_template;
};
SavedBeside saved_beside(const std::filesystem::path& file) {
    if (file.filename() != "tokenizer.json" && file.filename() != "tokenizer.model") return {};
    return {read_if_there(file.parent_path() / "tokenizer_config.json"),
            read_if_there(file.parent_path() / "chat_template.jinja")};
}

/// The ranks of an encoding that was asked for by name. @throws Error{not_found} naming every folder.
std::filesystem::path find_ranks(const std::string& name, std::string_view encoding,
                                 const TokenizerFileOptions& options) {
    const std::string file = openai_ranks_file(encoding);
    std::string looked;
    for (const std::filesystem::path& folder : options.folders) {
        std::error_code absent;
        if (std::filesystem::is_regular_file(folder / file, absent)) return folder / file;
        looked += (looked.empty() ? "'" : ", '") + folder.string() + "'";
    }
    throw Error(ErrorCode::not_found,
                "tokenizer '" + name + "' is OpenAI's " + std::string(encoding) + ", whose ranks '" + file +
                    "' are in none of " + looked +
                    " (the working folder and those of LOCKSTEP_TOKENIZERS); put the file there or pass "
                    "its path");
}

std::unique_ptr<Tokenizer> load_file(const std::filesystem::path& path, const TokenizerFileOptions& options) {
    const std::string extension = path.extension().string();
    if (extension != ".tiktoken" && !options.pattern.empty()) {
        throw Error(ErrorCode::invalid_argument,
                    "--pattern is for .tiktoken files; '" + path.string() + "' says its pattern itself");
    }
    if (extension == ".tiktoken")
        return make_tiktoken_tokenizer(read_file(path), options.pattern, options.policy);
    const auto [config, chat_template] = saved_beside(path);
    if (extension == ".json")
        return make_json_tokenizer(read_file(path), config, chat_template, options.policy);
    if (extension == ".model")
        return make_sentencepiece_tokenizer(read_file(path), options.policy, config, chat_template);
    throw Error(ErrorCode::invalid_argument,
                "tokenizer '" + path.string() +
                    "' has no known ending; expected .json, .tiktoken, .model or a folder (or bytes, chars)");
}

struct Located {
    std::filesystem::path file;
    std::string_view encoding;  ///< Of a name that is no path; else empty.
};

Located locate(const std::filesystem::path& path, const TokenizerFileOptions& options) {
    std::error_code failure;
    if (!std::filesystem::exists(path, failure)) {
        const std::string_view encoding = openai_encoding_of(path.native());
        if (encoding.empty())
            throw Error(ErrorCode::not_found, "tokenizer '" + path.string() + "' does not exist");
        if (!options.pattern.empty())
            throw Error(ErrorCode::invalid_argument,
                        "--pattern is for .tiktoken files; '" + path.string() + "' says its pattern itself");
        return {find_ranks(path.string(), encoding, options), encoding};
    }
    if (!std::filesystem::is_directory(path, failure)) return {path, {}};
    for (const char* name : {"tokenizer.json", "tokenizer.model"})
        if (std::filesystem::exists(path / name, failure)) return {path / name, {}};
    std::string hint;
    for (const char* name : {"spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt"}) {
        if (!std::filesystem::exists(path / name, failure)) continue;
        hint = "; its '" + std::string(name) +
               "' does not hold all of the tokenizer, save it with transformers' AutoTokenizer, which writes "
               "tokenizer.json";
        break;
    }
    throw Error(ErrorCode::not_found,
                "folder '" + path.string() + "' has neither tokenizer.json nor tokenizer.model" + hint);
}

}  // namespace

std::vector<std::filesystem::path> tokenizer_folders() {
    std::vector<std::filesystem::path> folders{"."};
    const char* variable = std::getenv("LOCKSTEP_TOKENIZERS");
    std::string_view rest = variable == nullptr ? "" : variable;
    while (!rest.empty()) {
        const std::string_view folder = rest.substr(0, rest.find(':'));
        if (!folder.empty()) folders.emplace_back(folder);
        rest.remove_prefix(std::min(folder.size() + 1, rest.size()));
    }
    return folders;
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path,
                                          const TokenizerFileOptions& options) {
    const auto [file, encoding] = locate(path, options);
    try {
        if (!encoding.empty()) return make_openai_tokenizer(read_file(file), encoding, options.policy);
        return load_file(file, options);
    } catch (const Error& error) {
        if (std::string_view(error.what()).find(file.string()) != std::string_view::npos) throw;
        throw Error(error.code(), "'" + file.string() + "': " + error.what());
    }
}

Digest digest_of_tokenizer_files(const std::filesystem::path& path, const TokenizerFileOptions& options) {
    const std::filesystem::path file = locate(path, options).file;
    const auto [config, chat_template] = saved_beside(file);
    DigestStream digest;
    for (const std::string& text : {read_file(file), config, chat_template}) {
        const std::uint64_t bytes = text.size();
        digest.update(std::as_bytes(std::span(&bytes, 1)));
        digest.update(std::as_bytes(std::span(text)));
    }
    return digest.value();
}

std::vector<std::string> ignored_settings_of(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                             const TokenizerFileOptions& options) {
    const std::filesystem::path file = locate(path, options).file;
    SavedTexts saved;
    if (file.extension() == ".json") saved.tokenizer = read_file(file);
    saved.config = saved_beside(file).config;
    if (!saved.config.empty())
        saved.specials_map = read_if_there(file.parent_path() / "special_tokens_map.json");
    return ignored_settings(saved, tokenizer);
}

std::unique_ptr<Tokenizer> make_file_tokenizer(const nlohmann::json& description,
                                               const SpecialsPolicy& policy) {
    const auto text = [&](const char* name) {
        const auto field = description.find(name);
        if (field == description.end() || !field->is_string())
            throw Error(ErrorCode::corrupt_data,
                        std::string("tokenizer description: no text in field '") + name + "'");
        return field->get<std::string>();
    };
    const std::string type = text("type");
    if (type == "tokenizer.json")
        return make_json_tokenizer(text("file"), text("config"), text("chat_template"), policy);
    if (type == "tiktoken") return make_tiktoken_tokenizer(text("ranks"), text("encoding"), policy);
    if (type == "sentencepiece") {
        const auto model = base64_decoded(text("model"));
        if (!model)
            throw Error(ErrorCode::corrupt_data, "tokenizer description: field 'model' is not base64");
        // Absent where there was none, as in older corpora.
        const auto text_or_none = [&](const char* name) {
            return description.contains(name) ? text(name) : std::string();
        };
        return make_sentencepiece_tokenizer(*model, policy, text_or_none("config"),
                                            text_or_none("chat_template"));
    }
    return nullptr;
}

}  // namespace lockstep
