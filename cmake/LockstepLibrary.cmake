# lockstep_library(NAME SOURCES … [PUBLIC …] [PRIVATE …])
#
# One library per folder. PUBLIC only when a header shows the type. Headers are
# included with their full path from the root, in the tree and when installed.
function(lockstep_library name)
    cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
    add_library(${name} STATIC ${arg_SOURCES})
    string(REPLACE "lockstep_" "" export_name ${name})
    add_library(lockstep::${export_name} ALIAS ${name})
    set_target_properties(${name} PROPERTIES EXPORT_NAME ${export_name})
    target_compile_features(${name} PUBLIC cxx_std_20)
    target_include_directories(${name} PUBLIC
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
        $<INSTALL_INTERFACE:include/lockstep>)
    target_link_libraries(${name}
        PUBLIC ${arg_PUBLIC}
        PRIVATE $<BUILD_INTERFACE:lockstep_options> ${arg_PRIVATE})
    set_property(GLOBAL APPEND PROPERTY LOCKSTEP_LIBRARIES ${name})
endfunction()
