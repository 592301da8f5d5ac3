# documented.cmake -- docs/CONFIGURATION.md is what the schema prints today.
execute_process(COMMAND ${RLHF} config --document OUTPUT_VARIABLE printed COMMAND_ERROR_IS_FATAL ANY)
file(READ ${ROOT}/docs/CONFIGURATION.md committed)
if(NOT printed STREQUAL committed)
    message(FATAL_ERROR "docs/CONFIGURATION.md is out of date: rlhf config --document > docs/CONFIGURATION.md")
endif()
