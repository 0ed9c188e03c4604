#include "io/tokenizer/utf8.h"

#include <simdjson.h>

#include "io/base/contract.h"
#include "io/base/error.h"

namespace lockstep {

namespace {

unsigned byte_at(std::string_view text, std::size_t offset) {
    return static_cast<unsigned char>(text[offset]);
}

[[noreturn]] void refuse(std::size_t offset) {
    throw Error(ErrorCode::corrupt_data, "invalid UTF-8 at byte " + std::to_string(offset) + " of the text");
}

/// Bytes of the sequence a lead byte opens, and the least code point that needs them; 0 if it opens none.
struct Sequence {
    std::size_t num_bytes;
    char32_t least;
};

Sequence sequence_of(unsigned lead) {
    if (lead < 0x80U) return {1, 0};
    if ((lead & 0xE0U) == 0xC0U) return {2, 0x80};
    if ((lead & 0xF0U) == 0xE0U) return {3, 0x800};
    if ((lead & 0xF8U) == 0xF0U) return {4, 0x10000};
    return {0, 0};
}

}  // namespace

char32_t take_code_point(std::string_view text, std::size_t& offset) {
    LOCKSTEP_EXPECTS(offset < text.size());
    const unsigned lead = byte_at(text, offset);
    const Sequence sequence = sequence_of(lead);
    if (sequence.num_bytes == 0 || sequence.num_bytes > text.size() - offset) refuse(offset);
    char32_t code_point = sequence.num_bytes == 1 ? lead : lead & (0x7FU >> sequence.num_bytes);
    for (std::size_t i = 1; i < sequence.num_bytes; ++i) {
        const unsigned next = byte_at(text, offset + i);
        if ((next & 0xC0U) != 0x80U) refuse(offset);
        code_point = (code_point << 6U) | (next & 0x3FU);
    }
    if (code_point < sequence.least || !is_scalar_value(code_point)) refuse(offset);
    offset += sequence.num_bytes;
    return code_point;
}

void expect_valid_utf8(std::string_view text) {
    if (simdjson::validate_utf8(text.data(), text.size())) return;
    for (std::size_t offset = 0; offset < text.size();) take_code_point(text, offset);
    contract_broken("postcondition", "both UTF-8 checks agree", __FILE__, __LINE__);
}

std::string lossy_utf8(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    const auto byte = [&](std::size_t at) -> unsigned {
        return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0U;
    };
    for (std::size_t at = 0; at < bytes.size();) {
        const unsigned lead = byte(at);
        std::size_t size = lead < 0x80                   ? 1
                           : lead >= 0xC2 && lead < 0xE0 ? 2
                           : lead >= 0xE0 && lead < 0xF0 ? 3
                           : lead >= 0xF0 && lead < 0xF5 ? 4
                                                         : 0;
        // The second byte's range depends on the first; the others are plain continuations.
        const unsigned least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        const unsigned most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        std::size_t good = size == 0 ? 0 : 1;
        while (good > 0 && good < size && byte(at + good) >= (good == 1 ? least : 0x80U) &&
               byte(at + good) <= (good == 1 ? most : 0xBFU))
            ++good;
        if (size != 0 && good == size) {
            text.append(bytes, at, size);
            at += size;
        } else {
            text += "\uFFFD";
            at += good == 0 ? 1 : good;
        }
    }
    return text;
}

void append_utf8(char32_t code_point, std::string& text) {
    LOCKSTEP_EXPECTS(is_scalar_value(code_point));
    const auto continuation = [&](unsigned shift) {
        text += static_cast<char>(0x80U | ((code_point >> shift) & 0x3FU));
    };
    if (code_point < 0x80) {
        text += static_cast<char>(code_point);
    } else if (code_point < 0x800) {
        text += static_cast<char>(0xC0U | (code_point >> 6U));
        continuation(0);
    } else if (code_point < 0x10000) {
        text += static_cast<char>(0xE0U | (code_point >> 12U));
        continuation(6);
        continuation(0);
    } else {
        text += static_cast<char>(0xF0U | (code_point >> 18U));
        continuation(12);
        continuation(6);
        continuation(0);
    }
}

}  // namespace lockstep
