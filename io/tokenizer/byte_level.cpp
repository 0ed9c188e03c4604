#include "io/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

struct ByteMap {
    std::array<char32_t, 256> characters{};
    std::array<std::int16_t, 0x144> bytes{};

    ByteMap() {
        bytes.fill(-1);
        char32_t spare = 0x100;
        for (char32_t b = 0; b < 256; ++b) {
            const bool printable =
                (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
            characters[b] = printable ? b : spare++;
            bytes[characters[b]] = static_cast<std::int16_t>(b);
        }
    }
};

const ByteMap& byte_map() {
    static const ByteMap map;
    return map;
}

}  // namespace

char32_t character_of_byte(unsigned char byte) {
    return byte_map().characters[byte];
}

std::size_t mapped_size(unsigned char byte) {
    return character_of_byte(byte) < 0x80 ? 1 : 2;
}

std::string mapped_bytes(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const char b : bytes) append_utf8(character_of_byte(static_cast<unsigned char>(b)), text);
    return text;
}

std::optional<std::string> unmapped_bytes(std::string_view token) {
    const ByteMap& map = byte_map();
    std::string bytes;
    for (std::size_t at = 0; at < token.size();) {
        const char32_t c = take_code_point(token, at);
        if (c >= map.bytes.size() || map.bytes[c] < 0) return std::nullopt;
        bytes += static_cast<char>(map.bytes[c]);
    }
    return bytes;
}

}  // namespace lockstep
