#include "io/corpus/length_cache.h"
#include "tests/faults/malformed/malformed_case.h"

namespace lockstep {

namespace {

struct Line {
    const char* name;
    const char* text;
};

constexpr Line bad_lines[] = {
    {"no JSON", "hello"},
    {"a list", "[1]"},
    {"a number", "7"},
    {"null", "null"},
    {"open", R"({"sample_id":"b","length":3)"},
    {"no id", R"({"length":3})"},
    {"no length", R"({"sample_id":"b"})"},
    {"an empty object", "{}"},
    {"a negative length", R"({"sample_id":"b","length":-1})"},
    {"a fraction", R"({"sample_id":"b","length":1.5})"},
    {"a length in quotes", R"({"sample_id":"b","length":"3"})"},
    {"a length of null", R"({"sample_id":"b","length":null})"},
    {"a length of true", R"({"sample_id":"b","length":true})"},
    {"a length of 2^32", R"({"sample_id":"b","length":4294967296})"},
    {"a length of 2^64", R"({"sample_id":"b","length":18446744073709551616})"},
    {"a length that is a list", R"({"sample_id":"b","length":[3]})"},
    {"an empty id", R"({"sample_id":"","length":3})"},
    {"an id of null", R"({"sample_id":null,"length":3})"},
    {"an id that is a list", R"({"sample_id":[1],"length":3})"},
    {"an id that came before", R"({"sample_id":"a","length":3})"},
    {"more loss tokens than tokens", R"({"sample_id":"b","length":3,"loss_tokens":4})"},
    {"negative loss tokens", R"({"sample_id":"b","length":3,"loss_tokens":-1})"},
    {"loss tokens in quotes", R"({"sample_id":"b","length":3,"loss_tokens":"1"})"},
    {"loss tokens where the first had none", R"({"sample_id":"b","length":3,"loss_tokens":1})"},
    {"a score in quotes", R"({"sample_id":"b","length":3,"score":"1"})"},
    {"a score beyond doubles", R"({"sample_id":"b","length":3,"score":1e999})"},
    {"a score where the first had none", R"({"sample_id":"b","length":3,"score":1})"},
    {"another tokenizer", R"({"sample_id":"b","tokenizer_hash":"other","length":3})"},
    {"bytes that are no UTF-8", "{\"sample_id\":\"\xff\",\"length\":3}"},
    {"words after the object", R"({"sample_id":"b","length":3} x)"},
};

}  // namespace

void add_length_cases(const MalformedWorld& world, MalformedCases& cases) {
    for (const Line& line : bad_lines) {
        for (const bool header : {false, true}) {
            const std::string before =
                std::string(header ? "{\"tokenizer_hash\":\"t\",\"version\":1}\n" : "") +
                R"({"sample_id":"a","tokenizer_hash":"t","length":5})" + "\n";
            cases.push_back({std::string("lengths.jsonl/") + (header ? "behind a header: " : "") + line.name,
                             65,
                             {header ? "lengths.jsonl:3:" : "lengths.jsonl:2:"},
                             [&world, before, text = std::string(line.text)] {
                                 read_lengths_jsonl(
                                     world.scratch.write("lengths.jsonl", before + text + "\n"));
                             }});
        }
    }
    cases.push_back({"lengths.jsonl/empty", 65, {"lengths.jsonl", "is empty"}, [&world] {
                         open_lengths(world.scratch.write("lengths.jsonl", ""));
                     }});
    cases.push_back({"lengths.jsonl/a version to come", 65, {"lengths.jsonl", "99"}, [&world] {
                         open_lengths(world.scratch.write("lengths.jsonl",
                                                          "{\"tokenizer_hash\":\"t\",\"version\":99}\n"));
                     }});
    cases.push_back({"lengths.jsonl/absent", 66, {"nowhere.jsonl"}, [&world] {
                         open_lengths(world.scratch / "nowhere.jsonl");
                     }});
}

}  // namespace lockstep
