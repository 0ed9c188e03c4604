// Malformed inputs by name: each gets its exit code and one line that says what is
// wrong and where. The program itself is asked in end_to_end/bad_input_test.cpp.

#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <set>

#include "io/base/error.h"
#include "tests/faults/malformed/malformed_case.h"

namespace lockstep {
namespace {

void expect_refused(const MalformedCase& malformed) {
    SCOPED_TRACE(malformed.name);
    try {
        malformed.read();
        ADD_FAILURE() << "taken without a word";
    } catch (const Error& error) {
        const std::string text = error.what();
        EXPECT_EQ(exit_code_of(error.code()), malformed.exit_code) << text;
        for (const std::string& noun : malformed.nouns)
            EXPECT_NE(text.find(noun), std::string::npos) << "expected '" << noun << "' in: " << text;
        EXPECT_EQ(text.find('\n'), std::string::npos) << text;
        EXPECT_GT(text.size(), 15U) << text;
    } catch (const std::exception& failure) {
        ADD_FAILURE() << "not an Error but " << failure.what();
    }
}

TEST(MalformedCatalogueTest, EveryCaseGetsItsCodeAndItsLine) {
    const MalformedWorld world;
    MalformedCases cases;
    add_document_cases(world, cases);
    add_length_cases(world, cases);
    add_column_cases(world, cases);
    add_sealed_cases(world, cases);
    add_model_cases(world, cases);
    add_tokenizer_cases(world, cases);
    add_argument_cases(world, cases);
    std::set<std::string> names;
    std::map<std::string, int> families;
    for (const MalformedCase& malformed : cases) {
        EXPECT_TRUE(names.insert(malformed.name).second) << malformed.name << " stands twice";
        ++families[malformed.name.substr(0, malformed.name.find('/'))];
        expect_refused(malformed);
    }
    EXPECT_GE(cases.size(), 500U);
    for (const auto& [family, count] : families) std::cout << count << " " << family << "\n";
}

}  // namespace
}  // namespace lockstep
