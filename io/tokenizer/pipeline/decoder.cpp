#include "io/tokenizer/pipeline/decoder.h"

#include <charconv>
#include <optional>

#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/splitter.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
        text.replace(at, from.size(), to);
}

/// No decoder: a space between tokens.
class JoinDecoder : public Decoder {
  public:
    void apply(std::vector<std::string>& tokens) const override {
        for (std::size_t i = 1; i < tokens.size(); ++i) tokens[i].insert(0, " ");
    }
};

class ByteLevelDecoder : public Decoder {
  public:
    void apply(std::vector<std::string>& tokens) const override {
        std::string bytes;
        for (const std::string& token : tokens) bytes += unmapped_bytes(token).value_or(token);
        tokens = {lossy_utf8(bytes)};
    }
};

/// Runs of <0xHH> become text, or one U+FFFD a byte if they are none.
class ByteFallbackDecoder : public Decoder {
  public:
    void apply(std::vector<std::string>& tokens) const override {
        std::vector<std::string> out;
        std::string bytes;
        const auto flush = [&] {
            if (bytes.empty()) return;
            if (lossy_utf8(bytes) == bytes) {
                out.push_back(bytes);
            } else {
                for (std::size_t i = 0; i < bytes.size(); ++i) out.emplace_back("\uFFFD");
            }
            bytes.clear();
        };
        for (std::string& token : tokens) {
            const std::optional<unsigned char> byte = byte_of(token);
            if (byte) {
                bytes += static_cast<char>(*byte);
            } else {
                flush();
                out.push_back(std::move(token));
            }
        }
        flush();
        tokens = std::move(out);
    }

  private:
    static std::optional<unsigned char> byte_of(std::string_view token) {
        if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
        unsigned value = 0;
        const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
        if (error != std::errc{} || end != token.data() + 5) return std::nullopt;
        return static_cast<unsigned char>(value);
    }
};

class MetaspaceDecoder : public Decoder {
  public:
    explicit MetaspaceDecoder(const Component& component)
        : replacement_(component.text_or("replacement", "\u2581")),
          prepended_(component.has("prepend_scheme") ? component.text("prepend_scheme") != "never"
                                                     : component.flag_or("add_prefix_space", true)) {}
    void apply(std::vector<std::string>& tokens) const override {
        for (std::size_t i = 0; i < tokens.size(); ++i)
            replace_all(tokens[i], replacement_, i == 0 && prepended_ ? "" : " ");
    }

  private:
    std::string replacement_;
    bool prepended_;
};

class WordPieceDecoder : public Decoder {
  public:
    explicit WordPieceDecoder(const Component& component)
        : prefix_(component.text_or("prefix", "##")), cleanup_(component.flag_or("cleanup", true)) {}
    void apply(std::vector<std::string>& tokens) const override {
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            std::string& token = tokens[i];
            if (i > 0) {
                if (token.starts_with(prefix_)) {
                    token.erase(0, prefix_.size());
                } else {
                    token.insert(0, " ");
                }
            }
            if (cleanup_) clean(token);
        }
    }

  private:
    static void clean(std::string& token) {
        for (const auto& [from, to] : {std::pair{" .", "."},
                                       {" ?", "?"},
                                       {" !", "!"},
                                       {" ,", ","},
                                       {" ' ", "'"},
                                       {" n't", "n't"},
                                       {" 'm", "'m"},
                                       {" do not", " don't"},
                                       {" 's", "'s"},
                                       {" 've", "'ve"},
                                       {" 're", "'re"}})
            replace_all(token, from, to);
    }

    std::string prefix_;
    bool cleanup_;
};

class SuffixDecoder : public Decoder {
  public:
    explicit SuffixDecoder(const Component& component) : suffix_(component.text_or("suffix", "</w>")) {}
    void apply(std::vector<std::string>& tokens) const override {
        for (std::size_t i = 0; i < tokens.size(); ++i)
            if (!suffix_.empty()) replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
    }

  private:
    std::string suffix_;
};

class FuseDecoder : public Decoder {
  public:
    void apply(std::vector<std::string>& tokens) const override {
        std::string all;
        for (const std::string& token : tokens) all += token;
        tokens = {std::move(all)};
    }
};

class StripDecoder : public Decoder {
  public:
    explicit StripDecoder(const Component& component)
        : content_(component.text("content")),
          begin_max_(component.number_or("start", 0)),
          end_max_(component.number_or("stop", 0)) {
        std::size_t end = 0;
        if (!content_.empty()) take_code_point(content_, end);
        if (end == 0 || end != content_.size()) component.refuse("'content' is not one character");
    }
    void apply(std::vector<std::string>& tokens) const override {
        for (std::string& token : tokens) {
            std::string_view left = token;
            for (std::size_t i = 0; i < begin_max_ && left.starts_with(content_); ++i)
                left.remove_prefix(content_.size());
            for (std::size_t i = 0; i < end_max_ && left.ends_with(content_); ++i)
                left.remove_suffix(content_.size());
            token = std::string(left);
        }
    }

  private:
    std::string content_;
    std::uint64_t begin_max_, end_max_;
};

class ReplaceDecoder : public Decoder {
  public:
    explicit ReplaceDecoder(const Component& component)
        : pattern_(pattern_of(component).as_regex()), content_(component.text("content")) {}
    void apply(std::vector<std::string>& tokens) const override {
        for (std::string& token : tokens) {
            std::string out;
            for (const SplitPiece& piece : pattern_.find(token))
                out += piece.is_match ? std::string_view(content_)
                                      : std::string_view(token).substr(piece.begin, piece.end - piece.begin);
            token = std::move(out);
        }
    }

  private:
    RegexPattern pattern_;
    std::string content_;
};

class DecoderSequence : public Decoder {
  public:
    explicit DecoderSequence(const Component& component) {
        for (std::size_t i = 0; i < component.array("decoders").size(); ++i) {
            const Component part = component.part("decoders", i);
            parts_.push_back(make_decoder(&part));
        }
    }
    void apply(std::vector<std::string>& tokens) const override {
        for (const auto& part : parts_) part->apply(tokens);
    }

  private:
    std::vector<std::unique_ptr<Decoder>> parts_;
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(const Component* component) {
    if (component == nullptr) return std::make_unique<JoinDecoder>();
    const std::string type = component->type();
    if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
    if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
    if (type == "Metaspace") return std::make_unique<MetaspaceDecoder>(*component);
    if (type == "WordPiece") return std::make_unique<WordPieceDecoder>(*component);
    if (type == "BPEDecoder") return std::make_unique<SuffixDecoder>(*component);
    if (type == "Fuse") return std::make_unique<FuseDecoder>();
    if (type == "Strip") return std::make_unique<StripDecoder>(*component);
    if (type == "Replace") return std::make_unique<ReplaceDecoder>(*component);
    if (type == "Sequence") return std::make_unique<DecoderSequence>(*component);
    component->refuse_type();
}

}  // namespace lockstep
