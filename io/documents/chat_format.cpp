#include "io/documents/chat_format.h"

#include <algorithm>
#include <array>
#include <optional>

#include "io/base/error.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

/// What Python's str.strip() takes away, and so the `trim` of the models' templates.
bool is_stripped(char32_t c) {
    return properties_of(c).is_white_space() || (c >= 0x1C && c <= 0x1F);
}

/// @pre valid UTF-8.
std::string_view trimmed(std::string_view text) {
    while (!text.empty()) {
        std::size_t behind_first = 0;
        if (!is_stripped(take_code_point(text, behind_first))) break;
        text.remove_prefix(behind_first);
    }
    while (!text.empty()) {
        std::size_t last = text.size() - 1;
        while ((static_cast<unsigned char>(text[last]) & 0xC0U) == 0x80U) --last;
        std::size_t behind_last = last;
        if (!is_stripped(take_code_point(text, behind_last))) break;
        text.remove_suffix(text.size() - last);
    }
    return text;
}

/// Appends parts, as prompt or as what is trained.
class ChatPen {
  public:
    explicit ChatPen(ChatText& chat) : chat_(chat) {}

    ChatPen& trained(bool yes) {
        trained_ = yes;
        return *this;
    }
    ChatPen& text(std::string_view bytes) { return put(bytes, ChatPartKind::text); }
    ChatPen& marker(std::string_view bytes) { return put(bytes, ChatPartKind::marker); }
    ChatPen& begin_of_text() { return put({}, ChatPartKind::begin_of_text); }
    ChatPen& end_of_text() { return put({}, ChatPartKind::end_of_text); }

  private:
    ChatPen& put(std::string_view bytes, ChatPartKind kind) {
        const std::size_t begin = chat_.text.size();
        chat_.text += bytes;
        chat_.parts.push_back({begin, chat_.text.size(), kind, trained_});
        return *this;
    }

    ChatText& chat_;
    bool trained_ = false;
};

bool is_assistant(const ChatMessage& message) {
    return message.role == "assistant";
}

/// The system message, taken off the front.
std::optional<std::string_view> take_system(std::span<const ChatMessage>& messages) {
    if (messages.front().role != "system") return std::nullopt;
    const std::string_view content = messages.front().content;
    messages = messages.subspan(1);
    return content;
}

/// `<|im_start|>role\ncontent<|im_end|>\n`
class ChatMl : public ChatFormat {
    std::vector<std::string> markers() const override { return {"<|im_start|>", "<|im_end|>"}; }
    void put(std::span<const ChatMessage> messages, ChatText& chat) const override {
        ChatPen pen(chat);
        for (const ChatMessage& message : messages) {
            pen.trained(false).marker("<|im_start|>").text(message.role).text("\n");
            pen.trained(is_assistant(message)).text(message.content).marker("<|im_end|>");
            pen.trained(false).text("\n");
        }
    }
};

/// Llama 3: `<|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>`, contents trimmed.
class Llama3 : public ChatFormat {
    std::vector<std::string> markers() const override {
        return {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
    }
    void put(std::span<const ChatMessage> messages, ChatText& chat) const override {
        ChatPen pen(chat);
        for (const ChatMessage& message : messages) {
            pen.trained(false).marker("<|start_header_id|>").text(message.role);
            pen.marker("<|end_header_id|>").text("\n\n");
            pen.trained(is_assistant(message)).text(trimmed(message.content)).marker("<|eot_id|>");
        }
    }
};

/// Llama 2: `[INST] <<SYS>>\nsystem\n<</SYS>>\n\nuser [/INST] assistant </s>`, each turn with a BOS; what
/// stands between the marks is trimmed as one. The spaces around a response are part of it: the model has to
/// write them.
class Llama2 : public ChatFormat {
    std::vector<std::string> markers() const override { return {}; }
    bool ends_in_eos() const override { return true; }
    bool alternates() const override { return true; }
    void put(std::span<const ChatMessage> messages, ChatText& chat) const override {
        ChatPen pen(chat);
        auto system = take_system(messages);
        for (const ChatMessage& message : messages) {
            if (is_assistant(message)) {
                pen.trained(true).text(" ").text(trimmed(message.content)).text(" ").end_of_text();
                continue;
            }
            pen.trained(false).begin_of_text();
            std::string content(message.content);
            if (system) content = "<<SYS>>\n" + std::string(*system) + "\n<</SYS>>\n\n" + content;
            system.reset();
            pen.text("[INST] ").text(trimmed(content)).text(" [/INST]");
        }
    }
};

/// Phi 3: `<|role|>\ncontent<|end|>\n`
class Phi : public ChatFormat {
    std::vector<std::string> markers() const override {
        return {"<|system|>", "<|user|>", "<|assistant|>", "<|end|>"};
    }
    void put(std::span<const ChatMessage> messages, ChatText& chat) const override {
        ChatPen pen(chat);
        for (const ChatMessage& message : messages) {
            pen.trained(false).marker("<|" + message.role + "|>").text("\n");
            pen.trained(is_assistant(message)).text(message.content).marker("<|end|>");
            pen.trained(false).text("\n");
        }
    }
};

/// `<start_of_turn>user\ncontent<end_of_turn>\n`, the assistant is `model`, a system message stands before
/// the first user's; contents trimmed.
class Gemma : public ChatFormat {
    std::vector<std::string> markers() const override { return {"<start_of_turn>", "<end_of_turn>"}; }
    bool alternates() const override { return true; }
    void put(std::span<const ChatMessage> messages, ChatText& chat) const override {
        ChatPen pen(chat);
        auto system = take_system(messages);
        for (const ChatMessage& message : messages) {
            const bool answers = is_assistant(message);
            pen.trained(false).marker("<start_of_turn>").text(answers ? "model\n" : "user\n");
            if (system) pen.text(*system).text("\n\n");
            system.reset();
            pen.trained(answers).text(trimmed(message.content)).marker("<end_of_turn>");
            pen.trained(false).text("\n");
        }
    }
};

/// `<|role|>\ncontent</s>\n`
class Zephyr : public ChatFormat {
    std::vector<std::string> markers() const override { return {}; }
    bool ends_in_eos() const override { return true; }
    void put(std::span<const ChatMessage> messages, ChatText& chat) const override {
        ChatPen pen(chat);
        for (const ChatMessage& message : messages) {
            // Where these are no tokens of their own they are plain text, as in the models of that name.
            pen.trained(false).marker("<|" + message.role + "|>").text("\n");
            pen.trained(is_assistant(message)).text(message.content).end_of_text();
            pen.trained(false).text("\n");
        }
    }
};

/// `system USER: user ASSISTANT: assistant</s>USER: …`. The space before a response is part of it.
class Vicuna : public ChatFormat {
    std::vector<std::string> markers() const override { return {}; }
    bool ends_in_eos() const override { return true; }
    bool alternates() const override { return true; }
    void put(std::span<const ChatMessage> messages, ChatText& chat) const override {
        ChatPen pen(chat);
        pen.text(take_system(messages).value_or(
            "A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions."));
        pen.text(" ");
        for (const ChatMessage& message : messages) {
            if (is_assistant(message)) {
                pen.trained(true).text(" ").text(message.content).end_of_text();
            } else {
                pen.trained(false).text("USER: ").text(message.content).text(" ASSISTANT:");
            }
        }
    }
};

/// `system\n\n### Instruction:\nuser\n\n### Response:\nassistant</s>\n\n### Instruction:…`
class Alpaca : public ChatFormat {
    std::vector<std::string> markers() const override { return {}; }
    bool ends_in_eos() const override { return true; }
    bool alternates() const override { return true; }
    void put(std::span<const ChatMessage> messages, ChatText& chat) const override {
        ChatPen pen(chat);
        pen.text(take_system(messages).value_or(
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request."));
        for (const ChatMessage& message : messages) {
            if (is_assistant(message)) {
                pen.trained(true).text(message.content).end_of_text();
            } else {
                pen.trained(false).text("\n\n### Instruction:\n").text(message.content);
                pen.text("\n\n### Response:\n");
            }
        }
    }
};

constexpr std::array<std::string_view, 8> names{"chatml", "llama",  "llama2", "phi",
                                                "gemma",  "zephyr", "vicuna", "alpaca"};

std::string problem_of(std::span<const ChatMessage> messages, bool alternates) {
    if (messages.empty()) return "the conversation has no messages";
    const bool system_first = messages.front().role == "system";
    bool any_response = false;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        const std::string& role = messages[i].role;
        const std::string where = "message " + std::to_string(i + 1) + ": ";
        if (role != "system" && role != "user" && role != "assistant")
            return where + "role '" + role + "' is unknown; expected system, user or assistant";
        if (role == "system" && i > 0) return where + "a system message can only be the first";
        if (role == "assistant" && trimmed(messages[i].content).empty())
            return where + "the assistant says nothing";
        any_response = any_response || role == "assistant";
        const std::size_t turn = i - (system_first ? 1 : 0);
        if (alternates && role != "system" && role != (turn % 2 == 0 ? "user" : "assistant"))
            return where + "the role is " + role +
                   "; in this format user and assistant take turns, the user first";
    }
    return any_response ? "" : "no message is the assistant's, so nothing would be trained";
}

}  // namespace

std::string ChatFormat::write(std::span<const ChatMessage> messages, ChatText& chat) const {
    chat.text.clear();
    chat.parts.clear();
    std::string problem = problem_of(messages, alternates());
    if (problem.empty()) put(messages, chat);
    return problem;
}

const ChatFormat& chat_format(std::string_view name) {
    static const ChatMl chatml;
    static const Llama3 llama3;
    static const Llama2 llama2;
    static const Phi phi;
    static const Gemma gemma;
    static const Zephyr zephyr;
    static const Vicuna vicuna;
    static const Alpaca alpaca;
    static const std::array<const ChatFormat*, names.size()> formats{&chatml, &llama3, &llama2, &phi,
                                                                     &gemma,  &zephyr, &vicuna, &alpaca};
    const auto place = std::ranges::find(names, name);
    if (place == names.end()) {
        std::string all;
        for (const std::string_view known : names) all += (all.empty() ? "" : ", ") + std::string(known);
        throw Error(ErrorCode::invalid_argument,
                    "chat format '" + std::string(name) + "' is unknown; expected one of " + all);
    }
    return *formats[static_cast<std::size_t>(place - names.begin())];
}

std::span<const std::string_view> chat_format_names() {
    return names;
}

}  // namespace lockstep
