# lockstep_add_test(NAME SOURCES … LIBS … [LABELS …] [TIMEOUT seconds])
# lockstep_add_mpi_test(NAME SOURCES … LIBS … RANKS 1 2 4 [LABELS …] [TIMEOUT seconds])
#
# The second launches the same binary once for every rank count, as
# NAME.np1, NAME.np2, …; a deadlock is a failure (timeout), not a wait.

find_package(GTest REQUIRED)
find_package(rapidcheck REQUIRED)

set(LOCKSTEP_MPI_ENVIRONMENT
    "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OPENBLAS_NUM_THREADS=1")
set(LOCKSTEP_SANITIZER_ENVIRONMENT
    "LSAN_OPTIONS=suppressions='${PROJECT_SOURCE_DIR}/tests/support/lsan.supp';TSAN_OPTIONS=suppressions='${PROJECT_SOURCE_DIR}/tests/support/tsan.supp' halt_on_error=1;UBSAN_OPTIONS=print_stacktrace=1")

function(lockstep_test_binary name sources libs)
    add_executable(${name} ${sources})
    target_link_libraries(${name} PRIVATE lockstep_options ${libs})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
    target_compile_definitions(${name} PRIVATE
        LOCKSTEP_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
        LOCKSTEP_BINARY="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/lockstep")
endfunction()

function(lockstep_add_test name)
    cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    lockstep_test_binary(${name} "${arg_SOURCES}" "${arg_LIBS};GTest::gmock;GTest::gtest_main")
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES
        TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
        ENVIRONMENT "${LOCKSTEP_SANITIZER_ENVIRONMENT}")
endfunction()

function(lockstep_add_mpi_test name)
    cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBS;RANKS;LABELS" ${ARGN})
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    lockstep_test_binary(${name}
        "${arg_SOURCES};${PROJECT_SOURCE_DIR}/tests/support/mpi_main.cpp" "${arg_LIBS};lockstep_comm;GTest::gmock;GTest::gtest")
    foreach(ranks ${arg_RANKS})
        add_test(NAME ${name}.np${ranks}
            COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} --oversubscribe --bind-to none
                    $<TARGET_FILE:${name}>)
        # What leaks under mpirun is Open MPI's own start-up; the leak check stays on in every other test.
        set_tests_properties(${name}.np${ranks} PROPERTIES
            TIMEOUT ${arg_TIMEOUT} PROCESSORS ${ranks} LABELS "mpi;${arg_LABELS}"
            ENVIRONMENT "${LOCKSTEP_MPI_ENVIRONMENT};LOCKSTEP_TEST_RANKS=${ranks};ASAN_OPTIONS=detect_leaks=0;${LOCKSTEP_SANITIZER_ENVIRONMENT}")
    endforeach()
endfunction()
