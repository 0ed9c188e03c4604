// kernels/unroll.h
//
// Loops over the registers of a tile. Their count is known, but a compiler that leaves one of them a loop
// keeps the array it indexes in memory, and stores every accumulator at every step of k: on a CPU that
// writes one vector a cycle that is half the speed and more.

#pragma once

/// Before a loop of at most 16 rounds.
#if defined(__clang__)
#define LOCKSTEP_UNROLL _Pragma("unroll")
#else
#define LOCKSTEP_UNROLL _Pragma("GCC unroll 16")
#endif
