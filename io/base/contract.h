// io/base/contract.h
//
// Contracts of our own code. On in every preset but release (LOCKSTEP_CONTRACTS);
// a broken one is a bug, exit code 70.

#pragma once

namespace lockstep {

[[noreturn]] void contract_broken(const char* kind, const char* condition, const char* file, int line);

}  // namespace lockstep

#if defined(LOCKSTEP_CONTRACTS)
#define LOCKSTEP_CHECK_CONTRACT_(kind, condition) \
    ((condition) ? static_cast<void>(0) : ::lockstep::contract_broken(kind, #condition, __FILE__, __LINE__))
#else
// Not evaluated, but compiled, so that a contract cannot rot.
#define LOCKSTEP_CHECK_CONTRACT_(kind, condition) static_cast<void>(sizeof((condition) ? 1 : 0))
#endif

#define LOCKSTEP_EXPECTS(condition) LOCKSTEP_CHECK_CONTRACT_("precondition", condition)
#define LOCKSTEP_ENSURES(condition) LOCKSTEP_CHECK_CONTRACT_("postcondition", condition)
