# libu2i, shared and static, and the programs on top of it.
if(TARGET u2i_api)
    add_library(u2i_shared SHARED)
    set_target_properties(u2i_shared PROPERTIES OUTPUT_NAME u2i VERSION ${PROJECT_VERSION}
        SOVERSION ${PROJECT_VERSION_MAJOR})
    add_library(u2i_static STATIC)
    set_target_properties(u2i_static PROPERTIES OUTPUT_NAME u2i)
    foreach(library u2i_shared u2i_static)
        target_link_libraries(${library} PRIVATE ${U2I_OBJECTS})
        target_include_directories(${library} PUBLIC
            $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
    endforeach()
endif()
