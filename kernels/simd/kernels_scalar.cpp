#include "kernels/simd/kernel_table.h"
#include "kernels/simd/vec16_scalar.h"

// The bodies, compiled for the vectors above.
#include "kernels/simd/attention.inl"
#include "kernels/simd/exponential.inl"
#include "kernels/simd/rows.inl"
#include "kernels/simd/table.inl"
