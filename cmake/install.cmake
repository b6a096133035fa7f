# `make install`: header, libraries, pkg-config and CMake package files. The program, its man page
# and its completions are installed by cli.cmake.
if(NOT TARGET u2i_shared)
    return()
endif()
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/u2i)
install(FILES ${PROJECT_SOURCE_DIR}/include/u2i.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS u2i_shared u2i_static EXPORT u2iTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT u2iTargets NAMESPACE u2i:: DESTINATION ${package_dir})
configure_file(${PROJECT_SOURCE_DIR}/cmake/u2iConfig.cmake.in
    ${PROJECT_BINARY_DIR}/generated/u2iConfig.cmake @ONLY)
# Below 1.0 a minor version may change the ABI.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/u2iConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/generated/u2iConfig.cmake
    ${PROJECT_BINARY_DIR}/generated/u2iConfigVersion.cmake DESTINATION ${package_dir})
# Relative to the file itself, so that an installation can be moved, or made elsewhere by --prefix.
file(RELATIVE_PATH U2I_PREFIX_FROM_PC /usr/${CMAKE_INSTALL_LIBDIR}/pkgconfig /usr)
configure_file(${PROJECT_SOURCE_DIR}/cmake/u2i.pc.in ${PROJECT_BINARY_DIR}/generated/u2i.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/generated/u2i.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
