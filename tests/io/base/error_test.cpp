#include "io/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "io/base/contract.h"

namespace lockstep {
namespace {

TEST(ErrorTest, CarriesCodeAndMessage) {
    const Error error(ErrorCode::corrupt_data, "plan.h5 is cut short");
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_STREQ(error.what(), "plan.h5 is cut short");
}

TEST(ErrorTest, ExitCodesAreTheDocumentedOnes) {
    const std::vector<std::pair<ErrorCode, int>> documented{{ErrorCode::check_failed, 1},
                                                            {ErrorCode::invalid_argument, 2},
                                                            {ErrorCode::corrupt_data, 65},
                                                            {ErrorCode::incompatible_version, 65},
                                                            {ErrorCode::fingerprint_mismatch, 65},
                                                            {ErrorCode::not_found, 66},
                                                            {ErrorCode::bug, 70},
                                                            {ErrorCode::output_exists, 73},
                                                            {ErrorCode::io_failure, 74},
                                                            {ErrorCode::stopped, 75},
                                                            {ErrorCode::peer_lost, 76},
                                                            {ErrorCode::environment, 78}};
    for (const auto& [code, exit_code] : documented) EXPECT_EQ(exit_code_of(code), exit_code);
}

Error errno_error(int value, const std::string& advice) {
    try {
        throw_errno("write", "run/plan.h5", value, advice);
    } catch (const Error& error) {
        return error;
    }
}

TEST(ErrorTest, ErrnoNamesActionPathReasonAndAdvice) {
    const Error full = errno_error(ENOSPC, "free some space");
    EXPECT_EQ(full.code(), ErrorCode::io_failure);
    EXPECT_STREQ(full.what(), "cannot write 'run/plan.h5': No space left on device; free some space");
    EXPECT_STREQ(errno_error(EIO, "").what(), "cannot write 'run/plan.h5': Input/output error");
}

TEST(ErrorTest, WhatIsAbsentIsNotFound) {
    EXPECT_EQ(errno_error(ENOENT, "").code(), ErrorCode::not_found);
    EXPECT_EQ(errno_error(ENOTDIR, "").code(), ErrorCode::not_found);
    EXPECT_EQ(errno_error(EACCES, "").code(), ErrorCode::io_failure);
}

TEST(ContractTest, ABrokenOneIsABugThatNamesTheCondition) {
    try {
        contract_broken("precondition", "size > 0", "packing.cpp", 12);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::bug);
        EXPECT_NE(std::string(error.what()).find("precondition broken: size > 0 (packing.cpp:12)"),
                  std::string::npos);
    }
}

TEST(ErrorTest, AMessageIsOneLineWhateverIsQuotedInIt) {
    const Error error(ErrorCode::corrupt_data, std::string("'a\nb\tc\x1b[31m\x7f\0d' is wrong", 24));
    EXPECT_STREQ(error.what(), "'a b c?[31m??d' is wrong");
}

}  // namespace
}  // namespace lockstep
