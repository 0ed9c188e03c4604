#include "io/base/contract.h"

#include <string>

#include "io/base/error.h"

namespace lockstep {

void contract_broken(const char* kind, const char* condition, const char* file, int line) {
    throw Error(ErrorCode::bug, std::string(kind) + " broken: " + condition + " (" + file + ":" +
                                    std::to_string(line) + "); this is a bug in lockstep, please report it");
}

}  // namespace lockstep
