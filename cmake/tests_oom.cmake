# tests/unit/test_*_oom.c, and those named here, replace malloc and its kin at link time, to fail each allocation in turn.
foreach(source IN LISTS test_sources)
    get_filename_component(name ${source} NAME_WE)
    if(name MATCHES "_oom$" OR name MATCHES "^test_(embed_bert.*|embed_remote|http)$")
        target_link_options(${name} PRIVATE -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc
            -Wl,--wrap=mmap)
    endif()
endforeach()
