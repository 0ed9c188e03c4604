// tests/support/error_of.h

#pragma once

#include <gtest/gtest.h>

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

}  // namespace lockstep
