# fuzz/fuzz_X.c: libFuzzer targets, with ASan and UBSan (set U2I_SANITIZE as scripts/fuzz.sh does).
# Those of the command line's readers are defined in cli.cmake; the others link the modules.
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/fuzz_*.c)
set(fuzz_targets "")
foreach(source IN LISTS fuzz_sources)
    get_filename_component(name ${source} NAME_WE)
    if(NOT TARGET ${name})
        add_executable(${name} ${source})
        target_link_libraries(${name} PRIVATE ${U2I_OBJECTS})
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    endif()
    list(APPEND fuzz_targets ${name})
endforeach()
add_custom_target(fuzz_targets DEPENDS ${fuzz_targets})
