# tests/unit/test_X.c, tests/prop/prop_X.c: one program each, linked to all modules that have sources,
# and one test each. Those that start threads get the label "threads": they run under TSan too.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
file(GLOB test_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/unit/test_*.c
     ${PROJECT_SOURCE_DIR}/tests/prop/prop_*.c)
set(U2I_THREAD_TESTS "")
foreach(source IN LISTS test_sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE ${U2I_OBJECTS} PkgConfig::CMOCKA)
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 600)
    file(STRINGS ${source} starts_threads REGEX "pthread_create|thread_start" LIMIT_COUNT 1)
    if(starts_threads)
        set_tests_properties(${name} PROPERTIES LABELS threads)
        list(APPEND U2I_THREAD_TESTS ${name})
    endif()
endforeach()
# Its golden cases are compressed.
target_link_libraries(test_wordpiece PRIVATE PkgConfig::ZLIB)
target_compile_definitions(test_wordpiece PRIVATE
    TEST_GOLDEN="${PROJECT_SOURCE_DIR}/tests/golden/tokenizer")
# Its server speaks TLS.
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl>=3.0)
target_link_libraries(test_http_tls PRIVATE PkgConfig::OPENSSL)
target_compile_definitions(test_torch_file PRIVATE
    TEST_GOLDEN="${PROJECT_SOURCE_DIR}/tests/golden")
target_compile_definitions(test_embed_golden PRIVATE
    TEST_GOLDEN="${PROJECT_SOURCE_DIR}/tests/golden/embed")
add_custom_target(thread_tests DEPENDS ${U2I_THREAD_TESTS})
include(${PROJECT_SOURCE_DIR}/cmake/tests_oom.cmake OPTIONAL)

# The fuzz targets run once over their kept corpora; no libFuzzer is needed for that.
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/fuzz_*.c)
foreach(source IN LISTS fuzz_sources)
    get_filename_component(name ${source} NAME_WE)
    string(REPLACE "fuzz_" "" subject ${name})
    if(NOT TARGET cli_replay_${subject}) # cli.cmake has those of the command line's readers
        add_executable(replay_${subject} ${source} ${PROJECT_SOURCE_DIR}/tests/cli/replay.c)
        target_link_libraries(replay_${subject} PRIVATE ${U2I_OBJECTS})
        file(GLOB corpus CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/corpus/${subject}/*)
        add_test(NAME replay_${subject} COMMAND replay_${subject} ${corpus})
    endif()
endforeach()

# Each example runs in a fresh folder and checks what it shows; the demo and the README's commands
# are shown the whole sample data.
foreach(name IN LISTS U2I_EXAMPLES)
    if(NOT name STREQUAL demo)
        add_test(NAME example_${name} COMMAND ${PROJECT_SOURCE_DIR}/scripts/run-in-tmp.sh
                 $<TARGET_FILE:example_${name}>)
        set_tests_properties(example_${name} PROPERTIES TIMEOUT 120)
    endif()
endforeach()
if(TARGET u2i AND TARGET example_demo)
    add_test(NAME example_demo COMMAND ${PROJECT_SOURCE_DIR}/examples/demo.sh
             ${PROJECT_BINARY_DIR} ${PROJECT_BINARY_DIR}/demo.db)
    add_test(NAME readme_commands COMMAND ${PROJECT_SOURCE_DIR}/scripts/test-readme.sh
             $<TARGET_FILE:u2i>)
    set_tests_properties(example_demo readme_commands PROPERTIES TIMEOUT 600)
endif()

# The benchmark's small sizes: that it works, not how fast it is.
if(TARGET bench_store)
    add_test(NAME bench_store_runs COMMAND bench_store --smoke)
    set_tests_properties(bench_store_runs PROPERTIES TIMEOUT 300)
    add_test(NAME bench_index_runs COMMAND bench_index --smoke)
    set_tests_properties(bench_index_runs PROPERTIES TIMEOUT 300)
    add_test(NAME bench_gemm_runs COMMAND bench_gemm --smoke)
    set_tests_properties(bench_gemm_runs PROPERTIES TIMEOUT 300)
    add_test(NAME bench_embed_runs COMMAND bench_embed --smoke
             --model ${PROJECT_SOURCE_DIR}/tests/golden/embed/model)
    add_test(NAME bench_embed_runs_hashed COMMAND bench_embed --smoke --model hash)
    set_tests_properties(bench_embed_runs bench_embed_runs_hashed PROPERTIES TIMEOUT 300)
    add_test(NAME bench_rank_runs COMMAND bench_rank --smoke)
    set_tests_properties(bench_rank_runs PROPERTIES TIMEOUT 300)
    add_test(NAME bench_recommend_runs COMMAND bench_recommend --smoke)
    set_tests_properties(bench_recommend_runs PROPERTIES TIMEOUT 300)
    add_test(NAME bench_train_runs COMMAND bench_train --smoke)
    set_tests_properties(bench_train_runs PROPERTIES TIMEOUT 300)
endif()

include(${PROJECT_SOURCE_DIR}/cmake/fault.cmake OPTIONAL)

# Recall is promised for each instruction set, not only for the best one of the machine.
foreach(isa scalar avx2 avx512)
    foreach(name test_hnsw test_hnsw_change)
        add_test(NAME ${name}_${isa} COMMAND ${name})
        set_tests_properties(${name}_${isa} PROPERTIES ENVIRONMENT U2I_SIMD=${isa} TIMEOUT 600)
    endforeach()
endforeach()
