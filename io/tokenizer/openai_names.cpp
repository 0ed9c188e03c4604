#include "io/tokenizer/openai_names.h"

#include <algorithm>
#include <array>

namespace lockstep {

namespace {

/// A family is meant by its name and by its name and a version: "gpt-4" by "gpt-4-0613" too.
struct ModelName {
    std::string_view name, encoding;
    bool family = false;
};

constexpr std::string_view r50k = "r50k_base", p50k = "p50k_base", p50k_edit = "p50k_edit",
                           cl100k = "cl100k_base", o200k = "o200k_base", harmony = "o200k_harmony";

constexpr auto models = std::to_array<ModelName>({
    {"gpt-4o", o200k, true},
    {"chatgpt-4o", o200k, true},
    {"gpt-4.1", o200k, true},
    {"gpt-4.5", o200k, true},
    {"gpt-5", o200k, true},
    {"o1", o200k, true},
    {"o3", o200k, true},
    {"o4-mini", o200k, true},
    {"gpt-oss", harmony, true},
    {"gpt-4", cl100k, true},
    {"gpt-3.5-turbo", cl100k, true},
    {"gpt-35-turbo", cl100k, true},
    {"text-embedding-3", cl100k, true},
    {"text-embedding-ada-002", cl100k},
    {"davinci-002", cl100k},
    {"babbage-002", cl100k},
    {"text-davinci-003", p50k},
    {"text-davinci-002", p50k},
    {"code-davinci", p50k, true},
    {"code-cushman", p50k, true},
    {"davinci-codex", p50k},
    {"cushman-codex", p50k},
    {"text-davinci-edit", p50k_edit, true},
    {"code-davinci-edit", p50k_edit, true},
    {"text-davinci-001", r50k},
    {"text-curie-001", r50k},
    {"text-babbage-001", r50k},
    {"text-ada-001", r50k},
    {"davinci", r50k},
    {"curie", r50k},
    {"babbage", r50k},
    {"ada", r50k},
    {"text-similarity", r50k, true},
    {"text-search", r50k, true},
    {"code-search", r50k, true},
    {"gpt2", r50k},
    {"gpt-2", r50k},
});

bool means(std::string_view name, const ModelName& model) {
    if (!name.starts_with(model.name)) return false;
    return name.size() == model.name.size() || (model.family && name[model.name.size()] == '-');
}

}  // namespace

std::string_view openai_encoding_of(std::string_view name) {
    for (const std::string_view encoding : {r50k, p50k, p50k_edit, cl100k, o200k, harmony})
        if (name == encoding) return encoding;
    if (name.starts_with("ft:")) {
        name.remove_prefix(3);
        name = name.substr(0, name.find(':'));
    }
    std::string_view best, encoding;
    for (const ModelName& model : models) {
        if (model.name.size() <= best.size() || !means(name, model)) continue;
        best = model.name;
        encoding = model.encoding;
    }
    return encoding;
}

std::string openai_ranks_file(std::string_view encoding) {
    if (encoding == p50k_edit) encoding = p50k;
    if (encoding == harmony) encoding = o200k;
    return std::string(encoding) + ".tiktoken";
}

}  // namespace lockstep
