// io/documents/chat_format.h
//
// Conversations as the known families of models have them written: the texts of
// all messages with what stands around them, and which of it is trained. Every
// assistant message is, from its first token to the end token behind it; nothing
// else is.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

enum class ChatPartKind : std::uint8_t {
    text,           ///< Content, or plain words of the format.
    marker,         ///< One token where the tokenizer has it ("<|im_start|>"), else text.
    begin_of_text,  ///< The tokenizer's BOS; no bytes. The first may be the document's own.
    end_of_text,    ///< The tokenizer's EOS; no bytes.
};

/// A stretch of the written conversation. The parts follow each other without holes.
struct ChatPart {
    std::size_t begin = 0, end = 0;  ///< Bytes of the text.
    ChatPartKind kind = ChatPartKind::text;
    bool is_trained = false;
};

struct ChatMessage {
    std::string role;  ///< system, user or assistant.
    std::string_view content;
};

/// A conversation written down.
struct ChatText {
    std::string text;
    std::vector<ChatPart> parts;
};

class ChatFormat {
  public:
    virtual ~ChatFormat() = default;

    /// Write a conversation. @param chat  replaced; keeps its memory.
    /// @return what is wrong with the conversation ("message 3: …"); empty: nothing.
    std::string write(std::span<const ChatMessage> messages, ChatText& chat) const;

    /// The markers that should be tokens of the tokenizer.
    virtual std::vector<std::string> markers() const = 0;
    /// Needs the tokenizer to have an EOS.
    virtual bool ends_in_eos() const { return false; }

  protected:
    /// Users and assistants take turns, a user first.
    virtual bool alternates() const { return false; }
    virtual void put(std::span<const ChatMessage> messages, ChatText& chat) const = 0;
};

/// "chatml", "llama" (Llama 3), "llama2", "phi" (Phi 3), "gemma", "zephyr", "vicuna", "alpaca".
/// @throws Error{invalid_argument} for another name, naming all.
const ChatFormat& chat_format(std::string_view name);
/// All names, in the order above.
std::span<const std::string_view> chat_format_names();

}  // namespace lockstep
