# cmake --install, with an export that find_package(lockstep) reads.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(lockstep_libraries GLOBAL PROPERTY LOCKSTEP_LIBRARIES)
install(TARGETS ${lockstep_libraries} EXPORT lockstepTargets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lockstep)
install(TARGETS lockstep RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

foreach(folder io plan kernels worker coordinator)
    install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lockstep
        FILES_MATCHING PATTERN "*.h")
endforeach()

set(lockstep_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lockstep)
install(EXPORT lockstepTargets NAMESPACE lockstep:: DESTINATION ${lockstep_package_dir})
configure_package_config_file(cmake/lockstepConfig.cmake.in lockstepConfig.cmake
    INSTALL_DESTINATION ${lockstep_package_dir})
write_basic_package_version_file(lockstepConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/lockstepConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/lockstepConfigVersion.cmake
    DESTINATION ${lockstep_package_dir})
