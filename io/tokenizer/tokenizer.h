// io/tokenizer/tokenizer.h
//
// Text to token ids and back. Built in: `bytes` (256 byte values, EOS 256) and
// `chars` (the code points of a training text, sorted). The others come from
// files: tokenizer_files.h.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/fingerprint.h"

namespace lockstep {

/// The part of a text that a token stands for: bytes [begin, end). Both are borders of characters.
struct TokenOffsets {
    std::size_t begin = 0, end = 0;
    friend bool operator==(const TokenOffsets&, const TokenOffsets&) = default;
};

/// What stands before a text that is encoded. Some tokenizers put a space in front of a document's first
/// word, some in front of every text after a special token; none puts one where text goes on.
enum class TextPlace : std::uint8_t { document_start, after_special, after_text };

class Tokenizer {
  public:
    virtual ~Tokenizer() = default;

    /// Name for people: "bytes", "chars", a path.
    virtual std::string name() const = 0;
    virtual std::uint64_t vocabulary_size() const = 0;
    virtual std::optional<std::uint32_t> bos_id() const = 0;
    virtual std::optional<std::uint32_t> eos_id() const = 0;
    virtual std::optional<std::uint32_t> pad_id() const = 0;

    /// What AddSpecial::automatic adds, when the id exists: as the tokenizer's own post-processor does, and
    /// when that adds nothing (or there is none), EOS after the document.
    virtual bool adds_bos() const { return false; }
    virtual bool adds_eos() const { return true; }

    /// The ids that stand before and after every document under AddSpecial::automatic. Usually BOS and EOS;
    /// a post-processor may name others.
    virtual std::vector<std::uint32_t> ids_before() const;
    virtual std::vector<std::uint32_t> ids_after() const;

    /// Bytes a token stands for; a special's own text. @throws Error{invalid_argument} beyond the vocabulary.
    virtual std::string token_bytes(std::uint32_t id) const { return decode({&id, 1}); }
    /// True for tokens that are no text: BOS, EOS, control tokens.
    virtual bool is_special(std::uint32_t id) const {
        return id == bos_id() || id == eos_id() || id == pad_id();
    }
    /// The id of a token by its text as the vocabulary has it.
    virtual std::optional<std::uint32_t> id_of(std::string_view) const { return std::nullopt; }
    /// The chat template (Jinja) that came with the tokenizer; empty if none did.
    virtual std::string chat_template() const { return {}; }
    /// Others that have a name ("tool_use"), by it.
    virtual std::map<std::string, std::string> named_chat_templates() const { return {}; }

    /// Ids of `text`, appended to `ids`; no BOS or EOS. Thread-safe.
    /// @throws Error{corrupt_data} if the text is not valid UTF-8 (byte offset named) or, for `chars`, has an
    /// unknown character.
    virtual void encode(std::string_view text, std::vector<std::uint32_t>& ids) const = 0;
    /// The same of a part of a document: an answer goes on after its prompt without a space of its own.
    virtual void encode_part(std::string_view text, TextPlace, std::vector<std::uint32_t>& ids) const {
        encode(text, ids);
    }
    /// The same ids, and the offsets of each, appended; slower, with 16 to 32 bytes of memory a byte of text.
    ///
    /// A token that holds part of a character has the whole of it, so that neighbours may share one. A
    /// special token that was found in the text has its place there, with the white space it takes away. What
    /// a tokenizer puts in front (a prefix space, Prepend) has the first character's place. Text that
    /// normalization drops is in no token. tokenizer.json: offsets are those of the reference engine,
    /// `trim_offsets` of its post-processor included, in bytes instead of characters. SentencePiece: those of
    /// its library; of the byte tokens of one character the last has it, the others are empty.
    virtual void encode_with_offsets(std::string_view text, std::vector<std::uint32_t>& ids,
                                     std::vector<TokenOffsets>& offsets) const = 0;
    /// @throws Error{invalid_argument} on an id beyond the vocabulary. Specials decode to nothing.
    virtual std::string decode(std::span<const std::uint32_t> ids) const = 0;

    /// JSON from which `make_tokenizer_from_description` builds an equal one; stored in the corpus.
    virtual std::string description_json() const = 0;
    /// Of the effective tokenizer: vocabulary, normalization, specials; not names or paths.
    virtual Fingerprint fingerprint() const = 0;
};

/// What ingest adds around a document (DESIGN §4.1); part of the tokenizer fingerprint.
enum class AddSpecial : std::uint8_t { automatic = 0, none = 1 };
enum class LiteralSpecials : std::uint8_t { text = 0, parse = 1 };
struct SpecialsPolicy {
    AddSpecial bos = AddSpecial::automatic;
    AddSpecial eos = AddSpecial::automatic;
    LiteralSpecials literal = LiteralSpecials::text;
};

std::unique_ptr<Tokenizer> make_bytes_tokenizer(SpecialsPolicy policy = {});
/// @param code_points  ascending, unique; ids are positions, EOS is the last id + 1.
std::unique_ptr<Tokenizer> make_chars_tokenizer(std::vector<char32_t> code_points,
                                                SpecialsPolicy policy = {});
/// @throws Error{corrupt_data, incompatible_version}.
std::unique_ptr<Tokenizer> make_tokenizer_from_description(std::string_view description_json);

/// What the policy adds before and after a document.
void append_ids_before(const Tokenizer& tokenizer, const SpecialsPolicy& policy,
                       std::vector<std::uint32_t>& ids);
void append_ids_after(const Tokenizer& tokenizer, const SpecialsPolicy& policy,
                      std::vector<std::uint32_t>& ids);

/// A document's ids with the specials the policy adds.
void encode_document(const Tokenizer& tokenizer, const SpecialsPolicy& policy, std::string_view text,
                     std::vector<std::uint32_t>& ids);

/// All code points of UTF-8 text, for building a `chars` vocabulary. @throws Error{corrupt_data} with the
/// byte offset.
void collect_code_points(std::string_view text, std::vector<char32_t>& ascending_unique);

}  // namespace lockstep
