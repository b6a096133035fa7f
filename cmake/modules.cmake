# The modules, lowest layer first. Each is src/<name>/**.c; which module may include which is checked
# by tools/layers.py against tools/layers.txt, here they only need to be known.
set(U2I_MODULES base vec flat hnsw json http filter embed hub profile train rank index model store engine api)

# What the library needs at link time; and what its own sources see besides.
add_library(u2i_deps INTERFACE)
target_link_libraries(u2i_deps INTERFACE Threads::Threads PkgConfig::SQLITE PkgConfig::JANSSON
    PkgConfig::UTF8PROC PkgConfig::OPENBLAS ${ROARING_LIBRARY} ${CMAKE_DL_LIBS} m)
# libcurl and libcrypto are loaded when they are needed: only their headers are seen here.
target_include_directories(u2i_deps SYSTEM INTERFACE ${ROARING_INCLUDE} ${CURL_INCLUDE_DIRS}
    ${CRYPTO_INCLUDE_DIRS})
add_library(u2i_build INTERFACE)
target_include_directories(u2i_build INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(u2i_build INTERFACE u2i_deps)

set(U2I_OBJECTS "")
foreach(module IN LISTS U2I_MODULES)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${module}/*.c)
    if(sources)
        add_library(u2i_${module} OBJECT ${sources})
        target_link_libraries(u2i_${module} PUBLIC u2i_build)
        list(APPEND U2I_OBJECTS u2i_${module})
    endif()
endforeach()

# One file for each instruction set; the dispatcher decides at run time which may be called.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/vec/vec_avx2.c
        ${PROJECT_SOURCE_DIR}/src/vec/gemm_avx2.c
        PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-msse4.2;-mpclmul")
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/vec/vec_avx512.c
        ${PROJECT_SOURCE_DIR}/src/vec/gemm_avx512.c
        PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mavx2;-mfma;-msse4.2;-mpclmul")
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/vec/gemm_amx.c PROPERTIES COMPILE_OPTIONS
        "-mamx-tile;-mamx-int8;-mamx-bf16;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni")
endif()

# A comparison may then be done for values that do not need it, which is what a vector is; the only
# difference to see is a flag that nobody reads.
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/vec/gemm_scalar.c
    PROPERTIES COMPILE_OPTIONS "-fno-trapping-math")

# The SQL is kept as SQL and compiled in as a string.
set(sql ${PROJECT_SOURCE_DIR}/src/store/sqlite/schema.sql)
if(EXISTS ${sql})
    set(sql_c ${PROJECT_BINARY_DIR}/generated/store_schema.c)
    add_custom_command(OUTPUT ${sql_c}
        COMMAND ${CMAKE_COMMAND} -DIN=${sql} -DOUT=${sql_c} -DNAME=store_schema_sql
                -P ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake
        DEPENDS ${sql} ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake VERBATIM)
    target_sources(u2i_store PRIVATE ${sql_c})
endif()
