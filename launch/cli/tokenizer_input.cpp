#include "launch/cli/tokenizer_input.h"

#include <iostream>
#include <iterator>

#include "io/base/error.h"
#include "io/documents/document_reader.h"
#include "io/documents/source_list.h"
#include "io/tokenizer/tokenizer_files.h"

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
    if (!arguments.text.empty()) take(arguments.text);
    if (arguments.text.empty() && arguments.files.empty()) {
        const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
        take(text);
    }
    std::vector<std::string> left_out;
    std::uint64_t bad = 0;
    std::uint32_t index = 0;
    for (const auto& file : expand_sources(arguments.files, left_out))
        read_documents(file, index++, {}, bad, [&](const Document& document) { take(document.text); });
}

}  // namespace lockstep
