# Options of the build, and one interface target that carries our warnings and
# floating-point rules. Our libraries link it privately; users never see it.

option(LOCKSTEP_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(LOCKSTEP_WERROR "Treat warnings as errors" ${PROJECT_IS_TOP_LEVEL})
option(LOCKSTEP_CONTRACTS "Check LOCKSTEP_EXPECTS and LOCKSTEP_ENSURES at run time" OFF)
option(LOCKSTEP_FUZZER "Link tests/fuzz with libFuzzer (clang)" OFF)
option(LOCKSTEP_COVERAGE "Count executed branches, by source (clang)" OFF)
set(LOCKSTEP_SANITIZE "" CACHE STRING "Sanitizers, as in -fsanitize=: address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# CMake pads the path in binaries with an empty entry, which the loader takes for the folder one stands in.
set(CMAKE_SKIP_BUILD_RPATH ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(lockstep_options INTERFACE)
# No contraction: dev and release, gcc and clang must agree to the bit. An fma is written as one.
target_compile_options(lockstep_options INTERFACE
    -ffp-contract=off
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor
    # Optimizing, gcc 12 sees overlapping copies inside std::string (gcc bug 105651).
    $<$<AND:$<CXX_COMPILER_ID:GNU>,$<NOT:$<CONFIG:Debug>>>:-Wno-restrict>
    $<$<BOOL:${LOCKSTEP_WERROR}>:-Werror>)
target_compile_definitions(lockstep_options INTERFACE
    $<$<BOOL:${LOCKSTEP_CONTRACTS}>:LOCKSTEP_CONTRACTS=1>)
if(LOCKSTEP_SANITIZE)
    target_compile_options(lockstep_options INTERFACE
        -fsanitize=${LOCKSTEP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(lockstep_options INTERFACE -fsanitize=${LOCKSTEP_SANITIZE})
endif()
if(LOCKSTEP_COVERAGE)
    if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "LOCKSTEP_COVERAGE needs clang's counters; configure with the preset 'coverage'")
    endif()
    target_compile_options(lockstep_options INTERFACE -fprofile-instr-generate -fcoverage-mapping)
    target_link_options(lockstep_options INTERFACE -fprofile-instr-generate)
endif()
