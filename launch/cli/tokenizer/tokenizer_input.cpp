#include "launch/cli/tokenizer/tokenizer_input.h"

#include <iostream>
#include <iterator>

#include "io/base/error.h"
#include "io/documents/document_reader.h"
#include "io/documents/source_list.h"
#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/utf8.h"
#include "launch/cli/data/ingest.h"

namespace lockstep {

void add_tokenizer_options(CLI::App& verb, TokenizerArguments& arguments) {
    verb.add_option(
            "-t,--tokenizer", arguments.tokenizer,
            "bytes, a tokenizer.json, its folder, a .tiktoken, a SentencePiece .model, or an OpenAI model's "
            "name (gpt-4o) if its ranks are here or in a folder of LOCKSTEP_TOKENIZERS")
        ->required();
    verb.add_option("--pattern", arguments.pattern, ".tiktoken of unknown ranks: the encoding it follows");
    verb.add_option("--specials", arguments.specials, "text or parse: special tokens written in texts");
}

void add_text_options(CLI::App& verb, TokenizerArguments& arguments) {
    verb.add_option("--text", arguments.text, "The text itself");
    verb.add_option("-d,--data", arguments.files, "Files or folders (*.jsonl by its text field)");
    add_invalid_utf8_option(verb, arguments.invalid_utf8);
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& name, const TokenizerArguments& arguments) {
    if (arguments.specials != "text" && arguments.specials != "parse") {
        throw Error(ErrorCode::invalid_argument,
                    "--specials is '" + arguments.specials + "'; expected text or parse");
    }
    SpecialsPolicy policy;
    if (arguments.specials == "parse") policy.literal = LiteralSpecials::parse;
    if (name == "bytes") return make_bytes_tokenizer(policy);
    if (name == "chars") {
        throw Error(ErrorCode::invalid_argument,
                    "chars takes its vocabulary from the texts of an ingest; give a tokenizer file or bytes");
    }
    return load_tokenizer(name, {policy, arguments.pattern});
}

std::unique_ptr<Tokenizer> open_tokenizer(const TokenizerArguments& arguments) {
    return open_tokenizer(arguments.tokenizer, arguments);
}

void each_text(const TokenizerArguments& arguments, FunctionRef<void(std::string_view)> take) {
    std::uint64_t repaired = 0;
    const auto take_raw = [&](const std::string& bytes) {
        if (arguments.invalid_utf8 == InvalidUtf8::refuse) {
            take(bytes);
            return;
        }
        const std::string text = lossy_utf8(bytes);
        if (text != bytes) ++repaired;
        take(text);
    };
    if (!arguments.text.empty()) take_raw(arguments.text);
    if (arguments.text.empty() && arguments.files.empty())
        take_raw({std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()});
    DocumentOptions options;
    options.invalid_utf8 = arguments.invalid_utf8;
    std::vector<std::string> left_out;
    std::uint64_t bad = 0;
    std::uint32_t index = 0;
    for (const auto& file : expand_sources(arguments.files, left_out)) {
        repaired += read_documents(file, index++, options, bad, [&](const Document& document) {
                        take(document.text);
                    }).repaired;
    }
    say_repaired(repaired);
}

}  // namespace lockstep
