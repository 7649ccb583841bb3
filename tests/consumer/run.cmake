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
endif()
