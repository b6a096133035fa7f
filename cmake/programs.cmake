# libu2i, shared and static, and what stands on it: the command line, examples, benchmarks. Programs
# see include/u2i.h and nothing of src/; the benchmark of one internal number is the exception.
if(NOT TARGET u2i_api)
    return() # a checkout of some modules only: their tests can still be built
endif()

set(library_objects "")
foreach(module IN LISTS U2I_OBJECTS)
    list(APPEND library_objects $<TARGET_OBJECTS:${module}>)
endforeach()
add_library(u2i_shared SHARED ${library_objects})
add_library(u2i_static STATIC ${library_objects})
foreach(library u2i_shared u2i_static)
    set_target_properties(${library} PROPERTIES OUTPUT_NAME u2i LINKER_LANGUAGE C)
    target_include_directories(${library} PUBLIC
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
set_target_properties(u2i_shared PROPERTIES EXPORT_NAME u2i VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR})
# Nothing may be left open at the end of a link, except what a sanitizer's run time brings.
if(NOT U2I_SANITIZE AND NOT APPLE)
    target_link_options(u2i_shared PRIVATE LINKER:--no-undefined)
endif()
target_link_libraries(u2i_shared PRIVATE u2i_deps)
# The static library carries its modules; whoever links it needs the libraries below it too.
target_link_libraries(u2i_static PUBLIC $<BUILD_INTERFACE:u2i_deps>
    "$<INSTALL_INTERFACE:Threads::Threads;sqlite3;jansson;utf8proc;openblas;curl;crypto;roaring;m>")

include(${PROJECT_SOURCE_DIR}/cmake/cli.cmake OPTIONAL)

# examples/X.c, one program each; tests.cmake runs those that need no arguments.
file(GLOB example_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*.c)
set(U2I_EXAMPLES "")
foreach(source IN LISTS example_sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(example_${name} ${source})
    target_link_libraries(example_${name} PRIVATE u2i_static)
    list(APPEND U2I_EXAMPLES ${name})
endforeach()

# bench/X.c: built on demand (`make bench-store`), and with the tests so that they stay in order.
file(GLOB bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/*.c)
foreach(source IN LISTS bench_sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE ${U2I_OBJECTS})
    if(NOT U2I_BENCH AND NOT U2I_TESTS)
        set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
endforeach()
