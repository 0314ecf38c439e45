// matmul_result_element.wgsl: products in the type of their operands.

alias Result = Element;
alias Result4 = Element4;
