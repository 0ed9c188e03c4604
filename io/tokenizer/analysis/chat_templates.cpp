// Templates of the chat formats that show in a vocabulary.

#include <algorithm>
#include <array>
#include <utility>

#include "io/documents/chat_format.h"
#include "io/tokenizer/analysis/tokenizer_check.h"

namespace lockstep {

namespace {

using Named = std::pair<std::string_view, std::string_view>;

constexpr std::array<Named, 4> templates{
    Named{"chatml",
          "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
          "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
          "{% endif %}"},
    Named{"llama",
          "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
          "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
          "{% endif %}"},
    Named{"phi",
          "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + "
          "'<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
    Named{"gemma",
          "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
          "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\\n\\n' %}{% else %}"
          "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' + "
          "ns.system + message['content'] | trim + '<end_of_turn>\\n' }}{% set ns.system = '' %}{% endif %}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"},
};

constexpr std::array<std::string_view, 9> paired_blocks{"if",     "for",   "macro", "generation", "call",
                                                        "filter", "block", "with",  "autoescape"};

std::string without_comments(std::string_view jinja) {
    std::string text;
    for (std::size_t at = 0; at < jinja.size();) {
        const std::size_t begin = std::min(jinja.find("{#", at), jinja.size());
        text += jinja.substr(at, begin - at);
        const std::size_t end = jinja.find("#}", begin);
        at = end == std::string_view::npos ? jinja.size() : end + 2;
    }
    return text;
}

/// "<|user|>", also with the wide bars of some vocabularies: never anything but a token.
bool has_bars(std::string_view token) {
    return token.starts_with("<|") || token.starts_with("<｜");
}

/// "in <think> tags": tokens begin a text or a line, or stand behind an expression or another token.
bool is_prose(std::string_view text, std::size_t begin) {
    if (begin == 0) return false;
    const char before = text[begin - 1];
    const bool escape = begin > 1 && text[begin - 2] == '\\' && (before == 'n' || before == 't');
    return !escape && std::string_view("'\"\n}>").find(before) == std::string_view::npos;
}

/// "<tools>" where there is "</tools>": a tag, spelled in letters. Only <s> and </s> are tokens everywhere.
bool is_tag_of_pair(std::string_view text, const std::string& token) {
    if (token == "<s>" || token == "</s>") return false;
    const bool closes = token[1] == '/';
    return text.find(closes ? "<" + token.substr(2) : "</" + token.substr(1)) != std::string_view::npos;
}

/// Behind the `{% endraw %}` that closes a block whose text stands from `begin` on; npos: there is none.
std::size_t end_of_raw(std::string_view jinja, std::size_t begin) {
    for (std::size_t at = jinja.find("{%", begin); at != std::string_view::npos;
         at = jinja.find("{%", at + 2)) {
        const std::size_t word = jinja.find_first_not_of("-+ \n\t", at + 2);
        if (word == std::string_view::npos || !jinja.substr(word).starts_with("endraw")) continue;
        const std::size_t end = jinja.find("%}", word);
        if (end != std::string_view::npos) return end + 2;
    }
    return std::string_view::npos;
}

}  // namespace

std::string chat_format_of(const Tokenizer& tokenizer) {
    for (const auto& [name, text] : templates) {
        const auto markers = chat_format(name).markers();
        if (std::ranges::all_of(markers,
                                [&](const std::string& m) { return tokenizer.id_of(m).has_value(); }))
            return std::string(name);
    }
    return {};
}

std::string_view chat_template_of_format(std::string_view format) {
    for (const auto& [name, text] : templates)
        if (name == format) return text;
    return {};
}

std::vector<std::string> template_tokens(std::string_view jinja) {
    const std::string text = without_comments(jinja);
    std::vector<std::string> tokens;
    for (std::size_t begin = text.find('<'); begin != std::string::npos; begin = text.find('<', begin + 1)) {
        const std::size_t end = text.find('>', begin);
        if (end == std::string::npos) break;
        const std::string token = text.substr(begin, end + 1 - begin);
        const bool plain = token.size() > 2 && token.find_first_of(" '\"{}()=\n\\") == std::string::npos &&
                           token.find('<', 1) == std::string::npos;
        if (!plain || (!has_bars(token) && (is_prose(text, begin) || is_tag_of_pair(text, token)))) continue;
        if (std::ranges::find(tokens, token) == tokens.end()) tokens.push_back(token);
    }
    return tokens;
}

std::string template_problem(std::string_view jinja) {
    std::vector<std::string> open;
    for (std::size_t at = 0; at < jinja.size();) {
        const std::size_t brace = jinja.find('{', at);
        if (brace == std::string_view::npos || brace + 1 >= jinja.size()) break;
        const char kind = jinja[brace + 1];
        if (kind != '{' && kind != '%' && kind != '#') {
            at = brace + 1;
            continue;
        }
        const std::string closing = kind == '{' ? "}}" : std::string(1, kind) + "}";
        const std::size_t end = jinja.find(closing, brace + 2);
        if (end == std::string_view::npos)
            return "'{" + std::string(1, kind) + "' at " + std::to_string(brace) + " is not closed by '" +
                   closing + "'";
        at = end + 2;
        if (kind != '%') continue;
        std::string_view block = jinja.substr(brace + 2, end - brace - 2);
        block.remove_prefix(std::min(block.find_first_not_of("-+ \n\t"), block.size()));
        const std::string word(block.substr(0, block.find_first_of(" \n\t-+(")));
        const bool sets_block = word == "set" && block.find('=') == std::string_view::npos;
        if (word == "raw") {
            at = end_of_raw(jinja, at);
            if (at == std::string_view::npos) return "'raw' is not closed";
        } else if (std::ranges::find(paired_blocks, word) != paired_blocks.end() || sets_block) {
            open.push_back(word);
        } else if (word.starts_with("end")) {
            if (open.empty() || "end" + open.back() != word)
                return "'" + word + "' closes nothing" +
                       (open.empty() ? "" : "; '" + open.back() + "' is open");
            open.pop_back();
        }
    }
    return open.empty() ? "" : "'" + open.back() + "' is not closed";
}

}  // namespace lockstep
