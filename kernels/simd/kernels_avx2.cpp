#include "kernels/simd/kernel_table.h"
#include "kernels/simd/vec16_avx2.h"

// The bodies, compiled for the vectors above.
#include "kernels/simd/table.inl"
