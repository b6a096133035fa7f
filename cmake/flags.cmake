# Language, warnings and sanitizers, the same for everything that is built here.
option(U2I_TESTS "build the tests" ON)
option(U2I_BENCH "build the benchmarks with everything else" OFF)
option(U2I_FUZZ "build the libFuzzer targets (clang only)" OFF)
option(U2I_WERROR "treat warnings as errors" ON)
set(U2I_SANITIZE "" CACHE STRING "sanitizers, e.g. address,undefined or thread")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "kind of build" FORCE)
endif()
find_program(CCACHE ccache)
if(CCACHE)
    set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

add_compile_definitions(_GNU_SOURCE)
add_compile_options(
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes
    -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef
    -Wvla -Wformat=2 -ffp-contract=off -fno-math-errno)
if(U2I_WERROR)
    add_compile_options(-Werror)
endif()
if(U2I_SANITIZE)
    add_compile_options(-fsanitize=${U2I_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${U2I_SANITIZE})
    # gcc's warnings that follow values through a function err where a sanitizer has changed it.
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        add_compile_options(-Wno-error=format-truncation -Wno-error=maybe-uninitialized)
    endif()
endif()
if(U2I_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "U2I_FUZZ needs clang: cmake -DCMAKE_C_COMPILER=clang-14 ...")
    endif()
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# What the library stands on; docs/dependencies.md says why each.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.40)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.14)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
# Debian's CRoaring comes without a .pc file.
find_path(ROARING_INCLUDE roaring/roaring.h REQUIRED)
find_library(ROARING_LIBRARY roaring REQUIRED)
