// tests/support/error_of.h
//
// What an action that must fail throws.

#pragma once

#include <gtest/gtest.h>

#include <string>

#include "io/base/error.h"

namespace lockstep {

/// The Error an action throws; a test failure if it throws none.
template <class Action>
Error error_of(const Action& action) {
    try {
        action();
    } catch (const Error& error) {
        return error;
    }
    ADD_FAILURE() << "no error";
    return {ErrorCode::bug, ""};
}

/// Expects `action` to throw an Error of this code whose text holds `noun`.
template <class Action>
void expect_error(ErrorCode code, const std::string& noun, const Action& action) {
    const Error error = error_of(action);
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(noun), std::string::npos)
        << "expected '" << noun << "' in: " << error.what();
}

}  // namespace lockstep
