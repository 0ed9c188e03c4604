# Targets for people: format rewrites, lint reports.

file(GLOB_RECURSE lockstep_files CONFIGURE_DEPENDS
    coordinator/*.h coordinator/*.cpp worker/*.h worker/*.cpp plan/*.h plan/*.cpp
    kernels/*.h kernels/*.cpp io/*.h io/*.cpp launch/*.h launch/*.cpp tests/*.h tests/*.cpp)
set(lockstep_sources ${lockstep_files})
list(FILTER lockstep_sources INCLUDE REGEX "\\.cpp$")
list(FILTER lockstep_sources EXCLUDE REGEX "/tests/")

find_program(CLANG_FORMAT_PROGRAM clang-format)
if(CLANG_FORMAT_PROGRAM)
    add_custom_target(format
        COMMAND ${CLANG_FORMAT_PROGRAM} -i ${lockstep_files}
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
    add_custom_target(format-check
        COMMAND ${CLANG_FORMAT_PROGRAM} --dry-run --Werror ${lockstep_files}
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
endif()

find_program(CLANG_TIDY_RUNNER NAMES run-clang-tidy run-clang-tidy-14)
if(CLANG_TIDY_RUNNER)
    add_custom_target(lint
        COMMAND ${CLANG_TIDY_RUNNER} -quiet -p ${CMAKE_BINARY_DIR} ${lockstep_sources}
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
endif()
