// launch/cli/plan/plan_reader.h
//
// The Python reader of plans (launch/python/lockstep_plan.py), carried inside the
// program so that an export can lay it beside its arrays.

#pragma once

#include <string_view>

namespace lockstep {

std::string_view plan_reader_source();

}  // namespace lockstep
