# demo_build.cmake -- `rlhf demo build` makes the same bytes from the same seed, whatever the
# number of threads, and those that ops/demo/SHA256SUMS names: on any machine, with any compiler.
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
set(few --epochs 1 --pairs 40 --safety 40 --test 20)
foreach(threads 1 2)
    execute_process(COMMAND ${RLHF} demo build --out ${WORK}/few-${threads} ${few}
        --threads ${threads} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND ${RLHF} demo curve --world ${WORK}/few-${threads} --least 16
        --most 40 --seeds 2 --test 20 --out ${WORK}/few-${threads}/curve --threads ${threads}
        OUTPUT_VARIABLE curve COMMAND_ERROR_IS_FATAL ANY)
    if(NOT curve MATCHES "16 pairs .*32 pairs .*40 pairs ")
        message(FATAL_ERROR "demo curve said: ${curve}")
    endif()
endforeach()
execute_process(COMMAND ${RLHF} demo build --out ${WORK}/world OUTPUT_QUIET
    COMMAND_ERROR_IS_FATAL ANY)

file(GLOB_RECURSE names RELATIVE ${WORK}/few-1 ${WORK}/few-1/*)
list(LENGTH names files)
if(files LESS 15)
    message(FATAL_ERROR "only ${files} files were made")
endif()
foreach(name ${names})
    file(SHA256 ${WORK}/few-1/${name} one)
    file(SHA256 ${WORK}/few-2/${name} two)
    if(NOT one STREQUAL two)
        message(FATAL_ERROR "${name}: one thread made ${one}, two made ${two}")
    endif()
endforeach()

file(STRINGS ${ROOT}/ops/demo/SHA256SUMS lines)
list(LENGTH lines files)
if(files LESS 15)
    message(FATAL_ERROR "ops/demo/SHA256SUMS has only ${files} lines")
endif()
foreach(line ${lines})
    string(REGEX MATCH "^([0-9a-f]+)  (.+)$" found "${line}")
    file(SHA256 ${WORK}/world/${CMAKE_MATCH_2} made)
    if(NOT made STREQUAL CMAKE_MATCH_1)
        message(FATAL_ERROR "${CMAKE_MATCH_2}: made ${made}, written down ${CMAKE_MATCH_1}")
    endif()
endforeach()
file(REMOVE_RECURSE ${WORK})
