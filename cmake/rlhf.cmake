# rlhf.cmake -- compile options, outside libraries, and what a folder of this project is.
#
# A folder is one static library, rlhf_FOLDER, made of every .c file in it except main.c;
# main.c, where there is one, is its program.  What a folder may know is said once, in its
# rlhf_folder() call, and tests/layers.cmake holds the #include lines against it.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# One row a library outside: CMake name, pkg-config name.
foreach(row
        zmq:libzmq protobufc:libprotobuf-c uv:libuv openblas:openblas yaml:yaml-0.1
        jansson:jansson sqlite:sqlite3 microhttpd:libmicrohttpd curl:libcurl
        pcre2:libpcre2-8 utf8proc:libutf8proc sodium:libsodium xxhash:libxxhash
        zlib:zlib zstd:libzstd cmocka:cmocka)
    string(REPLACE ":" ";" row ${row})
    list(GET row 0 name)
    list(GET row 1 module)
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
endforeach()

add_library(rlhf_options INTERFACE)
target_include_directories(rlhf_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
target_compile_definitions(rlhf_options INTERFACE _POSIX_C_SOURCE=200809L _XOPEN_SOURCE=700
    RLHF_VERSION="${PROJECT_VERSION}")
# -ffp-contract=off: a fused multiply-add stands where the source says fmaf() and nowhere
# else, so that a sum has the same bits from every compiler and on every machine.
target_compile_options(rlhf_options INTERFACE
    -Wall -Wextra -Werror -Wpedantic -Wshadow -Wconversion -Wvla -Wstrict-prototypes
    -Wmissing-prototypes -Wpointer-arith -Wwrite-strings
    -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-omit-frame-pointer)
target_link_libraries(rlhf_options INTERFACE Threads::Threads m)
if(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
    target_compile_options(rlhf_options INTERFACE -O3 -g1 -UNDEBUG -D_FORTIFY_SOURCE=2
        -fstack-protector-strong)
    target_link_options(rlhf_options INTERFACE -Wl,-z,relro,-z,now)
endif()
if(RLHF_SANITIZE)
    target_compile_definitions(rlhf_options INTERFACE RLHF_SANITIZE=1)
    target_compile_options(rlhf_options INTERFACE -fsanitize=address,undefined
        -fno-sanitize-recover=all)
    target_link_options(rlhf_options INTERFACE -fsanitize=address,undefined)
endif()

# rlhf_folder(NAME [SUBFOLDERS s...] [MAY_KNOW folder...] [USES outside...])
function(rlhf_folder name)
    cmake_parse_arguments(arg "" "" "SUBFOLDERS;MAY_KNOW;USES" ${ARGN})
    set(globs ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
    foreach(sub ${arg_SUBFOLDERS})
        list(APPEND globs ${CMAKE_CURRENT_SOURCE_DIR}/${sub}/*.c)
    endforeach()
    file(GLOB sources CONFIGURE_DEPENDS ${globs})
    list(FILTER sources EXCLUDE REGEX "/main\\.c$")
    list(TRANSFORM arg_MAY_KNOW PREPEND rlhf_ OUTPUT_VARIABLE folders)
    list(TRANSFORM arg_USES PREPEND PkgConfig:: OUTPUT_VARIABLE outside)
    if(sources)
        add_library(rlhf_${name} STATIC ${sources})
        target_link_libraries(rlhf_${name} PUBLIC ${folders} ${outside} rlhf_options)
    else()
        add_library(rlhf_${name} INTERFACE)
        target_link_libraries(rlhf_${name} INTERFACE ${folders} ${outside} rlhf_options)
    endif()
    set_property(GLOBAL APPEND PROPERTY RLHF_FOLDERS ${name})
    set_property(GLOBAL PROPERTY RLHF_MAY_KNOW_${name} ${arg_MAY_KNOW})
endfunction()

# rlhf_program(PROGRAM FOLDER): FOLDER/main.c, with the folder's library.
function(rlhf_program program folder)
    if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/main.c)
        add_executable(${program} main.c)
        target_link_libraries(${program} PRIVATE rlhf_${folder})
    endif()
endfunction()
