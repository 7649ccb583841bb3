# cmake -DOCTAVO_BUILD=... -P run.cmake: installs octavo into OCTAVO_BUILD/consumer/prefix, then builds and runs the consumer.
cmake_minimum_required(VERSION 3.25)
set(prefix ${OCTAVO_BUILD}/consumer/prefix)
set(build ${OCTAVO_BUILD}/consumer/build)
file(REMOVE_RECURSE ${prefix} ${build})

function(step)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\n${output}")
  endif()
endfunction()

step(${CMAKE_COMMAND} --install ${OCTAVO_BUILD} --prefix ${prefix})
step(${CMAKE_COMMAND} -G ${GENERATOR} -S ${CMAKE_CURRENT_LIST_DIR} -B ${build} -DCMAKE_PREFIX_PATH=${prefix}
     -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER})
step(${CMAKE_COMMAND} --build ${build})
step(${build}/consumer)
if(EXISTS ${prefix}/bin/octavo)
  step(${prefix}/bin/octavo --version)
  execute_process(COMMAND ${prefix}/bin/octavo inspect OUTPUT_VARIABLE model)  # the installed built-in model, not the source tree's
  if(EXISTS ${prefix}/share/octavo/models/demo AND NOT model MATCHES "${prefix}/share/octavo/models/demo")
    message(FATAL_ERROR "octavo inspect: expected the model installed under ${prefix}\n${model}")
  endif()
endif()
