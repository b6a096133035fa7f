# The program u2i: it sees include/u2i.h only. Everything but main() is a library of its own, so that
# fuzz targets can reach the readers. Its man page and shell completions are printed by the program
# itself, from the tables that it parses its arguments with.
file(GLOB cli_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/programs/u2i/*.c)
list(FILTER cli_sources EXCLUDE REGEX "/main\\.c$")
add_library(u2i_cli STATIC ${cli_sources})
target_include_directories(u2i_cli PUBLIC ${PROJECT_SOURCE_DIR}/programs/u2i)
target_link_libraries(u2i_cli PUBLIC u2i_static PkgConfig::JANSSON PkgConfig::ZLIB
    PkgConfig::UTF8PROC m)
add_executable(u2i ${PROJECT_SOURCE_DIR}/programs/u2i/main.c)
target_link_libraries(u2i PRIVATE u2i_cli)
install(TARGETS u2i RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

if(CMAKE_CROSSCOMPILING)
    message(STATUS "cross-compiling: man page and completions are not generated")
else()
    set(cli_generated ${PROJECT_BINARY_DIR}/generated)
    set(cli_pages ${cli_generated}/u2i.1 ${cli_generated}/u2i.bash ${cli_generated}/_u2i
        ${cli_generated}/u2i.fish)
    add_custom_command(OUTPUT ${cli_pages}
        COMMAND ${CMAKE_COMMAND} -E make_directory ${cli_generated}
        COMMAND u2i man > ${cli_generated}/u2i.1
        COMMAND u2i completion bash > ${cli_generated}/u2i.bash
        COMMAND u2i completion zsh > ${cli_generated}/_u2i
        COMMAND u2i completion fish > ${cli_generated}/u2i.fish
        DEPENDS u2i)
    add_custom_target(u2i_pages ALL DEPENDS ${cli_pages})
    install(FILES ${cli_generated}/u2i.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    install(FILES ${cli_generated}/u2i.bash RENAME u2i
            DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES ${cli_generated}/_u2i DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
    install(FILES ${cli_generated}/u2i.fish
            DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

if(U2I_TESTS)
    enable_testing()
    # tests/cli/test_X.py: unittest programs (standard library only), run on the program just built.
    find_package(Python3 COMPONENTS Interpreter REQUIRED)
    file(GLOB cli_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/cli/test_*.py)
    foreach(source IN LISTS cli_tests)
        get_filename_component(name ${source} NAME_WE)
        string(REPLACE "test_" "cli_" name ${name})
        add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${source})
        set_tests_properties(${name} PROPERTIES TIMEOUT 600
            ENVIRONMENT "U2I=$<TARGET_FILE:u2i>;PYTHONDONTWRITEBYTECODE=1")
    endforeach()

    # The readers' fuzz targets, run once over their corpora with any compiler.
    foreach(reader csv jsonl)
        add_executable(cli_replay_${reader} ${PROJECT_SOURCE_DIR}/fuzz/fuzz_${reader}.c
            ${PROJECT_SOURCE_DIR}/tests/cli/replay.c)
        target_link_libraries(cli_replay_${reader} PRIVATE u2i_cli)
        file(GLOB corpus CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/corpus/${reader}/*)
        add_test(NAME cli_replay_${reader} COMMAND cli_replay_${reader} ${corpus})
    endforeach()
endif()
