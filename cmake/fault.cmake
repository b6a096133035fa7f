# tests/fault: what happens when the process is killed, the power goes, the disk is full or rots, or
# there is no memory. Programs of their own, through the public header only; see tests/fault/README.md.
if(NOT TARGET u2i_static)
    return()
endif()

foreach(name kill9 powercut diskfull bitflip oom)
    add_executable(fault_${name} ${PROJECT_SOURCE_DIR}/tests/fault/${name}.c)
    target_link_libraries(fault_${name} PRIVATE u2i_static)
    add_test(NAME fault_${name} COMMAND fault_${name})
    # 77: not possible here (no root, no loop device); a message says why.
    set_tests_properties(fault_${name} PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS fault)
endforeach()

# Each allocation can be made to fail.
target_link_options(fault_oom PRIVATE
    LINKER:--wrap=malloc LINKER:--wrap=calloc LINKER:--wrap=realloc LINKER:--wrap=mmap)
