# demo_model.cmake -- the committed model of the built-in world is what the command in
# ops/demo/run.yaml makes, to the bit: on this machine, with this compiler.
file(REMOVE_RECURSE ${WORK})
execute_process(COMMAND ${RLHF} demo model --out ${WORK} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
foreach(name model.safetensors config.json tokenizer.json)
    file(SHA256 ${WORK}/${name} made)
    file(SHA256 ${ROOT}/ops/demo/model/${name} committed)
    if(NOT made STREQUAL committed)
        message(FATAL_ERROR "${name}: made ${made}, committed ${committed}")
    endif()
endforeach()
file(REMOVE_RECURSE ${WORK})
