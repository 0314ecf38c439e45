// matmul_result_single.wgsl: products in f32, whatever their operands are.

alias Result = f32;
alias Result4 = vec4f;
