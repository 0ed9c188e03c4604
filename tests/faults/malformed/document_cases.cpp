#include "io/documents/document_reader.h"
#include "tests/faults/malformed/malformed_case.h"
#include "tests/support/small_parquet.h"

namespace lockstep {

namespace {

void read(const std::filesystem::path& file) {
    std::uint64_t bad = 0;
    read_documents(file, 0, {}, bad, [](const Document&) {});
}

struct Line {
    const char* name;
    std::string text;
    const char* noun;
};

std::vector<Line> bad_lines() {
    using std::string;
    return {
        {"no JSON", "hello", "not one JSON object"},
        {"a list", R"(["text"])", "not an array"},
        {"a text", R"("text")", "not one JSON object"},
        {"a number", "17", "not one JSON object"},
        {"null", "null", "not one JSON object"},
        {"true", "true", "not one JSON object"},
        {"an open object", R"({"text":"a")", "not one JSON object"},
        {"an open text", R"({"text":"a)", "not one JSON object"},
        {"an open list", R"({"text":"a","b":[1,2)", "not one JSON object"},
        {"a trailing comma", R"({"text":"a",})", "not one JSON object"},
        {"a missing colon", R"({"text" "a"})", "not one JSON object"},
        {"a missing comma", R"({"text":"a" "b":1})", "not one JSON object"},
        {"two objects", R"({"text":"a"}{"text":"b"})", "not one JSON object"},
        {"words after it", R"({"text":"a"} b)", "not one JSON object"},
        {"single quotes", "{'text':'a'}", "not one JSON object"},
        {"a bare key", "{text:\"a\"}", "not one JSON object"},
        {"a leading zero", R"({"text":"a","n":01})", "not one JSON object"},
        {"a lone minus", R"({"text":"a","n":-})", "not one JSON object"},
        {"NaN", R"({"text":"a","n":NaN})", "not one JSON object"},
        {"a raw tab", "{\"text\":\"a\tb\"}", "not one JSON object"},
        {"a raw zero byte", string("{\"text\":\"a\0b\"}", 14), ""},
        {"an unknown escape", R"({"text":"a\x"})", "not one JSON object"},
        {"a short \\u", R"({"text":"a\u12"})", "not one JSON object"},
        {"a lone high surrogate", R"({"text":"\ud800"})", ""},
        {"a lone low surrogate", R"({"text":"\udc00"})", ""},
        {"bytes that are no UTF-8", "{\"text\":\"\xff\"}", "UTF-8"},
        {"UTF-8 cut short", "{\"text\":\"\xe2\x82\"}", "UTF-8"},
        {"UTF-8 too long", "{\"text\":\"\xc0\xaf\"}", "UTF-8"},
        {"a surrogate in UTF-8", "{\"text\":\"\xed\xa0\x80\"}", "UTF-8"},
        {"a code point beyond Unicode", "{\"text\":\"\xf4\x90\x80\x80\"}", "UTF-8"},
        {"no text", R"({"id":1})", "no field 'text'"},
        {"another name", R"({"content":"a"})", "--text-field"},
        {"an empty object", "{}", "no field 'text'"},
        {"a prompt alone", R"({"prompt":"a"})", "'response'"},
        {"a response alone", R"({"response":"a"})", "'prompt'"},
        {"text is a number", R"({"text":1})", "field 'text' is not a string"},
        {"text is null", R"({"text":null})", "field 'text' is not a string"},
        {"text is a list", R"({"text":["a"]})", "field 'text' is not a string"},
        {"text is an object", R"({"text":{}})", "field 'text' is not a string"},
        {"text is true", R"({"text":true})", "field 'text' is not a string"},
        {"text twice", R"({"text":"a","text":"b"})", "'text'"},
        {"prompt twice", R"({"prompt":"a","prompt":"b","response":"c"})", "'prompt'"},
        {"response twice", R"({"prompt":"a","response":"b","response":"c"})", "'response'"},
        {"prompt is a number", R"({"prompt":1,"response":"a"})", "field 'prompt' is not a string"},
        {"response is a number", R"({"prompt":"a","response":1})", "field 'response' is not a string"},
        {"id is a list", R"({"text":"a","id":[1]})", "field 'id'"},
        {"id is an object", R"({"text":"a","id":{}})", "field 'id'"},
        {"id is a fraction", R"({"text":"a","id":1.5})", "field 'id'"},
        {"id is true", R"({"text":"a","id":true})", "field 'id'"},
        {"id is empty", R"({"text":"a","id":""})", "field 'id'"},
        {"id twice", R"({"text":"a","id":1,"id":2})", "'id'"},
        {"id is too large", R"({"text":"a","id":18446744073709551616})", ""},
    };
}

}  // namespace

void add_document_cases(const MalformedWorld& world, MalformedCases& cases) {
    for (const Line& line : bad_lines()) {
        for (const bool second : {false, true}) {
            cases.push_back(
                {std::string("jsonl/line ") + (second ? "2: " : "1: ") + line.name,
                 65,
                 {second ? "texts.jsonl:2:" : "texts.jsonl:1:", line.noun},
                 [&world, line, second] {
                     read(world.scratch.write("texts.jsonl",
                                              (second ? "{\"text\":\"fine\"}\n" : "") + line.text + "\n"));
                 }});
        }
    }
    const auto file = [&](const std::string& name, const std::string& bytes, const std::string& noun) {
        cases.push_back({"documents/" + name + ": " + noun, 65, {name, noun}, [&world, name, bytes] {
                             read(world.scratch.write(name, bytes));
                         }});
    };
    file("cut.jsonl.gz", std::string("\x1f\x8b\x08\0\0\0\0\0\0\3", 10), "gz");
    file("bare.jsonl.gz", "plain text", "gz");
    file("empty.jsonl.gz", "", "gz");
    file("cut.jsonl.zst", std::string("\x28\xb5\x2f\xfd", 4), "zst");
    file("bare.jsonl.zst", "plain text", "zst");
    file("cut.parquet", "PAR1", "parquet");
    file("bare.parquet", "plain text that is long enough", "parquet");
    file("ends.parquet", "PAR1xxxxxxxxxxxxxxxx\xff\xff\xff\x7fPAR1", "parquet");
    constexpr std::uint64_t many = (std::uint64_t{1} << 31U) - 1;
    file("rows.parquet", SmallParquet::empty_lists(many).bytes(), "decompression bomb");
    file("elements.parquet", SmallParquet::null_elements(many).bytes(), "decompression bomb");
    file("count.parquet", SmallParquet::empty_lists(many + 1).bytes(), "2^31 values");
    cases.push_back({"documents/a file that is not there", 66, {"nowhere.jsonl"}, [&world] {
                         read(world.scratch / "nowhere.jsonl");
                     }});
    cases.push_back({"documents/a folder", 66, {"sound"}, [&world] { read(world.scratch / "sound"); }});
}

}  // namespace lockstep
